/** Text, token by token, from a model whose task is text generation. */
import { arrayOf, indexOfLargest, zeros } from "./arrays.js";
import { PageError } from "./errors.js";
import { feedsFrom } from "./golden_runs.js";
import { Random } from "./rng.js";

/** Token numbers; a character that isn't in the vocabulary is the unknown token. */
export function encode(text, { tokens, unknown }) {
  const numbers = new Map(tokens.map((token, number) => [token, number]));
  return Array.from(text, (character) => numbers.get(character) ?? unknown);
}

/**
 * Continue a prompt: it is read in one call, then there is a call for each token, the state
 * that a call answers being fed to the next.
 *
 * @param {Function} run Arrays by input name to arrays by output name.
 * @param {{prompt: string, length: number, temperature: number, seed: number?}} wish
 *   Temperature divides the logits; 0 always takes the likeliest token.
 * @yields {string} The text of each token; the unknown one is never written.
 */
export async function* generate(run, manifest, wish) {
  const { task } = manifest;
  if (!wish.prompt) throw new PageError("the prompt is empty", "type at least one character");
  const random = new Random(wish.seed);
  const read = reader(run, manifest);
  let scores = await read(encode(wish.prompt, task.vocabulary));
  for (let count = 0; count < wish.length; count++) {
    const token = sample(scores, task.vocabulary, wish.temperature, random);
    yield task.vocabulary.tokens[token];
    if (count < wish.length - 1) scores = await read([token]);
  }
}

/** Reads more tokens of one text, and gives the scores of the next. */
function reader(run, { task, inputs, state }) {
  const { dtype, shape: [, time] } = inputs.find((spec) => spec.name === task.input);
  let fed = initialState(inputs, state);
  let text = [];
  const call = async (tokens) => {
    const feeds = { ...fed, [task.input]: arrayOf(dtype, [1, tokens.length], tokens) };
    const outputs = await run(feeds);
    fed = feedsFrom(outputs, state);
    return lastScores(outputs[task.output]);
  };
  if (state.length === 0) {
    // Without a state the text is read again whole, or as much of its end as the model takes.
    return (tokens) => call((text = [...text, ...tokens]).slice(typeof time === "number" ? -time : 0));
  }
  if (time !== 1) return call;
  return async (tokens) => {
    let scores;
    for (const token of tokens) scores = await call([token]);
    return scores;
  };
}

/** State before anything was read: zeros, for a batch of one. */
function initialState(inputs, state) {
  const kept = new Set(state.map((pair) => pair.input));
  const specs = inputs.filter((spec) => kept.has(spec.name));
  const sized = (shape) => shape.map((size) => (typeof size === "number" ? size : 1));
  return Object.fromEntries(specs.map(({ name, dtype, shape }) => [name, zeros(dtype, sized(shape))]));
}

function lastScores({ shape, data }) {
  return Float64Array.from(data.subarray(data.length - shape.at(-1)));
}

/** A token's number; the same rule, and the same draws, as edgedl/runtime/sampling.py. */
function sample(scores, { unknown }, temperature, random) {
  scores[unknown] = -Infinity;
  const best = indexOfLargest(scores);
  if (!Number.isFinite(scores[best])) {
    throw new PageError("no token can be drawn from the model's scores", "prove the variant");
  }
  if (temperature === 0) return best;
  const largest = scores[best];
  let total = 0;
  const sums = scores.map((score) => (total += Math.exp((score - largest) / temperature)));
  const share = random.uniform() * total;
  const token = sums.findIndex((sum) => sum > share);
  // The product may round up to the whole sum.
  return token < 0 ? sums.indexOf(total) : token;
}
