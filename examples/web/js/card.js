/** One bundle's card: which variant runs, what it is, what it took, and its proof. */
import { readGolden } from "./bundle.js";
import { openVariant, UnsupportedVariant } from "./engine.js";
import { oneLine, PageError } from "./errors.js";
import { evidenceRows, verdictLine } from "./evidence.js";
import * as format from "./format.js";
import { prove } from "./parity.js";

const KEPT_TIMES = 99;

export class Card {
  #engine;
  #bundle;
  #models = new Map();
  #proofs = new Map();
  #model = null;
  #times = [];
  #changed = () => {};

  constructor(engine, url, template) {
    this.#engine = engine;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.dataset.bundle = url;
    this.#find("h2").textContent = url.split("/").filter(Boolean).map(decodeURIComponent).at(-1);
    this.#find("select").addEventListener("change", ({ target }) => this.#choose(target.value));
    this.#find("[data-do=prove]").addEventListener("click", () => this.#proveAll());
    this.#find("[data-do=prove]").disabled = true;
  }

  /** Whether there is a variant to run. */
  get ready() {
    return this.#model !== null;
  }

  /** Show what the manifest says of the bundle. */
  describe(bundle) {
    const { name, task, variants } = bundle.manifest;
    this.#bundle = bundle;
    this.element.dataset.name = name;
    this.#find("h2").textContent = name;
    this.#find(".proof").setAttribute("aria-label", `Proof of ${name}`);
    this.#find(".evidence").setAttribute("aria-label", `Evidence for ${name}`);
    const kind = task ? task.kind.replace("-", " ") : "no task: it can be proved only";
    this.#find(".kind").textContent = kind;
    this.#find("select").replaceChildren(...variants.map(({ name }) => new Option(name)));
  }

  /** `action` is called whenever another variant takes over. */
  whenChanged(action) {
    this.#changed = action;
  }

  /** Where a view puts itself. */
  get work() {
    return this.#find(".work");
  }

  /** Run the current variant once, and note how long it took. */
  async infer(feeds) {
    const model = this.#model;
    if (!model) throw new PageError("no variant is loaded", "choose one");
    const { outputs, ms } = await model.run(feeds);
    if (model === this.#model) this.#note(ms);
    return outputs;
  }

  /** Do something whose failure is said on the card, in one line. */
  async attempt(action) {
    this.#say(".error", "");
    try {
      return await action();
    } catch (error) {
      this.#say(".error", oneLine(error));
      if (!this.#model) this.element.dataset.state = "refused";
      if (!(error instanceof PageError)) throw error;
      return undefined;
    }
  }

  /** Load the default variant, or where onnxruntime-web can't run it, the next that it can. */
  async openDefault() {
    const { default_variant: first, variants } = this.#bundle.manifest;
    const others = variants.map((variant) => variant.name).filter((name) => name !== first);
    const refused = [];
    for (const name of [first, ...others]) {
      try {
        await this.#use(name);
      } catch (error) {
        if (!(error instanceof UnsupportedVariant)) throw error;
        refused.push(oneLine(error));
        continue;
      }
      if (refused.length) this.#say(".note", `${refused.join("; ")}: ${name} takes its place`);
      return;
    }
    throw new PageError(refused.join("; "), "export the bundle with another recipe");
  }

  /** Prove the variant that runs, where it hasn't been yet. */
  async proveCurrent() {
    const { variant } = this.#model;
    if (!this.#proofs.has(variant.name)) await this.#prove([variant]);
    this.#showProofs();
  }

  async #proveAll() {
    await this.attempt(async () => {
      this.#proofs.clear();
      delete this.#find(".proof").dataset.verdict;
      this.#find(".verdict p").textContent = "Not proved yet.";
      await this.#prove(this.#bundle.manifest.variants);
      this.#showProofs();
      this.#find(".evidence").hidden = false;
    });
  }

  async #prove(variants) {
    const button = this.#find("[data-do=prove]");
    button.disabled = true;
    try {
      const golden = await readGolden(this.#bundle);
      for (const variant of variants) {
        this.#find(".verdict p").textContent = `Proving ${variant.name} …`;
        this.#proofs.set(variant.name, await this.#proofOf(variant, golden));
      }
    } finally {
      button.disabled = false;
    }
  }

  /** A variant's verdict; one that can't be had, or run, is no proof of the others' failure. */
  async #proofOf(variant, golden) {
    try {
      const model = await this.#load(variant.name);
      return { variant, ...(await prove(model, golden, this.#bundle.manifest)) };
    } catch (error) {
      if (!(error instanceof PageError)) throw error;
      const unsupported = error instanceof UnsupportedVariant;
      return { variant, passed: unsupported, unsupported, rows: [], problem: oneLine(error) };
    }
  }

  #showProofs() {
    const { variants } = this.#bundle.manifest;
    const proofs = variants.map(({ name }) => this.#proofs.get(name)).filter(Boolean);
    const verdict = proofs.every(({ passed }) => passed) ? "holds" : "fails";
    this.#find(".proof").dataset.verdict = verdict;
    const current = this.#proofs.get(this.#model?.variant.name);
    this.#find(".verdict p").textContent = verdictLine(proofs, current, variants.length);
    const table = this.#find("table");
    table.querySelectorAll("tbody").forEach((body) => body.remove());
    table.append(...proofs.map(evidenceRows));
  }

  async #choose(name) {
    this.#say(".note", "");
    await this.attempt(async () => {
      await this.#use(name);
      await this.proveCurrent();
    });
    this.#find("select").value = this.#model?.variant.name ?? name;
  }

  async #use(name) {
    const model = await this.#load(name);
    this.#model = model;
    this.#times = [];
    this.#find("select").value = name;
    this.element.dataset.state = "ready";
    const { file, bytes, sha256 } = model.variant;
    this.#fact("file", `${file}\n${format.bytes(bytes)}`);
    this.#fact("hash", `${sha256.slice(0, 6)}…${sha256.slice(-6)}`);
    this.#fact("run", "–");
    this.#changed();
  }

  async #load(name) {
    const known = this.#models.get(name);
    if (known) return known;
    const variant = this.#bundle.manifest.variants.find((each) => each.name === name);
    const model = await openVariant(this.#engine, this.#bundle, variant);
    this.#models.set(name, model);
    return model;
  }

  #note(ms) {
    this.#times = [...this.#times.slice(-KEPT_TIMES), ms];
    const { length } = this.#times;
    const middle = format.milliseconds(format.median(this.#times));
    this.#fact("run", length === 1 ? middle : `${middle}\nmedian of ${length}`);
  }

  #fact(name, text) {
    this.#find(`[data-fact=${name}]`).textContent = text;
  }

  #say(where, text) {
    Object.assign(this.#find(where), { textContent: text, hidden: !text });
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}
