/** The files of a bundle: fetched, and compared with their checksums. */

import { BundleError, ChecksumError, ImageError, MissingCapabilityError, UsageError } from "./errors.js";
import { readNpz } from "./npz.js";
import { completePreprocessing, normalize, preparePixels } from "./preprocessing.js";

const SCHEMA_VERSION = 1;
const GOLDEN = "golden.npz";

/** What one variant of a bundle needs. */
export class Bundle {
  /** `read(url, onProgress)` returns the bytes of a file. */
  static async open(url, name, read = fetchBytes) {
    const base = new URL(url, globalThis.document?.baseURI);
    if (!base.pathname.endsWith("/")) base.pathname += "/";
    const manifest = parse(await read(new URL("bundle.json", base)));
    return new Bundle(base, manifest, chooseVariant(manifest, name), read);
  }

  constructor(base, manifest, variant, read) {
    Object.assign(this, { base, manifest, variant, read });
  }

  /** Return the model and its external data; `onProgress` is told how many of how many bytes are loaded. */
  async load(onProgress = () => {}) {
    const { file, external_data: data, bytes, sha256 } = this.variant;
    let loaded = 0;
    const advance = (count) => onProgress((loaded += count), bytes);
    const model = await this.#readVerified(file, sha256[file], advance);
    if (!data) return { model, externalData: [] };
    const contents = await this.#readVerified(data, sha256[data], advance);
    return { model, externalData: [{ path: data.slice(data.lastIndexOf("/") + 1), data: contents }] };
  }

  get hasGolden() {
    return Boolean(this.manifest.golden && this.variant.tolerance);
  }

  /** Return inputs of the network, and the outputs of PyTorch for them, one by one; null if there are none. */
  async readGolden() {
    if (!this.hasGolden) return null;
    const { input, output } = await readNpz(await this.#readVerified(GOLDEN, this.manifest.golden));
    return { inputs: rows(input), outputs: rows(output) };
  }

  async #readVerified(name, sha256, onProgress) {
    const bytes = await this.read(new URL(name, this.base), onProgress);
    if ((await digest(bytes)) !== sha256) {
      throw new ChecksumError(
        `${name} was changed after it was written (SHA-256 differs).`,
        "Copy the bundle again from where it was exported.",
      );
    }
    return bytes;
  }

  /** The major version of Pillow that calibrated and verified the bundle. */
  get #pillow() {
    return Number.parseInt(this.manifest.tool_versions?.pillow ?? "13", 10);
  }

  /** Return decoded RGBA pixels as the network takes them. */
  prepare(image, orientation) {
    const { input, preprocessing } = this.manifest;
    const pixels = preparePixels(image, orientation, preprocessing, this.#pillow);
    const [height, width] = ["H", "W"].map((axis) => input.shape[input.layout.indexOf(axis)]);
    if (pixels.width !== width || pixels.height !== height) {
      const size = `${pixels.width} x ${pixels.height}`;
      throw new ImageError(`the image has ${size} pixels after preprocessing; the network takes ${width} x ${height}.`);
    }
    return input.dtype === "uint8" ? Uint8Array.from(pixels.data) : normalize(pixels, preprocessing);
  }
}

function parse(bytes) {
  const manifest = parseJson(new TextDecoder().decode(bytes));
  const { schema_version: version = SCHEMA_VERSION } = manifest;
  if (version !== SCHEMA_VERSION) {
    throw new BundleError(`the bundle has schema version ${version}; this release reads ${SCHEMA_VERSION}.`);
  }
  manifest.preprocessing = completePreprocessing(manifest.preprocessing);
  manifest.input = { name: "input", dtype: "float32", layout: "NCHW", ...manifest.input };
  manifest.output = { name: "output", ...manifest.output };
  return manifest;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new BundleError(`bundle.json is not JSON: ${error.message}`);
  }
}

function chooseVariant({ variants }, name) {
  const onnx = variants.filter(({ format }) => format === "onnx");
  const names = onnx.map((variant) => variant.name).join(", ");
  if (name === undefined && onnx.length > 1)
    throw new UsageError("the bundle has several variants.", `Name one: ${names}.`);
  const variant = onnx.find((each) => name === undefined || each.name === name);
  if (variant === undefined)
    throw new BundleError(`the bundle has no ONNX variant '${name ?? ""}'.`, `It has ${names}.`);
  return variant;
}

/** Return the rows of an array, along its first axis. */
function rows({ shape, data }) {
  const length = data.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => data.subarray(i * length, (i + 1) * length));
}

async function fetchBytes(url, onProgress = () => {}) {
  const response = await fetch(url);
  if (!response.ok)
    throw new BundleError(`${url.pathname} cannot be loaded: ${response.status} ${response.statusText}.`);
  const chunks = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return concatenate(chunks);
    chunks.push(value);
    onProgress(value.length);
  }
}

/** A Blob would do it too, but browsers may put large ones on the disk, and fail where that is full. */
function concatenate(chunks) {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

async function digest(bytes) {
  if (globalThis.crypto?.subtle === undefined) {
    throw new MissingCapabilityError(
      "this browser computes checksums in secure contexts only.",
      "Serve the page over https, or from http://localhost.",
    );
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
