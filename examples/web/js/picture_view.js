/** Draw a picture, see every label's score. */
import { readEvaluation } from "./bundle.js";
import { pictureFeeds, pictureSize, pixelsOf, readAnswer } from "./classifier.js";
import { stepOf } from "./arrays.js";
import * as format from "./format.js";
import { greyCanvas, Pad } from "./pad.js";
import { drawPicture } from "./picture.js";

/** The view of an image classifier on its card; `refresh` reads the picture again. */
export async function pictureView(card, bundle) {
  const { manifest } = bundle;
  const [height, width, channels] = pictureSize(manifest);
  const view = document.getElementById("drawing").content.cloneNode(true);
  const find = (selector) => card.work.querySelector(selector);
  card.work.replaceChildren(view);
  const bars = barsFor(manifest.task.labels, find(".bars"));
  let pixels = null;

  const read = async (picture, about = "") => {
    pixels = picture;
    showSeen(find(".seen"), picture, height, width);
    find(".pad").toggleAttribute("data-inked", picture !== null);
    if (!picture || !card.ready) return showNothing(find(".answer"), bars);
    const outputs = await card.infer(pictureFeeds(manifest, picture));
    return showAnswer(find(".answer"), bars, readAnswer(manifest, outputs), about);
  };
  const attempt = (...picture) => card.attempt(() => read(...picture));

  const pad = new Pad(find(".pad canvas"), (strokes) => attempt(drawPicture(strokes, height, width)));
  find("[data-do=clear]").addEventListener("click", () => {
    pad.clear();
    attempt(null);
  });
  find("[data-do=sample]").hidden = !manifest.evaluation || channels !== 1;
  const samples = sampler(bundle);
  find("[data-do=sample]").addEventListener("click", () =>
    card.attempt(async () => {
      const { picture, about } = await samples();
      pad.show(picture, height, width);
      await read(picture, about);
    }),
  );
  return { refresh: () => attempt(pixels) };
}

/** Labelled samples that travel in the bundle, one after another from a random start. */
function sampler(bundle) {
  const { manifest } = bundle;
  let archive = null;
  let next = null;
  return async () => {
    archive ??= await readEvaluation(bundle);
    const samples = archive[manifest.task.input];
    const [count] = samples.shape;
    next = ((next ?? Math.floor(Math.random() * count)) + 1) % count;
    const label = manifest.task.labels[Number(archive.labels.data[next])];
    return { picture: pixelsOf(manifest, stepOf(samples, next)), about: `labelled ${label}` };
  };
}

function barsFor(labels, list) {
  const rows = labels.map((label) => {
    const row = document.createElement("li");
    row.dataset.label = label;
    for (const tag of ["span", "i", "span"]) row.append(document.createElement(tag));
    row.firstElementChild.textContent = label;
    return row;
  });
  list.replaceChildren(...rows);
  return rows;
}

function showSeen(place, picture, height, width) {
  place.hidden = picture === null;
  if (picture) place.querySelector("canvas").replaceWith(greyCanvas(picture, height, width));
}

function showNothing(answer, bars) {
  answer.querySelector("strong").textContent = "?";
  answer.querySelector("span").textContent = "";
  delete answer.dataset.label;
  showBars(bars, "", new Map());
}

function showAnswer(answer, bars, { label, scores }, about) {
  answer.dataset.label = label;
  answer.querySelector("strong").textContent = label;
  const score = scores.has(label) ? format.percent(scores.get(label)) : "";
  answer.querySelector("span").textContent = [score, about].filter(Boolean).join(", ");
  showBars(bars, label, scores);
}

function showBars(bars, best, scores) {
  for (const row of bars) {
    const { label } = row.dataset;
    const score = scores.get(label);
    row.className = label === best ? "best" : "";
    row.style.setProperty("--share", Math.min(Math.max(score ?? 0, 0), 1));
    row.lastElementChild.textContent = score === undefined ? "–" : format.percent(score);
  }
}
