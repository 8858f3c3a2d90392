/** Pictures in, labels out, for a model whose task is image classification. */
import { arrayOf, indexOfLargest } from "./arrays.js";
import { PageError } from "./errors.js";

// A size that the model leaves open is MNIST's.
const OPEN_SIZE = 28;

/** Height, width and channels of the picture that the model takes. */
export function pictureSize({ task, inputs }) {
  const { shape } = inputs.find((spec) => spec.name === task.input);
  if (shape.length !== 4) throw new PageError(`${task.input} takes no pictures`);
  const [a, b, c] = shape.slice(1).map((size) => (typeof size === "number" ? size : OPEN_SIZE));
  return task.layout === "NCHW" ? [b, c, a] : [a, b, c];
}

/**
 * A grey picture as the model's input, a batch of one.
 *
 * @param {ArrayLike<number>} pixels Whole numbers from 0 to 255, row by row.
 */
export function pictureFeeds(manifest, pixels) {
  const { task, inputs } = manifest;
  const { dtype } = inputs.find((spec) => spec.name === task.input);
  const [height, width, channels] = pictureSize(manifest);
  const scaled = (pixel) => (dtype === "uint8" ? pixel : pixel * task.scale + task.offset);
  const values = new Float64Array(height * width * channels);
  for (let at = 0; at < height * width; at++) {
    for (let channel = 0; channel < channels; channel++) {
      const planar = task.layout === "NCHW";
      values[planar ? channel * height * width + at : at * channels + channel] = scaled(pixels[at]);
    }
  }
  const shape = task.layout === "NCHW" ? [1, channels, height, width] : [1, height, width, channels];
  return { [task.input]: arrayOf(dtype, shape, values) };
}

/** The pixels of one labelled sample, as whole numbers from 0 to 255. */
export function pixelsOf({ task, inputs }, sample) {
  const { dtype } = inputs.find((spec) => spec.name === task.input);
  const pixel = (value) => (dtype === "uint8" ? value : (value - task.offset) / task.scale);
  return Array.from(sample.data, (value) => Math.round(pixel(Number(value))));
}

/**
 * What the model answered for the first picture of a batch.
 *
 * @returns {{label: string, scores: Map<string, number>}} Scores by label; of a model that
 *   answers the K best classes only theirs, of one that answers a class none.
 */
export function readAnswer({ task, decisions = [] }, outputs) {
  const { data, shape } = outputs[task.output];
  const decision = decisions.find((d) => d.output === task.output);
  if (!decision) {
    const scores = new Map(task.labels.map((label, index) => [label, data[index]]));
    return { label: task.labels[indexOfLargest(data, 0, task.labels.length)], scores };
  }
  const places = shape.length > 1 ? shape.at(-1) : 1;
  const chosen = Array.from(data.subarray(0, places), (number) => task.labels[Number(number)]);
  const values = decision.values ? outputs[decision.values].data : [];
  const known = chosen.slice(0, values.length).map((label, place) => [label, values[place]]);
  return { label: chosen[0], scores: new Map(known) };
}
