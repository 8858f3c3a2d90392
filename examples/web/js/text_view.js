/** Type a prompt, see the text come token by token. */
import { PageError } from "./errors.js";
import * as format from "./format.js";
import { generate } from "./text.js";

// Let the page draw this often; a token may take far less.
const FRAME_MS = 16;
const FIRST_PROMPT = "The class statement";

/** The view of a text generator on its card; `refresh` stops what is being written. */
export async function textView(card, { manifest }) {
  card.work.replaceChildren(document.getElementById("writing").content.cloneNode(true));
  const form = card.work.querySelector("form");
  const { prompt, temperature } = form.elements;
  prompt.value = FIRST_PROMPT;
  temperature.addEventListener("input", () => {
    form.querySelector("output").textContent = temperature.value;
  });
  let stop = new AbortController();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const busy = form.dataset.busy !== undefined;
    stop.abort();
    if (busy) return;
    stop = new AbortController();
    card.attempt(() => write(card, manifest, form, stop.signal));
  });
  return { refresh: () => stop.abort() };
}

async function write(card, manifest, form, signal) {
  const wish = wishOf(form.elements);
  const [given, written] = form.querySelectorAll(".page span");
  const pace = form.querySelector(".pace");
  const times = [];
  const run = async (feeds) => {
    const started = performance.now();
    const outputs = await card.infer(feeds);
    times.push(performance.now() - started);
    return outputs;
  };
  given.textContent = wish.prompt;
  written.textContent = "";
  setBusy(form, true);
  try {
    await stream(generate(run, manifest, wish), written, signal);
  } finally {
    setBusy(form, false);
  }
  const all = times.reduce((sum, ms) => sum + ms, 0);
  const rate = Math.round((1000 * times.length) / all).toLocaleString("en");
  const step = format.milliseconds(format.median(times));
  pace.textContent = `${times.length} tokens, median ${step}, ${rate} per second`;
}

/** Put pieces on the page as they come, a frame's worth at a time. */
async function stream(pieces, written, signal) {
  let waiting = "";
  let painted = performance.now();
  const paint = () => {
    written.append(waiting);
    waiting = "";
    const page = written.parentElement;
    page.scrollTop = page.scrollHeight;
  };
  for await (const piece of pieces) {
    if (signal.aborted) break;
    waiting += piece;
    if (performance.now() - painted > FRAME_MS) {
      paint();
      await new Promise((resolve) => setTimeout(resolve));
      painted = performance.now();
    }
  }
  paint();
}

function wishOf({ prompt, temperature, seed, tokens }) {
  // A number's field takes "1e3" too.
  const whole = seed.checkValidity() && /^\d*$/.test(seed.value);
  if (!whole) throw new PageError("the seed is no whole number", "give 0 or more");
  if (!tokens.checkValidity() || !tokens.value) {
    throw new PageError("the length is out of range", `give 1 to ${tokens.max}`);
  }
  return {
    prompt: prompt.value,
    length: Number(tokens.value),
    temperature: Number(temperature.value),
    // Without a seed every text is another.
    seed: seed.value === "" ? null : BigInt(seed.value),
  };
}

function setBusy(form, busy) {
  form.toggleAttribute("data-busy", busy);
  form.querySelector(".page").setAttribute("aria-busy", String(busy));
  form.querySelector("button").textContent = busy ? "Stop" : "Write";
}
