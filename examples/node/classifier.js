/**
 * Classify images in Node.js with a bundle that vgg-export wrote, and onnxruntime-node.
 *
 *     const classifier = await Classifier.open("slim_vgg.bundle");
 *     const [best] = await classifier.predict("photo.jpg", { topK: 1 });
 *
 * Preprocessing, checksums and the golden self-test are the modules that run in browsers too.
 */

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import * as ort from "onnxruntime-node";
import { Bundle } from "vgg-runtime/bundle.js";
import { BundleError, MissingCapabilityError, UsageError } from "vgg-runtime/errors.js";
import { LOG_ERRORS, LoadedVariant } from "vgg-runtime/loaded_variant.js";
import { decode } from "./decoding.js";

export * from "vgg-runtime/errors.js";

/** One variant of a bundle, loaded and ready. */
export class Classifier extends LoadedVariant {
  /**
   * Load a variant of the bundle in `directory`, and compare its files with their checksums.
   *
   * @param {string} directory of the bundle
   * @param {object} [options]
   * @param {string} [options.variant] its name; may be omitted if there is only one
   * @param {number} [options.threads] of one call; 0 leaves the number to ONNX Runtime
   * @returns {Promise<Classifier>}
   * @throws BundleError, ChecksumError, MissingCapabilityError, UsageError
   */
  static async open(directory, { variant, threads = 0 } = {}) {
    if (!Number.isInteger(threads) || threads < 0) {
      throw new UsageError(`threads must be an integer >= 0, got ${threads}.`);
    }
    const bundle = await Bundle.open(pathToFileURL(directory), variant, readFrom);
    const { model, externalData } = await bundle.load();
    try {
      const session = await ort.InferenceSession.create(model, {
        executionProviders: ["cpu"],
        externalData,
        intraOpNumThreads: threads,
        logSeverityLevel: LOG_ERRORS,
      });
      return new Classifier(bundle, { ort, session, backend: "cpu", decode });
    } catch (error) {
      throw new MissingCapabilityError(`onnxruntime-node cannot load ${bundle.variant.file}: ${error.message}`);
    }
  }
}

async function readFrom(url) {
  try {
    return await readFile(url);
  } catch (error) {
    throw new BundleError(`${error.path ?? url.pathname} cannot be read: ${error.code}.`, "Name a bundle's directory.");
  }
}
