/** From an image file to RGBA pixels as they are in the file, with sharp. */

import { readFile } from "node:fs/promises";
import sharp from "sharp";
import { ImageError } from "vgg-runtime/errors.js";
import { refuseUnsupported, takeOrientation } from "vgg-runtime/image_file.js";
import { MAX_PIXELS } from "vgg-runtime/preprocessing.js";

/** What Pillow decodes to the same pixels; sharp would draw SVG and PDF too. */
const FORMATS = ["jpeg", "png", "webp", "gif", "tiff"];

/**
 * Return {image: {width, height, data: RGBA}, orientation} of an image.
 *
 * @param {string | URL | Uint8Array} source a file, or its bytes
 * @throws ImageError it cannot be read or decoded, or it has more than 8 bits per channel, or too many pixels
 */
export async function decode(source) {
  const bytes = Uint8Array.from(source instanceof Uint8Array ? source : await read(source));
  refuseUnsupported(bytes);
  const orientation = takeOrientation(bytes);
  try {
    const picture = sharp(bytes, { ignoreIcc: true, limitInputPixels: MAX_PIXELS });
    await refuseOthers(picture);
    const { data, info } = await picture.toColourspace("srgb").ensureAlpha().raw().toBuffer({ resolveWithObject: true });
    return { image: { width: info.width, height: info.height, data }, orientation };
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(`the image cannot be decoded: ${error.message}`);
  }
}

async function read(path) {
  try {
    return await readFile(path);
  } catch (error) {
    throw new ImageError(`${path} cannot be read: ${error.code}.`);
  }
}

async function refuseOthers(picture) {
  const { format, depth, space } = await picture.metadata();
  if (!FORMATS.includes(format)) {
    throw new ImageError(`the image is ${format}; ${FORMATS.join(", ")} are accepted.`);
  }
  if (depth !== "uchar" || space === "cmyk") {
    throw new ImageError(`the image is ${space} of ${depth} values; RGB and grey of 8 bits are accepted.`);
  }
}
