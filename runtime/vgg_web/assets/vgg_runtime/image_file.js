/** What the bytes of an image file say, before they are decoded. */

import { ImageError } from "./errors.js";

/** EXIF's tag 0x0112, and the value that stands for "as it is". */
const ORIENTATION_TAG = 0x0112;
export const UPRIGHT = 1;

/** Refuse files whose pixels decoders change silently: they cut 16 bits to 8, and convert CMYK in their own ways. */
export function refuseUnsupported(bytes) {
  if (isPng(bytes) && bytes[24] > 8) {
    throw new ImageError(
      `the image has ${bytes[24]} bits per channel; 8-bit images are accepted.`,
      "Convert it to 8 bits per channel first; the right scaling depends on your data.",
    );
  }
  if (jpegChannels(bytes) === 4) {
    throw new ImageError("the image is CMYK, which is converted unlike Pillow does it.", "Convert it to RGB first.");
  }
}

/** Return the orientation of an image file, and set it to upright in `bytes`, so that no decoder rotates. */
export function takeOrientation(bytes) {
  const start = tiffStart(bytes);
  if (start === null || start + 8 > bytes.length) return UPRIGHT;
  const view = new DataView(bytes.buffer, bytes.byteOffset + start);
  const isLittle = view.getUint16(0) === 0x4949;
  const directory = view.getUint32(4, isLittle);
  const entries = directory + 2 <= view.byteLength ? view.getUint16(directory, isLittle) : 0;
  for (let at = directory + 2; at < directory + 2 + 12 * entries && at + 12 <= view.byteLength; at += 12) {
    if (view.getUint16(at, isLittle) === ORIENTATION_TAG) {
      const orientation = view.getUint16(at + 8, isLittle);
      view.setUint16(at + 8, UPRIGHT, isLittle);
      return orientation;
    }
  }
  return UPRIGHT;
}

/** Return where the TIFF structure that EXIF consists of begins in a JPEG, PNG or WebP file; null if there is none. */
function tiffStart(bytes) {
  for (const { name, start } of segments(bytes)) {
    if (name === "eXIf") return start;
    if (name === "EXIF" || name === "APP1") {
      const prefixed = text(bytes, start, 6) === "Exif\0\0";
      if (prefixed || name === "EXIF") return start + (prefixed ? 6 : 0);
    }
  }
  return null;
}

function jpegChannels(bytes) {
  for (const { name, start } of segments(bytes)) if (name === "SOF") return bytes[start + 5];
  return null;
}

export function isGif(bytes) {
  return text(bytes, 0, 3) === "GIF";
}

function isPng(bytes) {
  return text(bytes, 1, 3) === "PNG";
}

/** Yield the segments of a JPEG file, or the chunks of a PNG or WebP file: their names, and where their data begin. */
function* segments(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (isPng(bytes)) {
    for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
      yield { name: text(bytes, at + 4, 4), start: at + 8 };
    }
  } else if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 4) === "WEBP") {
    for (let at = 12; at + 8 <= bytes.length;) {
      const size = view.getUint32(at + 4, true);
      yield { name: text(bytes, at, 4), start: at + 8 };
      at += 8 + size + (size % 2);
    }
  } else if (bytes[0] === 0xff && bytes[1] === 0xd8) {
    for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff; at += 2 + view.getUint16(at + 2)) {
      yield { name: jpegSegment(bytes[at + 1]), start: at + 4 };
    }
  }
}

/** The markers of frames are 0xC0 to 0xCF but for those of tables: DHT, JPG and DAC. */
function jpegSegment(marker) {
  if (marker === 0xe1) return "APP1";
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker) ? "SOF" : "";
}

function text(bytes, start, length) {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}
