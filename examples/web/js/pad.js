/** A canvas to draw on with a mouse, a pen or a finger. */
import { inkStrokes } from "./picture.js";

// The pen's width on the pad, as a share of the pad's width.
const PEN = 0.075;

export class Pad {
  #canvas;
  #strokes = [];
  #drawing = false;
  #onChange;

  /** `onChange` is called, at most once per frame, with the strokes drawn so far. */
  constructor(canvas, onChange) {
    this.#canvas = canvas;
    this.#onChange = oncePerFrame(() => onChange(this.#strokes));
    canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    canvas.addEventListener("pointermove", (event) => this.#go(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, () => (this.#drawing = false));
    }
  }

  clear() {
    this.#strokes = [];
    this.#drawing = false;
    this.#paint();
  }

  /** Show a grey picture instead of strokes. */
  show(pixels, height, width) {
    this.clear();
    const picture = greyCanvas(pixels, height, width);
    const context = this.#canvas.getContext("2d");
    const whole = [0, 0, this.#canvas.width, this.#canvas.height];
    context.save();
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, ...whole);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = getComputedStyle(this.#canvas).color;
    context.fillRect(...whole);
    context.restore();
  }

  #begin(event) {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drawing = true;
    this.#strokes.push([this.#pointOf(event)]);
    this.#changed();
  }

  #go(event) {
    if (!this.#drawing || !event.isPrimary) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    const events = passed.length ? passed : [event];
    this.#strokes.at(-1).push(...events.map((each) => this.#pointOf(each)));
    this.#changed();
  }

  #pointOf({ clientX, clientY }) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const scale = { x: this.#canvas.width / width, y: this.#canvas.height / height };
    return { x: (clientX - left) * scale.x, y: (clientY - top) * scale.y };
  }

  #changed() {
    this.#paint();
    this.#onChange();
  }

  #paint() {
    const context = this.#canvas.getContext("2d");
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    context.strokeStyle = getComputedStyle(this.#canvas).color;
    inkStrokes(context, this.#strokes, this.#canvas.width * PEN);
  }
}

/** A canvas of a grey picture's own size; 0 is clear, 255 is ink. */
export function greyCanvas(pixels, height, width) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  pixels.forEach((pixel, at) => image.data.set([255, 255, 255, pixel], 4 * at));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function oncePerFrame(action) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      action();
    });
  };
}
