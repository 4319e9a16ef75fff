/** One variant of a bundle in a session of ONNX Runtime, whichever of its JavaScript packages that is of. */

import { SelfTestError, UsageError, VerificationError } from "./errors.js";
import { compare, misses, probabilities, ranking } from "./metrics.js";

/** What the engine writes into the console: errors. */
export const LOG_ERRORS = 3;

/** From images to classes; how a session comes about and what decodes an image is the affair of its subclasses. */
export class LoadedVariant {
  #bundle;
  #session;
  #decode;
  #busy = Promise.resolve();
  #selfTest;

  /**
   * @param {Bundle} bundle
   * @param {object} engine
   * @param engine.ort the module onnxruntime-web or onnxruntime-node
   * @param engine.session its session of the variant
   * @param {string} engine.backend what the session runs on
   * @param engine.decode returns {image, orientation} of an image, see {@link Bundle.prepare}
   */
  constructor(bundle, { ort, session, backend, decode }) {
    this.#bundle = bundle;
    this.#session = { ort, session };
    this.#decode = decode;
    this.backend = backend;
  }

  /** The contents of bundle.json. */
  get manifest() {
    return this.#bundle.manifest;
  }

  /** The entry of the loaded variant in the manifest. */
  get variant() {
    return this.#bundle.variant;
  }

  /** The names of the classes; their indices as text if the bundle has none. */
  get labels() {
    const { labels, output } = this.manifest;
    return labels ?? Array.from({ length: output.classes }, (_, i) => String(i));
  }

  /**
   * Return the most probable classes of an image, the best first.
   *
   * @param image what the decoder takes: in a browser a Blob or File, bytes, a URL, an <img>, ImageData, a canvas, a
   *   video (its frame), an ImageBitmap; in Node.js the path of a file, its URL or its bytes
   * @param {{topK?: number}} [options] how many classes, 5 by default
   * @returns {Promise<{label: string, index: number, probability: number}[]>}
   * @throws ImageError, UsageError, VerificationError
   */
  async predict(image, { topK = 5 } = {}) {
    if (!Number.isInteger(topK) || topK < 1) throw new UsageError(`topK must be an integer >= 1, got ${topK}.`);
    const outputs = await this.logits(await this.preprocess(image));
    const shares = probabilities(outputs, this.manifest.output.kind);
    if (!shares.every(Number.isFinite)) {
      const { name } = this.variant;
      throw new VerificationError(`${name} gave outputs that are not finite (NaN or infinity) on ${this.backend}.`);
    }
    const { labels } = this;
    return ranking(outputs)
      .slice(0, topK)
      .map((index) => ({ label: labels[index], index, probability: shares[index] }));
  }

  /** Return an image as the network takes it: float32 (channels, height, width), or uint8 (height, width, channels). */
  async preprocess(image) {
    const decoded = await this.#decode(image);
    return this.#bundle.prepare(decoded.image, decoded.orientation);
  }

  /** Return the outputs of the network, as they are, for one image as {@link preprocess} returns it. */
  async logits(input) {
    const { input: spec, output } = this.manifest;
    const size = spec.shape.slice(1).reduce((product, length) => product * length, 1);
    if (input.length !== size) throw new UsageError(`the network takes ${size} values, got ${input.length}.`);
    const batch = Number.isInteger(spec.shape[0]) ? spec.shape[0] : 1;
    const values = new input.constructor(batch * size);
    for (let i = 0; i < batch; i++) values.set(input, i * size); // a fixed batch is filled with copies
    const { ort, session } = this.#session;
    const feeds = { [spec.name]: new ort.Tensor(spec.dtype, values, [batch, ...spec.shape.slice(1)]) };
    const results = await this.#inTurn(() => session.run(feeds));
    return results[output.name].data.slice(0, output.classes);
  }

  /** One call at a time: on WebGPU the engine would wait forever for two. */
  #inTurn(call) {
    const result = this.#busy.then(call);
    this.#busy = result.catch(() => {});
    return result;
  }

  /**
   * Compare the outputs here with the golden outputs, those of PyTorch on the machine that exported.
   *
   * @returns the figures of agreement, see vgg_runtime/metrics.js; null if the bundle has no golden outputs
   * @throws SelfTestError they differ by more than the tolerance of the variant
   */
  selfTest() {
    this.#selfTest ??= this.#compareWithGolden();
    return this.#selfTest;
  }

  async #compareWithGolden() {
    const golden = await this.#bundle.readGolden();
    if (golden === null) return null;
    const outputs = [];
    for (const input of golden.inputs) outputs.push(await this.logits(input));
    const figures = compare(golden.outputs, outputs, this.variant.tolerance);
    const short = misses(figures, this.variant.tolerance);
    if (short.length) {
      throw new SelfTestError(
        `outputs on ${this.backend} differ from those of the build machine: ${short.join("; ")}.`,
      );
    }
    return figures;
  }

  /** Free the memory of the engine. */
  async close() {
    await this.#busy;
    await this.#session.session.release();
  }
}
