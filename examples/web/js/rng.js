/**
 * NumPy's random numbers: the stream of `np.random.PCG64(seed)`, bit for bit, so that a seed
 * writes the same text here as in Python.
 *
 * PCG64 (O'Neill, HMC-CS-2014-0905, XSL RR 128/64), seeded by NumPy's SeedSequence.
 */
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const MASK64 = (1n << 64n) - 1n;
const MASK128 = (1n << 128n) - 1n;
const POOL = 4;

/** A generator of float64 draws; a seed of null takes a fresh one. */
export class Random {
  #state;
  #increment;

  constructor(seed = null) {
    const entropy = seed === null ? [...crypto.getRandomValues(new Uint32Array(POOL))] : words(seed);
    const [stateHigh, stateLow, streamHigh, streamLow] = generate(mixed(entropy), POOL);
    this.#increment = ((((streamHigh << 64n) | streamLow) << 1n) | 1n) & MASK128;
    this.#state = (this.#increment + ((stateHigh << 64n) | stateLow)) & MASK128;
    this.#step();
  }

  #step() {
    this.#state = (this.#state * MULTIPLIER + this.#increment) & MASK128;
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform() {
    this.#step();
    const folded = (this.#state >> 64n) ^ (this.#state & MASK64);
    const turn = this.#state >> 122n;
    const bits = ((folded >> turn) | (folded << ((64n - turn) & 63n))) & MASK64;
    return Number(bits >> 11n) / 2 ** 53;
  }
}

/** A whole number of any size in words of 32 bits, the least first. */
function words(seed) {
  const parts = [];
  for (let rest = BigInt(seed); rest > 0n || parts.length === 0; rest >>= 32n) {
    parts.push(Number(rest & 0xffffffffn));
  }
  return parts;
}

/** NumPy's hash of 32 bits; each call of the function it gives goes one step on. */
function hash(constant, multiplier) {
  let factor = constant;
  return (value) => {
    const crossed = value ^ factor;
    factor = Math.imul(factor, multiplier);
    const product = Math.imul(crossed, factor);
    return (product ^ (product >>> 16)) >>> 0;
  };
}

function mix(x, y) {
  const value = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
  return (value ^ (value >>> 16)) >>> 0;
}

/** The pool that SeedSequence makes of its entropy. */
function mixed(entropy) {
  const hashed = hash(0x43b0d7e5, 0x931e8875);
  const pool = Array.from({ length: POOL }, (_, index) => hashed(entropy[index] ?? 0));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) {
      if (from !== to) pool[to] = mix(pool[to], hashed(pool[from]));
    }
  }
  for (const word of entropy.slice(POOL)) {
    for (let to = 0; to < POOL; to++) pool[to] = mix(pool[to], hashed(word));
  }
  return pool;
}

/** Words of 64 bits from a pool. */
function generate(pool, count) {
  const hashed = hash(0x8b51f9dd, 0x58f38ded);
  const next = Array.from({ length: 2 * count }, (_, index) => BigInt(hashed(pool[index % POOL])));
  return Array.from({ length: count }, (_, index) => next[2 * index] | (next[2 * index + 1] << 32n));
}
