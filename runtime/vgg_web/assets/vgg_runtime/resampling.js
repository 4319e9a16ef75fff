/**
 * Pillow's resize of 8-bit images, pixel by pixel the same.
 *
 * Canvas scales in its own way, and a network that was trained on Pillow's pixels would see others. This is the
 * arithmetic of Pillow's Resample.c: weights in float64, rounded to 22 fractional bits, one pass per axis, and 8 bits
 * between the passes.
 */

const PRECISION_BITS = 32 - 8 - 2;

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));

/** By name: half the width of a filter, and its value at a distance from the centre, both in pixels of the output. */
const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(1 - Math.abs(x), 0) },
  hamming: { support: 1, weight: hamming },
  bicubic: { support: 2, weight: bicubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

// The constants are float32 in Pillow.
const [HAMMING_OFFSET, HAMMING_SLOPE] = [Math.fround(0.54), Math.fround(0.46)];

function hamming(x) {
  if (Math.abs(x) >= 1) return 0;
  return sinc(Math.abs(x)) * (HAMMING_OFFSET + HAMMING_SLOPE * Math.cos(Math.abs(x) * Math.PI));
}

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** The filters that there are. */
export const INTERPOLATIONS = ["nearest", ...Object.keys(FILTERS)];

/**
 * Return `image` in another size.
 *
 * @param {{width: number, height: number, data: Uint8Array}} image rows of interleaved channels, 8 bits each
 * @param {number} width, @param {number} height of the result, in pixels
 * @param {string} interpolation one of INTERPOLATIONS
 * @param {number} pillow the major version of Pillow to be equal to
 */
export function resize(image, width, height, interpolation, pillow) {
  if (width === image.width && height === image.height) return image;
  if (interpolation === "nearest") return nearest(image, width, height);
  const filter = FILTERS[interpolation];
  const passes = [(input) => scaleWidth(input, width, filter), (input) => scaleHeight(input, height, filter)];
  if (verticalPassIsFirst(image, width, height, pillow)) passes.reverse();
  return passes.reduce((input, pass) => pass(input), image);
}

/** Pillow 13 removes many rows first, so that fewer are left for the other pass; earlier releases never do. */
function verticalPassIsFirst(image, width, height, pillow) {
  const removed = image.height - height;
  return pillow >= 13 && removed > 0 && removed > (image.width - width) * 2;
}

function scaleWidth({ width, height, data }, newWidth, filter) {
  const channels = data.length / (width * height);
  return { width: newWidth, height, data: scaleAxis(data, height, width, channels, newWidth, filter) };
}

function scaleHeight({ width, height, data }, newHeight, filter) {
  return { width, height: newHeight, data: scaleAxis(data, 1, height, data.length / height, newHeight, filter) };
}

/** Return `data`, an array (outer, size, inner), scaled to (outer, newSize, inner). */
function scaleAxis(data, outer, size, inner, newSize, filter) {
  if (newSize === size) return data;
  const scaled = new Uint8ClampedArray(outer * newSize * inner);
  const windows = Array.from({ length: newSize }, (_, i) => weightsOf(i, size, newSize, filter));
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const { first, weights } of windows) {
      const start = (o * size + first) * inner;
      for (let c = 0; c < inner; c++) {
        let sum = 1 << (PRECISION_BITS - 1);
        for (let k = 0, from = start + c; k < weights.length; k++, from += inner) sum += data[from] * weights[k];
        scaled[at++] = sum >> PRECISION_BITS; // clipped to 0..255 by the array
      }
    }
  }
  return scaled;
}

/** Return the first of the pixels that pixel `i` of the result is made of, and their weights in fixed point. */
function weightsOf(i, size, newSize, { support, weight }) {
  const scale = size / newSize;
  const stretch = Math.max(scale, 1);
  const centre = (i + 0.5) * scale;
  const first = Math.max(Math.trunc(centre - support * stretch + 0.5), 0);
  const end = Math.min(Math.trunc(centre + support * stretch + 0.5), size);
  const shares = Array.from({ length: end - first }, (_, k) => weight((k + first - centre + 0.5) * (1 / stretch)));
  const sum = shares.reduce((total, share) => total + share, 0);
  const fixed = shares.map((share) => (sum === 0 ? share : share / sum) * (1 << PRECISION_BITS));
  return { first, weights: Int32Array.from(fixed, (value) => Math.trunc(value + (value < 0 ? -0.5 : 0.5))) };
}

function nearest({ width, height, data }, newWidth, newHeight) {
  const channels = data.length / (width * height);
  const [columns, rows] = [positions(width, newWidth), positions(height, newHeight)];
  const scaled = new Uint8Array(newWidth * newHeight * channels);
  let at = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * width + column) * channels;
      for (let c = 0; c < channels; c++) scaled[at++] = data[from + c];
    }
  }
  return { width: newWidth, height: newHeight, data: scaled };
}

/** The position in the original of each pixel of the result; added up as Pillow does, rounding errors included. */
function positions(size, newSize) {
  const scale = size / newSize;
  const result = new Int32Array(newSize);
  for (let i = 0, position = scale * 0.5; i < newSize; i++, position += scale) {
    result[i] = Math.trunc(position);
  }
  return result;
}
