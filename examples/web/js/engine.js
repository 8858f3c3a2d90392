/** onnxruntime-web: loaded once, and a bundle's variants loaded into it. */
import { readFile } from "./bundle.js";
import { oneLine, PageError } from "./errors.js";

const LIBRARY = "../node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

/** What onnxruntime-web says of a variant that it can't run. */
export class UnsupportedVariant extends PageError {}

/**
 * Load onnxruntime-web's WebAssembly build.
 *
 * @param {number} threads Used where the page is cross-origin isolated; else it is one.
 * @returns {Promise<{ort: object, version: string, threads: number}>}
 */
export async function loadEngine(threads) {
  let ort;
  try {
    ort = await import(LIBRARY);
  } catch (error) {
    throw new PageError(`onnxruntime-web didn't load (${oneLine(error)})`, "run `make web`");
  }
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
  return { ort, version: ort.env.versions.web, threads: ort.env.wasm.numThreads };
}

/**
 * Verify a variant's file and load it.
 *
 * @returns {Promise<{variant: object, run: Function}>} `run` takes arrays by input name and
 *   gives {outputs, ms}: arrays by output name, and how long it took.
 */
export async function openVariant(engine, bundle, variant) {
  const bytes = await readFile(bundle, variant);
  const { ort } = engine;
  let session;
  try {
    session = await ort.InferenceSession.create(bytes, {
      executionProviders: ["wasm"],
      logSeverityLevel: 3,
    });
  } catch (error) {
    throw new UnsupportedVariant(
      `onnxruntime-web ${engine.version} can't run ${variant.name} (${oneLine(error)})`,
    );
  }
  const run = (feeds) => runOnce(ort, session, variant, feeds);
  return Object.freeze({ variant, run });
}

async function runOnce(ort, session, variant, feeds) {
  const tensors = Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, shape, data }]) => [
      name,
      new ort.Tensor(dtype, data, shape),
    ]),
  );
  const started = performance.now();
  let answers;
  try {
    answers = await session.run(tensors);
  } catch (error) {
    throw new PageError(`${variant.file} failed to run (${oneLine(error)})`);
  }
  const ms = performance.now() - started;
  const outputs = Object.fromEntries(
    Object.entries(answers).map(([name, tensor]) => [
      name,
      { dtype: tensor.type, shape: [...tensor.dims], data: tensor.data },
    ]),
  );
  return { outputs, ms };
}
