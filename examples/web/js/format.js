/** Numbers as people read them. */

export const bytes = (count) => `${count.toLocaleString("en")} bytes`;

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

export function milliseconds(ms) {
  if (ms < 0.1) return "under 0.1 ms";
  return ms < 10 ? `${ms.toFixed(2)} ms` : `${Math.round(ms).toLocaleString("en")} ms`;
}

export const error = (value) => (value === 0 ? "0" : value.toExponential(1).replace("e-", "e−"));

export const decibels = (value) => (value === Infinity ? "equal" : `${value.toFixed(1)} dB`);

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
