/**
 * Classify images in a browser with a bundle that vgg-export wrote, and onnxruntime-web.
 *
 *     import { Classifier } from "./vgg_runtime.js";
 *
 *     const classifier = await Classifier.open("bundle/");
 *     const [best] = await classifier.predict(file, { topK: 1 });
 *     console.log(best.label, best.probability);
 *
 * Pixels, checksums and the order of the classes are those of Python's vgg_runtime. What is asked for is done or refused:
 * there is no silent fallback.
 */

import { Bundle } from "./vgg_runtime/bundle.js";
import { decode } from "./vgg_runtime/decoding.js";
import { MissingCapabilityError, SelfTestError, UsageError, VerificationError } from "./vgg_runtime/errors.js";
import { compare, misses, probabilities, ranking } from "./vgg_runtime/metrics.js";

export * from "./vgg_runtime/errors.js";

/** The engine's files, which were copied beside this one. */
const ENGINE = new URL("onnxruntime-web/", import.meta.url);
const ENGINE_MODULES = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

/** The precisions that WebGPU computes; operators of the others fail there, or run on the CPU between copies. */
const GPU_PRECISIONS = ["fp32", "fp16"];

/** What the engine writes into the console: errors. */
const LOG_ERRORS = 3;

/** One variant of a bundle, loaded and ready. */
export class Classifier {
  #bundle;
  #session;
  #busy = Promise.resolve();
  #selfTest;

  /**
   * Load a variant of the bundle at `url`, a folder, and compare its files with their checksums.
   *
   * @param {string | URL} url of the bundle
   * @param {object} [options]
   * @param {string} [options.variant] its name; may be omitted if there is only one
   * @param {"auto" | "wasm" | "webgpu"} [options.backend] "auto" is WebGPU where it computes this precision and gives
   *   the golden outputs, and else WASM; `backendReason` says why
   * @param {number} [options.threads] for WASM; by default up to 4 where the page is cross-origin isolated, else 1. The
   *   first classifier of a page decides.
   * @param {(loaded: number, total: number) => void} [options.onProgress] bytes of the model
   * @returns {Promise<Classifier>}
   * @throws BundleError, ChecksumError, MissingCapabilityError, SelfTestError, UsageError
   */
  static async open(url, { variant, backend = "auto", threads, onProgress = () => {} } = {}) {
    if (!["auto", "wasm", "webgpu"].includes(backend)) {
      throw new UsageError(`backend must be 'auto', 'wasm' or 'webgpu', got '${backend}'.`);
    }
    const bundle = await Bundle.open(url, variant);
    const threadCount = countThreads(threads);
    const files = await bundle.load(onProgress);
    const reason = backend === "auto" ? await whyNoGpu(bundle) : backend === "wasm" ? "as asked" : null;
    if (reason !== null) return Classifier.#start(bundle, files, "wasm", reason, threadCount);
    try {
      return await Classifier.#startOnGpu(bundle, files, backend);
    } catch (error) {
      if (backend === "webgpu") throw error;
      return Classifier.#start(bundle, files, "wasm", `WebGPU was tried: ${error.message}`, threadCount);
    }
  }

  static async #startOnGpu(bundle, files, backend) {
    const reason = backend === "auto" ? "it gives the golden outputs" : "as asked";
    const classifier = await Classifier.#start(bundle, files, "webgpu", reason, 1);
    try {
      await classifier.selfTest();
      return classifier;
    } catch (error) {
      await classifier.close();
      throw error;
    }
  }

  static async #start(bundle, { model, externalData }, backend, reason, threads) {
    const ort = await import(new URL(ENGINE_MODULES[backend], ENGINE).href);
    ort.env.wasm.wasmPaths = ENGINE.href;
    ort.env.wasm.numThreads = threads;
    try {
      const session = await ort.InferenceSession.create(model, {
        executionProviders: [backend],
        externalData,
        logSeverityLevel: LOG_ERRORS,
      });
      return new Classifier(bundle, ort, session, backend, reason, threads);
    } catch (error) {
      const { file } = bundle.variant;
      throw new MissingCapabilityError(`onnxruntime-web cannot load ${file} on ${backend}: ${error.message ?? error}`);
    }
  }

  /** Use {@link Classifier.open}. */
  constructor(bundle, ort, session, backend, backendReason, threads) {
    this.#bundle = bundle;
    this.#session = { ort, session };
    this.backend = backend;
    this.backendReason = backendReason;
    this.threads = threads;
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
   * @param image a Blob or File, bytes, a URL, an <img>, ImageData, a canvas, a video (its frame), an ImageBitmap
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
    const decoded = await decode(image);
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
   * Compare the outputs in this browser with the golden outputs, those of PyTorch on the machine that exported.
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

/** Return why "auto" does not try WebGPU; null if it does. */
async function whyNoGpu({ variant, hasGolden }) {
  if (!GPU_PRECISIONS.includes(variant.precision)) return "WebGPU is for fp32 and fp16";
  if (!hasGolden) return "the bundle has no golden outputs to check WebGPU against";
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return "this browser offers no WebGPU";
  return adapter.info?.isFallbackAdapter ? "this browser emulates WebGPU on the CPU" : null;
}

function countThreads(threads) {
  if (threads === undefined) return globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  if (!Number.isInteger(threads) || threads < 1)
    throw new UsageError(`threads must be an integer >= 1, got ${threads}.`);
  if (threads > 1 && !globalThis.crossOriginIsolated) {
    throw new MissingCapabilityError(
      `${threads} threads need shared memory, which this page does not have.`,
      "Serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp.",
    );
  }
  return threads;
}
