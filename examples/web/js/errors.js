/** A failure that is said to the person in one line: the cause, and what to do next. */
export class PageError extends Error {
  constructor(cause, nextStep = "") {
    super(nextStep ? `${cause}: ${nextStep}` : cause);
    this.name = "PageError";
  }
}

/** Any failure as one line. */
export function oneLine(error) {
  return String(error?.message ?? error).replace(/\s+/g, " ").trim();
}
