/**
 * The verdict on one output: running totals over its golden cases. The same rules as
 * edgedl/runtime/tally.py, flips.py and decisions.py; docs/parity.md says why they are so.
 */
import { indexOfLargest, numbersOf } from "./arrays.js";

// Each case must come within a factor of four of the noise that is allowed in all.
const CASE_MARGIN_DB = 6;
const isWhole = (dtype) => !dtype.startsWith("float");

/** A ratio of powers in dB; noise without any signal is 300 dB louder. */
export function decibels(signal, noise) {
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise || 1e-30);
}

/** Why two outputs can't be compared element by element; empty where they can. */
function structuralProblem(actual, expected) {
  if (!actual) return "the output is missing";
  if (String(actual.shape) !== String(expected.shape)) {
    return `shape [${actual.shape}] instead of [${expected.shape}]`;
  }
  if (actual.dtype !== expected.dtype) return `dtype ${actual.dtype} instead of ${expected.dtype}`;
  if (isWhole(expected.dtype)) return "";
  let alien = 0;
  for (let index = 0; index < expected.data.length; index++) {
    const a = actual.data[index];
    const b = expected.data[index];
    if (!(Number.isFinite(a) && Number.isFinite(b)) && !Object.is(a, b)) alien += 1;
  }
  return alien ? `${alien} values are NaN or infinite on one side only` : "";
}

/** The RMS, over all positions, of the range of a position's scores. */
export class Spread {
  #squares = 0;
  #positions = 0;

  add(scores) {
    const classes = scores.shape.at(-1);
    for (let start = 0; start < scores.data.length; start += classes) {
      const finite = scores.data.subarray(start, start + classes).filter(Number.isFinite);
      if (finite.length) this.#squares += (Math.max(...finite) - Math.min(...finite)) ** 2;
      this.#positions += 1;
    }
  }

  get value() {
    return this.#positions ? Math.sqrt(this.#squares / this.#positions) : 0;
  }
}

/** Positions, those at which another class is chosen, and those where that is clear. */
class FlipCount {
  positions = 0;
  flips = 0;
  clear = 0;
  worst = 0;

  constructor(spread, bound) {
    Object.assign(this, { spread, bound: bound ?? Infinity });
  }

  add(lost, flipped) {
    const share = this.spread > 0 ? lost / this.spread : 0;
    this.positions += 1;
    this.flips += flipped ? 1 : 0;
    this.clear += share > this.bound ? 1 : 0;
    this.worst = Math.max(this.worst, share);
  }

  get problem() {
    if (!this.clear) return "";
    return (
      `${this.clear} of ${this.positions} classes flipped where the source's margin is over ` +
      `${this.bound} of the scores' range`
    );
  }
}

/** `role` is {state, classes, answer}; `spread` is the golden scores'. */
export class Tally {
  #signal = 0;
  #noise = 0;
  #excess = -Infinity;
  #leastSqnr = Infinity;
  #noisiest = "";
  #whole = false;
  #problems = [];
  cases = 0;
  maxAbs = 0;
  multiple = 0;
  worstCase = "";

  constructor(tolerance, role, spread) {
    Object.assign(this, { tolerance, role });
    this.elementWise = (tolerance.atol ?? tolerance.rtol ?? null) !== null;
    this.flips = new FlipCount(spread, tolerance.flip_margin);
  }

  add(name, actual, expected, scores) {
    this.cases += 1;
    const problem = structuralProblem(actual, expected);
    if (problem) {
      this.#problems.push(`${name}: ${problem}`);
      this.worstCase ||= name;
    } else if (scores) {
      this.#addDecisions(name, actual, expected, scores);
    } else {
      this.#addValues(name, numbersOf(actual), numbersOf(expected));
      this.#addFlips(actual, expected);
    }
  }

