/** A bundle over HTTP: its manifest, read and unsealed, and its files, verified. */
import { PageError } from "./errors.js";
import { readNpz } from "./npz.js";

const SCHEMA_VERSION = 1;
const UNSEALED = "0".repeat(64);
const SEAL = /"seal": ?"([0-9a-f]{64})"/g;
const FILE_NAME = /^[A-Za-z0-9][A-Za-z0-9._+-]*$/;

/**
 * Open the bundle at an address that ends in a slash; its files are verified when read.
 *
 * @returns {Promise<{url: string, manifest: object}>}
 */
export async function openBundle(url) {
  const where = `${url}manifest.json`;
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(await fetchBytes(where));
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new PageError(`${where} is not a manifest`, "export the bundle again");
  }
  if (!(manifest.schema_version >= 1 && manifest.schema_version <= SCHEMA_VERSION)) {
    throw new PageError(
      `${where} has schema ${manifest.schema_version}; this page reads up to ${SCHEMA_VERSION}`,
      "export the bundle with the edgedl that this page came with",
    );
  }
  await checkSeal(text, where);
  return Object.freeze({ url, manifest });
}

/** The bytes of one of the bundle's files; `ref` is what the manifest says of it. */
export async function readFile(bundle, { file, sha256 }) {
  if (!FILE_NAME.test(file)) throw new PageError(`${file} is no file name of a bundle`);
  const where = bundle.url + file;
  const bytes = await fetchBytes(where);
  if ((await sha256Of(bytes)) !== sha256) {
    throw new PageError(
      `${where} is damaged, its SHA-256 is not the one in manifest.json`,
      "copy the bundle again, or export it again",
    );
  }
  return bytes;
}

/** The golden vectors: a list of {case, inputs, outputs, scores}, arrays by name. */
export async function readGolden(bundle) {
  const { golden, inputs, outputs, decisions = [] } = bundle.manifest;
  const arrays = await readNpz(await readFile(bundle, golden), bundle.url + golden.file);
  const pick = (name, keys) =>
    Object.fromEntries(
      keys.filter((key) => `${name}/${key}` in arrays).map((key) => [key, arrays[`${name}/${key}`]]),
    );
  const named = (specs) => specs.map((spec) => spec.name);
  return golden.cases.map((given) => {
    const known = { steps: 1, kind: "call", chunks: null, ...given };
    const behind = decisions.map((d) => [d.output, arrays[`${known.name}/${d.scores}`]]);
    return {
      case: known,
      inputs: pick(known.name, named(inputs)),
      outputs: pick(known.name, named(outputs)),
      scores: Object.fromEntries(behind.filter(([, scores]) => scores)),
    };
  });
}

/** The labelled samples that travel, as arrays by name; null where there are none. */
export async function readEvaluation(bundle) {
  const { evaluation } = bundle.manifest;
  if (!evaluation) return null;
  return readNpz(await readFile(bundle, evaluation), bundle.url + evaluation.file);
}

async function checkSeal(text, where) {
  const seal = [...text.matchAll(SEAL)].at(-1);
  if (seal) {
    const start = seal.index + seal[0].length - 1 - UNSEALED.length;
    const unsealed = text.slice(0, start) + UNSEALED + text.slice(start + UNSEALED.length);
    if ((await sha256Of(new TextEncoder().encode(unsealed))) === seal[1]) return;
  }
  throw new PageError(
    `${where} is damaged, its content does not match its seal`,
    "copy the bundle again, or export it again",
  );
}

async function sha256Of(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function fetchBytes(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new PageError(`${url} can't be fetched`, "is serve.py still running?");
  }
  if (!answer.ok) {
    throw new PageError(`${url} is missing (HTTP ${answer.status})`, "serve the whole bundle");
  }
  return new Uint8Array(await answer.arrayBuffer());
}
