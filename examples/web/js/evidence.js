/** Verdicts as text and as rows of a table. */
import * as format from "./format.js";

/**
 * All verdicts in a sentence: those that fail, or the one of the variant that runs.
 *
 * @param {object[]} proofs What was proved so far.
 * @param {object?} current The proof of the variant that runs.
 * @param {number} count How many variants there are.
 */
export function verdictLine(proofs, current, count) {
  const failed = proofs.filter(({ passed }) => !passed).map(({ variant }) => variant.name);
  if (failed.length) return `✗ Not proved: ${failed.join(", ")}. ${firstReason(proofs)}`;
  if (!current) return "Nothing was proved: no variant runs.";
  const ran = proofs.filter(({ unsupported }) => !unsupported).length;
  const absent = proofs.length - ran ? `, onnxruntime-web can't run ${proofs.length - ran} more` : "";
  const all = ran === 2 ? "both" : `all ${ran}`;
  const others = proofs.length === count && ran > 1 ? `; ${all} variants hold${absent}` : "";
  return `✓ ${sentence(current)}${others}.`;
}

function firstReason(proofs) {
  const { problem, rows } = proofs.find(({ passed }) => !passed);
  const row = rows.find((each) => !each.passed);
  return problem ?? `${row.output}: ${row.reason}`;
}

function sentence({ variant, cases, rows }) {
  const judged = rows.filter((row) => !row.reported);
  const worst = judged.reduce((a, b) => (severity(b) > severity(a) ? b : a));
  const off = `largest error ${format.error(worst.maxAbs)}`;
  if (worst.elementWise) {
    return `${variant.name} equals the golden vectors in ${cases} cases, ${off}`;
  }
  return `${variant.name} holds its tolerance in ${cases} cases, ${format.decibels(worst.sqnr)}, ${off}`;
}

const severity = ({ elementWise, multiple, sqnr }) => (elementWise ? multiple : -sqnr);

/** A table's body for one variant. */
export function evidenceRows({ variant, rows, problem, ms, unsupported }) {
  const body = document.createElement("tbody");
  Object.assign(body.dataset, { variant: variant.name });
  const took = ms === undefined ? "" : `, ${format.milliseconds(ms)}`;
  body.append(line([cell("th", `${variant.name}${took}`, { scope: "rowgroup", colSpan: 5 })]));
  if (problem) body.append(line([cell("td", problem, { colSpan: 5, className: "why" })]));
  if (unsupported) body.dataset.unsupported = "";
  for (const row of rows) {
    body.append(rowLine(row, variant));
    if (row.reason) body.append(line([cell("td", row.reason, { colSpan: 5, className: "why" })]));
  }
  return body;
}

function rowLine(row, variant) {
  const verdict = row.passed ? (row.reported ? "not judged" : "ok") : "fails";
  const element = line([
    cell("th", row.output, { scope: "row" }),
    cell("td", format.error(row.maxAbs), { title: `in case ${row.worstCase}` }),
    cell("td", heldTo(row, variant.tolerance), { title: rule(variant.tolerance) }),
    cell("td", row.positions ? `${row.flips}/${row.positions}` : "–"),
    cell("td", verdict, { className: { ok: "good", fails: "bad" }[verdict] ?? "soft" }),
  ]);
  // The whole numbers behind the cells, for whoever reads the page by a program.
  Object.assign(element.dataset, {
    output: row.output, verdict, maxAbs: row.maxAbs, multiple: row.multiple, sqnr: row.sqnr,
    flips: row.flips, positions: row.positions,
  });
  return element;
}

function rule({ atol, rtol, min_sqnr_db: least }) {
  return least == null ? `|a-b| at most ${atol ?? 0} + ${rtol ?? 0} |b|` : `at least ${least} dB`;
}

function heldTo(row, { min_sqnr_db: least }) {
  if (row.elementWise) return `${row.multiple.toFixed(2)} ×`;
  if (row.reported || row.sqnr === Infinity) return format.decibels(row.sqnr);
  return `${format.decibels(row.sqnr)} ≥ ${least}`;
}

function line(cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function cell(tag, textContent, properties = {}) {
  return Object.assign(document.createElement(tag), { textContent, ...properties });
}
