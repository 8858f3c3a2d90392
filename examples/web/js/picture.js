/**
 * Strokes as MNIST's pictures: fitted into a box of 20 of the 28 pixels, its proportions
 * kept, then moved so that the centre of mass is the picture's (LeCun's description of the
 * data set). The pen is drawn after the fit, so a small digit isn't a fat one.
 */

// Shares of the picture's height: 20 of 28 pixels, and a pen of 2.4 of them.
const BOX = 20 / 28;
const PEN = 2.4 / 28;
const OVERSAMPLING = 8;

/**
 * @param {{x: number, y: number}[][]} strokes In any unit.
 * @returns {Uint8Array} Pixels, (height, width), the ink 255; null where there are no strokes.
 */
export function drawPicture(strokes, height, width) {
  const points = strokes.flat();
  if (points.length === 0) return null;
  const [left, right] = extent(points.map(({ x }) => x));
  const [top, bottom] = extent(points.map(({ y }) => y));
  const side = Math.min(height, width) * OVERSAMPLING;
  const scale = (side * (BOX - PEN)) / Math.max(right - left, bottom - top, 1e-9);
  const middle = { x: (left + right) / 2, y: (top + bottom) / 2 };
  const fit = Math.max(right - left, bottom - top) > 0 ? scale : 0;
  const fitted = strokes.map((stroke) =>
    stroke.map(({ x, y }) => ({ x: (x - middle.x) * fit, y: (y - middle.y) * fit })),
  );
  const size = { width: width * OVERSAMPLING, height: height * OVERSAMPLING, pen: side * PEN };
  const centre = { x: size.width / 2, y: size.height / 2 };
  const mass = centreOfMass(rasterise(fitted, size, centre), size.width);
  const moved = { x: 2 * centre.x - mass.x, y: 2 * centre.y - mass.y };
  return average(rasterise(fitted, size, moved), size.width, height, width);
}

function extent(values) {
  return [Math.min(...values), Math.max(...values)];
}

/** Ink from 0 to 255 of strokes around an origin. */
function rasterise(strokes, { width, height, pen }, origin) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.translate(origin.x, origin.y);
  inkStrokes(context, strokes, pen);
  const { data } = context.getImageData(0, 0, width, height);
  return data.filter((_, index) => index % 4 === 3);
}

/** Draw strokes with a round pen, smoothed through the middles of their segments. */
export function inkStrokes(context, strokes, pen) {
  Object.assign(context, { lineWidth: pen, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(stroke[0].x, stroke[0].y);
    stroke.slice(1).forEach((point, index) => {
      const before = stroke[index];
      context.quadraticCurveTo(before.x, before.y, (before.x + point.x) / 2, (before.y + point.y) / 2);
    });
    const last = stroke.at(-1);
    context.lineTo(last.x, last.y);
    context.stroke();
  }
}

function centreOfMass(ink, width) {
  let [sum, x, y] = [0, 0, 0];
  ink.forEach((value, at) => {
    sum += value;
    x += value * ((at % width) + 0.5);
    y += value * (Math.floor(at / width) + 0.5);
  });
  return { x: x / sum, y: y / sum };
}

/** Ink brought down to the picture's size, each pixel the mean of its square. */
function average(ink, inkWidth, height, width) {
  const sums = new Float64Array(height * width);
  ink.forEach((value, at) => {
    const row = Math.floor(at / inkWidth / OVERSAMPLING);
    sums[row * width + Math.floor((at % inkWidth) / OVERSAMPLING)] += value;
  });
  return Uint8Array.from(sums, (sum) => Math.round(sum / OVERSAMPLING ** 2));
}
