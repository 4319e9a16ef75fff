/**
 * From anything that a page has of an image to RGBA pixels as they are in the file.
 *
 * A browser decodes for the screen: it rotates by EXIF, converts colours to the screen's profile, multiplies by alpha.
 * None of that happened in training.
 */

import { ImageError, UsageError } from "./errors.js";
import { MAX_PIXELS } from "./preprocessing.js";

const AS_IN_THE_FILE = { colorSpaceConversion: "none", premultiplyAlpha: "none" };

/** EXIF's tag 0x0112, and the value that stands for "as it is". */
const [ORIENTATION_TAG, UPRIGHT] = [0x0112, 1];

/**
 * Return {image: {width, height, data: RGBA}, orientation} of a file (Blob, File, bytes, URL, <img>), of ImageData, or
 * of what can be drawn (canvas, video, ImageBitmap, VideoFrame).
 *
 * @throws ImageError the browser cannot decode it, or it has more than 8 bits per channel, or too many pixels
 */
export async function decode(source) {
  if (isA("HTMLImageElement", source)) source = source.currentSrc; // its file, because drawing it would rotate it
  if (typeof source === "string" || source instanceof URL) source = await fetchFile(source);
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) source = new Blob([source]);
  if (isA("ImageData", source)) return { image: source, orientation: UPRIGHT };
  if (!(source instanceof Blob)) return { image: readPixels(await toBitmap(source)), orientation: UPRIGHT };
  const bytes = new Uint8Array(await source.arrayBuffer());
  refuseUnsupported(bytes);
  const orientation = takeOrientation(bytes);
  const image = readPixels(await toBitmap(new Blob([bytes], { type: source.type })));
  if (text(bytes, 0, 3) === "GIF" && !isOpaque(image.data)) {
    throw new ImageError("the GIF is transparent, and browsers drop the colours that are there.", "Save it as PNG.");
  }
  return { image, orientation };
}

function isA(name, value) {
  return name in globalThis && value instanceof globalThis[name];
}

async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new ImageError(`${url} cannot be loaded: ${response.status} ${response.statusText}.`);
  return response.blob();
}

async function toBitmap(source) {
  try {
    return await createImageBitmap(source, AS_IN_THE_FILE);
  } catch (error) {
    if (error instanceof TypeError) {
      const kind = source?.constructor?.name ?? source;
      throw new UsageError(`${kind} is not an image.`, "Pass a file, a URL, ImageData, or what a canvas can draw.");
    }
    throw new ImageError(`this browser cannot decode the image: ${error.message}`);
  }
}

function readPixels(bitmap) {
  const { width, height } = bitmap;
  try {
    if (width * height > MAX_PIXELS) {
      const limit = MAX_PIXELS.toLocaleString("en");
      throw new ImageError(`the image has ${width} x ${height} pixels, more than the limit of ${limit}.`);
    }
    const image = readOpaque(bitmap);
    return isOpaque(image.data) ? image : readTranslucent(bitmap);
  } finally {
    bitmap.close();
  }
}

function readOpaque(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

function isOpaque(rgba) {
  for (let i = 3; i < rgba.length; i += 4) if (rgba[i] !== 255) return false;
  return true;
}

/** A 2D canvas stores colours multiplied by alpha, which loses them where it is small; a texture does not. */
function readTranslucent(bitmap) {
  const { width, height } = bitmap;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2");
  if (gl === null || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
    throw new ImageError(
      `the image is translucent, and this browser cannot read the colours of ${width} x ${height} such pixels.`,
      "Save it without an alpha channel.",
    );
  }
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const data = new Uint8Array(width * height * 4);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, data);
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // a page may have a few of them only
  return { width, height, data };
}

/** Refuse files whose pixels a browser changes silently: it cuts 16 bits to 8, and converts CMYK in its own way. */
function refuseUnsupported(bytes) {
  if (isPng(bytes) && bytes[24] > 8) {
    throw new ImageError(
      `the image has ${bytes[24]} bits per channel; 8-bit images are accepted.`,
      "Convert it to 8 bits per channel first; the right scaling depends on your data.",
    );
  }
  if (jpegChannels(bytes) === 4) {
    throw new ImageError("the image is CMYK, which browsers convert unlike Pillow.", "Convert it to RGB first.");
  }
}

/** Return the orientation of an image file, and set it to upright in `bytes`, so that the browser does not rotate. */
function takeOrientation(bytes) {
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
