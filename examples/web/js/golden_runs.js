/**
 * How a golden case is run: one call, fed-back steps, steps from the source's own state, a
 * sequence in parts, free text. The same as edgedl/runtime/golden_runs.py and free_text.py.
 *
 * `run` takes arrays by input name and answers arrays by output name.
 */
import { arrayOf, cut, indexOfLargest, join, stack, stepOf } from "./arrays.js";

/** The outputs of a case of calls, per-step ones stacked on a leading axis. */
export async function runCase(run, vectors, state) {
  const { kind, steps } = vectors.case;
  if (kind === "forced") return stackSteps(await forced(run, vectors), []);
  if (steps === 1) return run(vectors.inputs);
  return stackSteps(await fedBack(run, vectors, state), state);
}

async function forced(run, { inputs, case: { steps } }) {
  const answers = [];
  for (let step = 0; step < steps; step++) answers.push(await run(stepsOf(inputs, step)));
  return answers;
}

async function fedBack(run, { inputs, case: { steps } }, state) {
  const kept = new Set(state.map((pair) => pair.input));
  const perStep = Object.fromEntries(Object.entries(inputs).filter(([name]) => !kept.has(name)));
  let fed = Object.fromEntries([...kept].map((name) => [name, inputs[name]]));
  const answers = [];
  for (let step = 0; step < steps; step++) {
    const outputs = await run({ ...fed, ...stepsOf(perStep, step) });
    fed = feedsFrom(outputs, state);
    answers.push(outputs);
  }
  return answers;
}

/** One step of every array. */
export function stepsOf(arrays, step) {
  return Object.fromEntries(
    Object.entries(arrays).map(([name, array]) => [name, stepOf(array, step)]),
  );
}

/** State as it goes in at the next step. */
export function feedsFrom(outputs, state) {
  return Object.fromEntries(state.map((pair) => [pair.input, outputs[pair.output]]));
}

/** Outputs of all steps, stacked; of state, only what the last step leaves. */
function stackSteps(answers, state) {
  const kept = new Set(state.map((pair) => pair.output));
  const last = answers.at(-1);
  return Object.fromEntries(
    Object.keys(last).map((name) => [
      name,
      kept.has(name) ? last[name] : stack(answers.map((outputs) => outputs[name])),
    ]),
  );
}

/** One call's sequence in parts, the state of each being what the one before it answered. */
export async function runParts(run, inputs, chunks, state) {
  const joined = Object.fromEntries(Object.keys(chunks.outputs).map((name) => [name, []]));
  let fed = {};
  let start = 0;
  let outputs = {};
  for (const length of chunks.lengths) {
    const part = Object.entries(chunks.inputs).map(([name, axis]) => [
      name,
      cut(inputs[name], axis, start, start + length),
    ]);
    outputs = await run({ ...inputs, ...fed, ...Object.fromEntries(part) });
    fed = feedsFrom(outputs, state);
    start += length;
    for (const [name, parts] of Object.entries(joined)) parts.push(outputs[name]);
  }
  const whole = Object.entries(joined).map(([name, parts]) => [
    name,
    join(parts, chunks.outputs[name]),
  ]);
  const left = state.map((pair) => [pair.output, outputs[pair.output]]);
  return Object.fromEntries([...left, ...whole]);
}

/**
 * Greedy text beside the source's, up to the first other token.
 *
 * @returns {Promise<{output: string, steps: number, at: number?, best: number, second: number}>}
 */
export async function divergence(run, { case: { steps, sizes }, inputs, outputs }, state) {
  const kept = new Set(state.map((pair) => pair.input));
  const tokenInput = Object.keys(inputs).find((name) => !kept.has(name));
  const [output] = Object.keys(outputs);
  const text = inputs[tokenInput];
  const axis = indexOfLargest(text.shape);
  const length = text.shape[axis] - steps;
  const whole = Object.values(sizes).some((size) => size > 1);
  let fed = Object.fromEntries([...kept].map((name) => [name, inputs[name]]));
  let answer = {};
  const read = async (tokens) => {
    answer = await run({ ...fed, [tokenInput]: tokens });
    fed = feedsFrom(answer, state);
  };
  for (const [from, to] of whole ? [[0, length]] : ones(0, length)) {
    await read(cut(text, axis, from, to));
  }
  for (let step = 0; step < steps; step++) {
    const scores = answer[output];
    const classes = scores.shape.at(-1);
    const token = indexOfLargest(scores.data, scores.data.length - classes, classes);
    if (token !== Number(text.data[length + step])) {
      const [best, second] = outputs[output].data.subarray(2 * step, 2 * step + 2);
      return { output, steps, at: step, best, second };
    }
    if (step === steps - 1) break;
    const next = arrayOf(text.dtype, text.shape.with(axis, 1), [token]);
    await read(state.length ? next : cut(text, axis, 0, length + step + 1));
  }
  return { output, steps, at: null, best: 0, second: 0 };
}

function ones(from, to) {
  return Array.from({ length: to - from }, (_, index) => [from + index, from + index + 1]);
}
