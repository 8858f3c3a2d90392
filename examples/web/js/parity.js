/** Parity in the browser: a variant's outputs compared with the golden vectors. */
import { stepsOf, divergence, runCase, runParts } from "./golden_runs.js";
import { Spread, Tally } from "./tally.js";

const PAUSE_EVERY_MS = 40;

/**
 * Run every golden case on a loaded variant and judge every output.
 *
 * @returns {Promise<{passed: boolean, cases: number, ms: number, rows: object[]}>} One row per
 *   output: {output, passed, reason, maxAbs, worstCase, multiple, sqnr, positions, flips}.
 */
export async function prove(model, golden, manifest) {
  const { state } = manifest;
  const started = performance.now();
  const run = politely(model.run);
  const sheets = sheetsFor(golden, manifest, model.variant.tolerance);
  for (const vectors of golden.filter((v) => v.case.kind !== "text")) {
    const actual = await runCase(run, vectors, state);
    compare(sheets, vectors, actual);
    if (vectors.case.chunks) await compareParts(sheets, run, vectors, actual, state);
  }
  for (const vectors of golden.filter((v) => v.case.kind === "text")) {
    const text = await divergence(run, vectors, state);
    sheets.get(text.output).text = text;
  }
  const rows = [...sheets].map(([output, sheet]) => rowOf(output, sheet));
  const ms = performance.now() - started;
  return { passed: rows.every((row) => row.passed), cases: golden.length, ms, rows };
}

/** Runs that let the page draw and answer in between. */
function politely(run) {
  let last = performance.now();
  return async (feeds) => {
    if (performance.now() - last > PAUSE_EVERY_MS) {
      await new Promise((resolve) => setTimeout(resolve));
      last = performance.now();
    }
    return (await run(feeds)).outputs;
  };
}

function sheetsFor(golden, { task, state, outputs }, tolerance) {
  const fedBack = new Set(state.map((pair) => pair.output));
  const names = new Set(golden.flatMap((vectors) => Object.keys(vectors.outputs)));
  return new Map(
    [...names].map((name) => {
      const spread = spreadOf(golden, name);
      const answer = task ? task.output === name : isAnswer(outputs, name) && !fedBack.has(name);
      const role = { state: fedBack.has(name), classes: answer, answer };
      const sheet = { tolerance, spread, text: null, free: new Tally(tolerance, role, spread) };
      // One step's state is no more than an output: no earlier step has added to its noise.
      const local = { ...role, state: false };
      sheet.local = new Tally(tolerance, local, spread);
      sheet.parts = new Tally(tolerance, local, spread);
      return [name, sheet];
    }),
  );
}

/** Without a task: whether an output is scores of a whole sample, (batch, classes). */
function isAnswer(outputs, name) {
  const { dtype, shape } = outputs.find((spec) => spec.name === name);
  return dtype.startsWith("float") && shape.length === 2 && shape[1] !== 1;
}

function spreadOf(golden, name) {
  const spread = new Spread();
  for (const vectors of golden.filter((v) => v.case.kind !== "text")) {
    const scores = vectors.scores[name] ?? vectors.outputs[name];
    if (scores?.dtype.startsWith("float") && scores.shape.at(-1) > 1) spread.add(scores);
  }
  return spread.value;
}

function compare(sheets, { case: { kind, name, steps }, outputs, scores }, actual) {
  if (kind !== "forced") {
    for (const [output, expected] of Object.entries(outputs)) {
      sheets.get(output).free.add(name, actual[output], expected, scores[output]);
    }
    return;
  }
  for (let step = 0; step < steps; step++) {
    const [mine, source, behind] = [actual, outputs, scores].map((all) => stepsOf(all, step));
    for (const [output, expected] of Object.entries(source)) {
      const where = `${name}, step ${step}`;
      sheets.get(output).local.add(where, mine[output], expected, behind[output]);
    }
  }
}

async function compareParts(sheets, run, vectors, whole, state) {
  const inParts = await runParts(run, vectors.inputs, vectors.case.chunks, state);
  for (const [output, part] of Object.entries(inParts)) {
    const { parts } = sheets.get(output);
    parts.add(vectors.case.name, part, whole[output], vectors.scores[output]);
  }
}

function rowOf(output, { free, local, parts, text, tolerance, spread }) {
  const reasons = [
    free.reason,
    local.reason && `steps from the source's state: ${local.reason}`,
    parts.reason && `a sequence in parts differs from it whole: ${parts.reason}`,
    text ? textProblem(text, tolerance, spread) : "",
  ].filter(Boolean);
  const { maxAbs, worstCase, multiple, sqnr, elementWise, role } = free;
  const { positions, flips } = free.flips;
  return {
    output, elementWise, maxAbs, worstCase, multiple, sqnr, positions, flips,
    reported: role.state && !elementWise,
    passed: reasons.length === 0,
    reason: reasons.join("; "),
  };
}

/** Why text that leaves the source's is no close call; empty where it is. */
function textProblem({ at, best, second }, { atol, rtol, flip_margin: bound }, spread) {
  if (at === null) return "";
  const margin = best - second;
  const noise = 2 * (atol ?? 0) + (rtol ?? 0) * (Math.abs(best) + Math.abs(second));
  const elementWise = (atol ?? rtol ?? null) !== null;
  const tooClear = (bound ?? null) !== null && spread > 0 && margin / spread > bound;
  const clear = (elementWise && margin > noise) || tooClear;
  return clear ? `greedy text leaves the source's at token ${at}` : "";
}
