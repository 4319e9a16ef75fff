/**
 * From decoded pixels to the input of a network: the steps of the bundle format, in its order, to the bit.
 *
 * An image is {width, height, data}, rows of interleaved channels with 8 bits each.
 */

import { BundleError, ImageError } from "./errors.js";
import { INTERPOLATIONS, resize } from "./resampling.js";

/** More pixels are refused, as in Python. */
export const MAX_PIXELS = 100_000_000;

const DEFAULTS = {
  channels: "RGB",
  resize: null,
  interpolation: "bilinear",
  crop: null,
  divide_by: 255,
  mean: null,
  std: null,
  exif_orientation: false,
  permutation: null,
};

/** EXIF's orientations: whether x and y are swapped, then mirrored. */
const TURNS = {
  2: { swap: false, mirrorX: true, mirrorY: false },
  3: { swap: false, mirrorX: true, mirrorY: true },
  4: { swap: false, mirrorX: false, mirrorY: true },
  5: { swap: true, mirrorX: false, mirrorY: false },
  6: { swap: true, mirrorX: false, mirrorY: true },
  7: { swap: true, mirrorX: true, mirrorY: true },
  8: { swap: true, mirrorX: true, mirrorY: false },
};

/** Return the `preprocessing` of a manifest with its defaults; refuse what this release does not know. */
export function completePreprocessing(steps) {
  const complete = { ...DEFAULTS, ...steps };
  const unknown = Object.keys(complete).filter((name) => !(name in DEFAULTS));
  if (unknown.length) throw new BundleError(`preprocessing has unknown steps: ${unknown.join(", ")}.`);
  const { channels, interpolation } = complete;
  if (!["RGB", "BGR", "L"].includes(channels)) throw new BundleError(`unknown channels: ${channels}.`);
  if (!INTERPOLATIONS.includes(interpolation)) throw new BundleError(`unknown interpolation: ${interpolation}.`);
  return complete;
}

/**
 * Return RGBA pixels after all steps before scaling.
 *
 * @param image RGBA
 * @param {number} orientation the value of its EXIF tag, 1 if it has none
 * @param {object} steps `preprocessing` of the manifest
 * @param {number} pillow the major version of Pillow whose pixels are wanted
 */
export function preparePixels(image, orientation, steps, pillow) {
  if (steps.exif_orientation) image = orient(image, orientation);
  image = steps.channels === "L" ? toLuma(image) : toRgb(image);
  if (steps.resize !== null) image = resizeTo(image, steps.resize, steps.interpolation, pillow);
  if (steps.crop !== null) image = cropCentre(image, steps.crop);
  if (steps.channels === "BGR") image = reverseChannels(image);
  return steps.permutation === null ? image : permute(image, steps.permutation);
}

/** Return the planes of `image` scaled and normalized, as float32 (channels, height, width): one rounding per step. */
export function normalize({ width, height, data }, { divide_by, mean, std }) {
  const pixels = width * height;
  const planes = new Float32Array(data.length);
  for (let c = 0; c < data.length / pixels; c++) {
    const values = Float32Array.from({ length: 256 }, (_, value) => {
      value = Math.fround(value / Math.fround(divide_by));
      if (mean !== null) value = Math.fround(value - Math.fround(mean[c]));
      return std === null ? value : value / Math.fround(std[c]);
    });
    const channels = data.length / pixels;
    for (let i = 0; i < pixels; i++) planes[c * pixels + i] = values[data[i * channels + c]];
  }
  return planes;
}

function orient(image, orientation) {
  const turn = TURNS[orientation];
  if (turn === undefined) return image;
  const [width, height] = turn.swap ? [image.height, image.width] : [image.width, image.height];
  const from = new Uint32Array(image.data.buffer, image.data.byteOffset, width * height);
  const to = new Uint32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [column, row] = turn.swap ? [y, x] : [x, y];
      if (turn.mirrorX) column = image.width - 1 - column;
      if (turn.mirrorY) row = image.height - 1 - row;
      to[y * width + x] = from[row * image.width + column];
    }
  }
  return { width, height, data: new Uint8Array(to.buffer) };
}

/** Alpha is dropped, not blended. */
function toRgb({ width, height, data }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return { width, height, data: rgb };
}

/** ITU-R 601-2, as Pillow computes it. */
function toLuma({ width, height, data }) {
  const luma = new Uint8Array(width * height);
  for (let i = 0, from = 0; i < luma.length; i++, from += 4) {
    luma[i] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
  }
  return { width, height, data: luma };
}

/** `size` is [height, width], or the pixels of the shorter side. */
function resizeTo(image, size, interpolation, pillow) {
  let [height, width] = [].concat(size);
  if (width === undefined) {
    const isUpright = image.width <= image.height;
    height = isUpright ? Math.trunc((size * image.height) / image.width) : size;
    width = isUpright ? size : Math.trunc((size * image.width) / image.height);
  }
  if (width * height > MAX_PIXELS) {
    throw new ImageError(
      `the image has ${image.width} x ${image.height} pixels; resizing it for the network makes ` +
        `${width} x ${height}, more than the limit of ${MAX_PIXELS.toLocaleString("en")}.`,
      "Crop it first.",
    );
  }
  return resize(image, width, height, interpolation, pillow);
}

/** Crop as torchvision's CenterCrop does: as if padded with zeros, then cut at the offset rounded half to even. */
function cropCentre(image, [height, width]) {
  const channels = image.data.length / (image.width * image.height);
  const cropped = new Uint8Array(width * height * channels);
  const [left, top] = [offset(image.width, width), offset(image.height, height)];
  for (let y = Math.max(0, -top); y < Math.min(height, image.height - top); y++) {
    const [start, end] = [Math.max(0, left), Math.min(image.width, left + width)];
    const row = (y + top) * image.width;
    const part = image.data.subarray((row + start) * channels, (row + end) * channels);
    cropped.set(part, (y * width + start - left) * channels);
  }
  return { width, height, data: cropped };
}

/** Where the crop of one axis starts; negative, and half the missing pixels, if the image is smaller. */
function offset(size, cropped) {
  if (cropped > size) return -Math.floor((cropped - size) / 2);
  const half = (size - cropped) / 2;
  return Number.isInteger(half) ? half : 2 * Math.round(half / 2); // a half to the even neighbour
}

function reverseChannels({ width, height, data }) {
  return { width, height, data: data.map((_, i) => data[i + 2 - 2 * (i % 3)]) };
}

function permute(image, permutation) {
  const { width, height, data } = image;
  const pixels = width * height;
  if (pixels !== permutation.length) {
    throw new ImageError(`the image has ${width} x ${height} pixels; the permutation takes ${permutation.length}.`);
  }
  const channels = data.length / pixels;
  const permuted = data.map((_, i) => data[permutation[Math.floor(i / channels)] * channels + (i % channels)]);
  return { width, height, data: permuted };
}
