/** The page: one engine, and a card for each bundle that the server names. */
import { openBundle } from "./bundle.js";
import { Card } from "./card.js";
import { loadEngine } from "./engine.js";
import { oneLine, PageError } from "./errors.js";
import { pictureView } from "./picture_view.js";
import { textView } from "./text_view.js";

const VIEWS = { "image-classification": pictureView, "text-generation": textView };
const byId = (id) => document.getElementById(id);

async function start() {
  if (!globalThis.crypto?.subtle) {
    throw new PageError(
      "This browser checks hashes on https and on localhost only",
      "open the page there (see serve.py --certificate)",
    );
  }
  const engine = await loadEngine(threadsAsked());
  const many = engine.threads === 1 ? "1 thread" : `${engine.threads} threads`;
  byId("engine").textContent = `onnxruntime-web ${engine.version}, WebAssembly, ${many}`;
  const answer = await fetch("bundles.json");
  if (!answer.ok) throw new PageError("bundles.json is missing", "start the page with serve.py");
  await Promise.all((await answer.json()).map((url) => show(engine, url)));
}

/** What `?threads=N` asks for, within what the machine has. */
function threadsAsked() {
  const asked = Number(new URLSearchParams(location.search).get("threads"));
  return Number.isInteger(asked) ? Math.min(Math.max(asked, 1), navigator.hardwareConcurrency) : 1;
}

/** A bundle's card, from its first byte to its proof. A failure stays on the card. */
async function show(engine, url) {
  const card = new Card(engine, url, byId("card"));
  byId("cards").append(card.element);
  await card.attempt(async () => {
    const bundle = await openBundle(url);
    card.describe(bundle);
    const view = VIEWS[bundle.manifest.task?.kind];
    const shown = view ? await view(card, bundle) : null;
    card.whenChanged(() => shown?.refresh());
    await card.openDefault();
    await card.proveCurrent();
  });
}

start().catch((error) => {
  byId("engine").hidden = true;
  Object.assign(byId("failure"), { textContent: oneLine(error), hidden: false });
  if (!(error instanceof PageError)) throw error;
});
