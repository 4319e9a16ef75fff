/** Reading golden.npz: a zip archive of arrays as NumPy saves them. */

import { BundleError } from "./errors.js";

const ARRAYS = { "<f4": Float32Array, "|u1": Uint8Array };

/** Return the arrays of a NumPy archive by name: {shape, data}. */
export async function readNpz(bytes) {
  const arrays = {};
  for (const { name, data } of await unzip(bytes)) arrays[name.replace(/\.npy$/, "")] = readNpy(data);
  return arrays;
}

function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [start, length] = bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, start + length));
  const [, type] = header.match(/'descr': '([^']+)'/) ?? [];
  const [, shape] = header.match(/'shape': \(([^)]*)\)/) ?? [];
  if (!(type in ARRAYS) || shape === undefined || !header.includes("'fortran_order': False")) {
    throw new BundleError(`golden.npz has an array of a kind that is not read: ${header.trim()}.`);
  }
  const sizes = shape
    .split(",")
    .filter((size) => size.trim())
    .map(Number);
  const count = sizes.reduce((product, size) => product * size, 1);
  const from = bytes.byteOffset + start + length;
  const data = bytes.buffer.slice(from, from + count * ARRAYS[type].BYTES_PER_ELEMENT); // aligned for the typed array
  return { shape: sizes, data: new ARRAYS[type](data) };
}

/** Return the files of a zip archive, stored or deflated, by its central directory. */
async function unzip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new BundleError("golden.npz is not a zip archive.");
  const files = [];
  for (let entry = 0, at = view.getUint32(end + 16, true); entry < view.getUint16(end + 10, true); entry++) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const data = bytes.subarray(start, start + view.getUint32(at + 20, true));
    files.push({ name, data: view.getUint16(at + 10, true) === 0 ? data : await inflate(data) });
    at += 46 + nameLength + extraLength + commentLength;
  }
  return files;
}

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
