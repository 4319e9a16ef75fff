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
import { MissingCapabilityError, UsageError } from "./vgg_runtime/errors.js";
import { LOG_ERRORS, LoadedVariant } from "./vgg_runtime/loaded_variant.js";

export * from "./vgg_runtime/errors.js";

/** The engine's files, which were copied beside this one. */
const ENGINE = new URL("onnxruntime-web/", import.meta.url);
const ENGINE_MODULES = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

/** The precisions that WebGPU computes; operators of the others fail there, or run on the CPU between copies. */
const GPU_PRECISIONS = ["fp32", "fp16"];

/** One variant of a bundle, loaded and ready. */
export class Classifier extends LoadedVariant {
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
    super(bundle, { ort, session, backend, decode });
    this.backendReason = backendReason;
    this.threads = threads;
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
