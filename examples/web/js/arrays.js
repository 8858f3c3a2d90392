/**
 * Arrays as golden vectors and tensors need them: {dtype, shape, data}, row-major, never
 * changed once made. `dtype` is onnxruntime-web's name, which is also NumPy's.
 */
import { PageError } from "./errors.js";

const STORAGE = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  // Browsers have it since 2025.
  float16: globalThis.Float16Array,
};

/** The typed array that holds a dtype. */
export function storageOf(dtype) {
  const storage = STORAGE[dtype];
  if (!storage) throw new PageError(`${dtype} tensors don't work in this browser`, "take another");
  return storage;
}

export const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** An array of numbers, integers of 64 bits included. */
export function arrayOf(dtype, shape, numbers) {
  const storage = storageOf(dtype);
  const wide = storage === BigInt64Array || storage === BigUint64Array;
  return { dtype, shape, data: storage.from(wide ? Array.from(numbers, BigInt) : numbers) };
}

export function zeros(dtype, shape) {
  return { dtype, shape, data: new (storageOf(dtype))(sizeOf(shape)) };
}

/** The values as float64, to compute with. */
export function numbersOf(array) {
  return Float64Array.from(array.data, Number);
}

/** One step of an array that is stacked on a leading axis; shares its memory. */
export function stepOf(array, step) {
  const shape = array.shape.slice(1);
  const size = sizeOf(shape);
  return { ...array, shape, data: array.data.subarray(step * size, (step + 1) * size) };
}

/** Arrays of one shape on a new leading axis. */
export function stack(arrays) {
  const [{ dtype, shape }] = arrays;
  const data = new (storageOf(dtype))(arrays.length * sizeOf(shape));
  arrays.forEach((array, index) => data.set(array.data, index * sizeOf(shape)));
  return { dtype, shape: [arrays.length, ...shape], data };
}

/** A copy of the part from `start` to `stop` along an axis. */
export function cut(array, axis, start, stop) {
  const [outer, inner] = around(array.shape, axis);
  const length = array.shape[axis];
  const part = new (storageOf(array.dtype))(outer * (stop - start) * inner);
  for (let row = 0; row < outer; row++) {
    const from = (row * length + start) * inner;
    const values = array.data.subarray(from, from + (stop - start) * inner);
    part.set(values, row * values.length);
  }
  return { ...array, shape: array.shape.with(axis, stop - start), data: part };
}

/** Arrays joined along an axis. */
export function join(arrays, axis) {
  const [first] = arrays;
  const length = arrays.reduce((sum, array) => sum + array.shape[axis], 0);
  const [outer, inner] = around(first.shape, axis);
  const data = new (storageOf(first.dtype))(outer * length * inner);
  let start = 0;
  for (const array of arrays) {
    const size = array.shape[axis] * inner;
    for (let row = 0; row < outer; row++) {
      data.set(array.data.subarray(row * size, (row + 1) * size), row * length * inner + start);
    }
    start += size;
  }
  return { ...first, shape: first.shape.with(axis, length), data };
}

function around(shape, axis) {
  return [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis + 1))];
}

/** The index of the largest of `length` values from `start`; the first of equals. */
export function indexOfLargest(values, start = 0, length = values.length) {
  let best = 0;
  for (let index = 1; index < length; index++) {
    if (values[start + index] > values[start + best]) best = index;
  }
  return best;
}
