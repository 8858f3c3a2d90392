/**
 * NumPy archives: a zip of .npy files, stored or deflated, read without a library.
 *
 * Formats: PKWARE's APPNOTE.TXT 4.3 and numpy.lib.format 1.0 to 3.0. Checksums aren't
 * looked at: a bundle's files are verified by their SHA-256 before they are read.
 */
import { sizeOf, storageOf } from "./arrays.js";
import { PageError } from "./errors.js";

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const STORED = 0;
const DEFLATED = 8;

const DTYPES = {
  f2: "float16", f4: "float32", f8: "float64",
  i1: "int8", i2: "int16", i4: "int32", i8: "int64",
  u1: "uint8", u2: "uint16", u4: "uint32", u8: "uint64",
  b1: "bool",
};

/** The arrays of an .npz file's bytes, by name. `where` is the file to name in errors. */
export async function readNpz(bytes, where) {
  const entries = directoryOf(bytes, where);
  const pairs = await Promise.all(
    entries.map(async (entry) => [
      entry.name.replace(/\.npy$/, ""),
      readNpy(await contentOf(bytes, entry, where), `${entry.name} in ${where}`),
    ]),
  );
  return Object.fromEntries(pairs);
}

function directoryOf(bytes, where) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END_OF_DIRECTORY) end -= 1;
  if (end < 0) throw new PageError(`${where} is not an .npz file`, "export the bundle again");
  const entries = [];
  let at = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    if (view.getUint32(at, true) !== DIRECTORY_ENTRY) {
      throw new PageError(`${where} is not a readable .npz file`, "export the bundle again");
    }
    const nameLength = view.getUint16(at + 28, true);
    entries.push({
      name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength)),
      method: view.getUint16(at + 10, true),
      compressed: view.getUint32(at + 20, true),
      header: view.getUint32(at + 42, true),
    });
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return entries;
}

async function contentOf(bytes, { name, method, compressed, header }, where) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
  const content = bytes.subarray(start, start + compressed);
  if (method === STORED) return content;
  if (method !== DEFLATED) {
    throw new PageError(`${name} in ${where} is packed by method ${method}`, "use numpy.savez");
  }
  const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function readNpy(bytes, where) {
  const magic = String.fromCharCode(...bytes.subarray(0, 6));
  if (magic !== "\x93NUMPY") throw new PageError(`${where} is no NumPy array`, "use numpy.savez");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  const start = wide ? 12 : 10;
  const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const { dtype, shape } = headerOf(new TextDecoder().decode(bytes.subarray(start, end)), where);
  const storage = storageOf(dtype);
  // A copy, because a typed array must start at a multiple of its element's size.
  const data = bytes.slice(end, end + sizeOf(shape) * storage.BYTES_PER_ELEMENT);
  return { dtype, shape, data: new storage(data.buffer) };
}

function headerOf(header, where) {
  const [, order, kind] = header.match(/'descr': '([<>|=])(\w+)'/) ?? [];
  const shape = header.match(/'shape': \(([\d, ]*)\)/);
  const dtype = order === ">" ? undefined : DTYPES[kind];
  if (!dtype || !shape || header.includes("'fortran_order': True")) {
    throw new PageError(`${where} is no plain array: ${header.trim()}`, "use numpy.savez");
  }
  return { dtype, shape: shape[1].split(",").filter((size) => size.trim()).map(Number) };
}
