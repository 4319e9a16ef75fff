/**
 * From anything that a page has of an image to RGBA pixels as they are in the file.
 *
 * A browser decodes for the screen: it rotates by EXIF, converts colours to the screen's profile, multiplies by alpha.
 * None of that happened in training.
 */

import { ImageError, UsageError } from "./errors.js";
import { UPRIGHT, isGif, refuseUnsupported, takeOrientation } from "./image_file.js";
import { MAX_PIXELS } from "./preprocessing.js";

const AS_IN_THE_FILE = { colorSpaceConversion: "none", premultiplyAlpha: "none" };

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
  if (isGif(bytes) && !isOpaque(image.data)) {
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