  #addValues(name, ours, source) {
    const { atol, rtol } = this.tolerance;
    let signal = 0;
    let noise = 0;
    for (let index = 0; index < source.length; index++) {
      const b = source[index];
      if (!Number.isFinite(b)) continue;
      const error = Math.abs(ours[index] - b);
      signal += b * b;
      noise += error * error;
      this.maxAbs = Math.max(this.maxAbs, error);
      this.#addExcess(name, error, (atol ?? 0) + (rtol ?? 0) * Math.abs(b));
    }
    this.#signal += signal;
    this.#noise += noise;
    const sqnr = decibels(signal, noise);
    if (sqnr < this.#leastSqnr) [this.#leastSqnr, this.#noisiest] = [sqnr, name];
  }

  #addExcess(name, error, allowed) {
    if (error - allowed > this.#excess) [this.#excess, this.worstCase] = [error - allowed, name];
    if (error > 0) this.multiple = Math.max(this.multiple, error / allowed);
  }

  #addFlips(actual, expected) {
    const classes = expected.shape.at(-1);
    if (isWhole(expected.dtype)) {
      this.#whole = true;
      expected.data.forEach((value, index) => this.flips.add(0, value !== actual.data[index]));
    } else if (this.role.classes && classes > 1) {
      for (let start = 0; start < expected.data.length; start += classes) {
        const own = indexOfLargest(expected.data, start, classes);
        const chosen = indexOfLargest(actual.data, start, classes);
        const lost = own === chosen ? 0 : expected.data[start + own] - expected.data[start + chosen];
        this.flips.add(lost, own !== chosen);
      }
    }
  }

  /** Classes that the model gives instead of scores, judged by the source's scores of them. */
  #addDecisions(name, actual, expected, scores) {
    const classes = scores.shape.at(-1);
    const places = expected.data.length / (scores.data.length / classes);
    const { atol, rtol } = this.tolerance;
    if (actual.data.some((chosen) => chosen < 0 || chosen >= classes)) {
      this.#problems.push(`${name}: a class outside 0 to ${classes - 1}`);
      return;
    }
    expected.data.forEach((own, index) => {
      const start = Math.floor(index / places) * classes;
      const theirs = scores.data[start + Number(own)];
      const ours = scores.data[start + Number(actual.data[index])];
      const lost = Math.abs(theirs - ours);
      const allowed = 2 * (atol ?? 0) + (rtol ?? 0) * (Math.abs(ours) + Math.abs(theirs));
      if (this.elementWise) this.#addExcess(name, lost, allowed);
      if (index % places) return;
      this.maxAbs = Math.max(this.maxAbs, lost);
      this.flips.add(lost, own !== actual.data[index]);
    });
  }

  get sqnr() {
    return this.#noise === 0 ? Infinity : decibels(this.#signal, this.#noise);
  }

  /** Why this output fails; empty where it passes. */
  get reason() {
    const { tolerance, role, flips } = this;
    if (this.#problems.length) return this.#problems.slice(0, 3).join("; ");
    if (this.#whole) return this.#otherwise();
    if (this.elementWise && this.#excess > 0) {
      return `max |a-b| ${this.maxAbs.toPrecision(3)} in case ${this.worstCase} is too large`;
    }
    return this.#tooNoisy(tolerance.min_sqnr_db) || (role.answer ? flips.problem : "");
  }

  #otherwise() {
    const allowed = this.elementWise ? 0 : (this.tolerance.max_drop ?? 0);
    const { flips, positions } = this.flips;
    if (100 * flips <= allowed * positions || (this.role.state && !this.elementWise)) return "";
    return `${flips} of ${positions} whole numbers differ`;
  }

  #tooNoisy(limit) {
    // State is no answer: what its noise does is seen in the outputs of later steps.
    if ((limit ?? null) === null || this.role.state) return "";
    if (this.sqnr < limit) return `SQNR ${this.sqnr.toFixed(1)} dB is under ${limit} dB`;
    const least = limit - CASE_MARGIN_DB;
    if (this.#leastSqnr >= least) return "";
    return `SQNR ${this.#leastSqnr.toFixed(1)} dB in case ${this.#noisiest} is under ${least} dB`;
  }
}
