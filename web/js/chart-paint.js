/** Draws a chart. Colours come from the style sheet; each line also has its own dashes. */

const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const COLOURS = 6;
const MARGIN = { right: 12, top: 16, bottom: 34 };

const dash = (i) => DASHES[(i + Math.floor(i / 12)) % DASHES.length];

/** A line's sample for the legend. */
export function swatch(i, dot = false) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', `swatch c${i % COLOURS}`);
  svg.setAttribute('viewBox', '0 0 28 10');
  svg.setAttribute('aria-hidden', 'true');
  const shape = document.createElementNS('http://www.w3.org/2000/svg', dot ? 'circle' : 'line');
  const attributes = dot ? { cx: 14, cy: 5, r: 4 } : { x1: 0, x2: 28, y1: 5, y2: 5, 'stroke-dasharray': dash(i).join(' ') };
  Object.entries(attributes).forEach(([name, value]) => shape.setAttribute(name, value));
  svg.append(shape);
  return svg;
}

function colours(canvas) {
  const style = getComputedStyle(canvas);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    lines: Array.from({ length: COLOURS }, (_, i) => of(`--c${i}`)),
    text: of('--text'), soft: of('--soft'), grid: of('--grid'), ground: of('--panel'), font: style.fontFamily,
  };
}

/** Round places on an axis. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((size) => size >= rough) ?? power * 10;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step).map((value) => (Math.abs(value) < step / 1e6 ? 0 : value));
}

/** A tick's value without trailing zeros. */
function short(value, format) {
  const text = format(value);
  return value === 0 ? '0' : text.replace(/(\.\d*?)0+(?!\d)/, '$1').replace(/\.(?!\d)/, '');
}

function logTicks(low, high) {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (high / low < 3) return ticks(low, high, 4).filter((value) => value > 0);
  const powers = Array.from({ length: to - from + 2 }, (_, i) => 10 ** (from - 1 + i));
  const fine = powers.flatMap((power) => [power, 2 * power, 5 * power]).filter((value) => value >= low && value <= high);
  if (fine.length < 3) return ticks(low, high, 4).filter((value) => value > 0);
  if (fine.length <= 7) return fine;
  const every = Math.ceil((to - from + 1) / 6);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((power) => power % every === 0).map((power) => 10 ** power);
}

function verticalRange(data, { log, top, zero }) {
  let [low, high] = [Infinity, -Infinity];
  const take = (value) => {
    if (!Number.isFinite(value) || (log && value <= 0)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  };
  data.series.forEach(({ values }) => values.forEach(take));
  if (data.band) [data.band.low, data.band.high].forEach((values) => values.forEach(take));
  (data.dots ?? []).forEach(({ points }) => points.forEach(([, value]) => take(value)));
  if (low > high || (zero && !log && low === 0 && high === 0)) return log ? [0.1, 1] : [0, top ?? 1];
  if (log) return low === high ? [low / 2, high * 2] : [low / 1.15, high * 1.15];
  if (zero) low = Math.min(low, 0);
  if (low === high) return [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
  const more = (high - low) * 0.05;
  return [zero && low === 0 ? 0 : low - more, top !== undefined && high + more > top ? Math.max(top, high) : high + more];
}

/**
 * @param {HTMLCanvasElement} canvas sized by the style sheet; `canvas.scale` then maps positions to steps
 * @param {import('./charts.js').Data} data
 */
export function drawChart(canvas, data, options) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width < 50 || height < 50) return;
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  const look = colours(canvas);
  g.font = `12px ${look.font}`;

  const [first, last] = [data.first ?? data.steps[0] ?? 0, data.last ?? data.steps.at(-1) ?? 1];
  const span = Math.max(last - first, 1);
  const [low, high] = verticalRange(data, options);
  const levels = (options.log ? logTicks(low, high) : ticks(low, high, 5)).map((value) => [value, short(value, options.format)]);
  const left = Math.ceil(Math.max(28, ...levels.map(([, text]) => g.measureText(text).width))) + 10;
  const [right, top, bottom] = [width - MARGIN.right, MARGIN.top, height - MARGIN.bottom];
  const up = options.log ? (value) => Math.log10(value / low) / Math.log10(high / low) : (value) => (value - low) / (high - low);
  const x = (step) => left + ((step - first) / span) * (right - left);
  const y = (value) => bottom - up(value) * (bottom - top);
  canvas.scale = { step: (at) => first + ((at - left) / (right - left)) * span };

  const frame = { left, right, top, bottom };
  const across = Math.max(2, Math.floor((right - left) / 55));
  drawAxes(g, look, frame, ticks(first, first + span, across), levels, x, y);
  drawMarks(g, look, frame, data.marks ?? [], x);
  g.save();
  g.beginPath();
  g.rect(left, top - 2, right - left + 2, bottom - top + 4);
  g.clip();
  if (data.band) drawBand(g, look, data, x, y, options.log ? low : null);
  data.series.forEach((series, i) => drawLine(g, look.lines[i % COLOURS], dash(i), series, data.steps, x, y, options.log));
  (data.dots ?? []).forEach(({ points }, i) => {
    g.fillStyle = look.lines[(data.series.length + i) % COLOURS];
    g.strokeStyle = look.ground;
    g.lineWidth = 1.5;
    for (const [step, value] of points) {
      g.beginPath();
      g.arc(x(step), y(value), 4.5, 0, 2 * Math.PI);
      g.fill();
      g.stroke();
    }
  });
  g.restore();
  if (options.cursor !== null) drawCursor(g, look, frame, data, options, x, y);
}

function drawAxes(g, look, { left, right, top, bottom }, xs, levels, x, y) {
  g.strokeStyle = look.grid;
  g.fillStyle = look.soft;
  g.lineWidth = 1;
  g.textAlign = 'right';
  g.textBaseline = 'middle';
  for (const [value, text] of levels) {
    const at = Math.round(y(value)) + 0.5;
    line(g, left, at, right, at);
    g.fillText(text, left - 6, at);
  }
  g.textBaseline = 'top';
  g.textAlign = 'center';
  for (const value of xs) {
    const at = Math.round(x(value)) + 0.5;
    line(g, at, bottom, at, bottom + 4);
    const text = value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : String(Math.round(value * 100) / 100);
    g.fillText(text, Math.min(at, right + MARGIN.right - g.measureText(text).width / 2), bottom + 6);
  }
  g.textAlign = 'right';
  g.fillText('step', right, bottom + 20);
  g.strokeStyle = look.soft;
  line(g, left, bottom + 0.5, right, bottom + 0.5);
  line(g, left + 0.5, top, left + 0.5, bottom);
}

function drawMarks(g, look, { top, bottom }, marks, x) {
  g.strokeStyle = look.soft;
  g.fillStyle = look.soft;
  g.textAlign = 'center';
  g.textBaseline = 'bottom';
  g.setLineDash([1, 3]);
  let free = -Infinity;
  for (const { step, label } of marks) {
    const at = Math.round(x(step)) + 0.5;
    line(g, at, top, at, bottom);
    if (at > free) g.fillText(label, at, top - 2);
    if (at > free) free = at + 14;
  }
  g.setLineDash([]);
}

function drawBand(g, look, { steps, band }, x, y, least) {
  const low = (value) => (least === null ? value : Math.max(value, least));
  const known = steps.map((_, i) => i).filter((i) => Number.isFinite(band.low[i]) && Number.isFinite(band.high[i]));
  g.beginPath();
  known.forEach((i) => g.lineTo(x(steps[i]), y(low(band.high[i]))));
  known.reverse().forEach((i) => g.lineTo(x(steps[i]), y(low(band.low[i]))));
  g.closePath();
  g.globalAlpha = 0.22;
  g.fillStyle = look.lines[0];
  g.fill();
  g.globalAlpha = 1;
}

function drawLine(g, colour, dashes, { values, wide }, steps, x, y, log) {
  g.strokeStyle = colour;
  g.lineWidth = wide ? 3.5 : 1.75;
  g.lineJoin = 'round';
  g.setLineDash(dashes);
  g.beginPath();
  let pen = false;
  values.forEach((value, i) => {
    const drawn = Number.isFinite(value) && (!log || value > 0);
    if (drawn && pen) g.lineTo(x(steps[i]), y(value));
    else if (drawn) g.moveTo(x(steps[i]), y(value));
    // A single value between gaps is a dot.
    if (drawn && !pen && !Number.isFinite(values[i + 1])) g.lineTo(x(steps[i]) + 1, y(value));
    pen = drawn;
  });
  g.stroke();
  g.setLineDash([]);
}

function drawCursor(g, look, { top, bottom }, data, { cursor, log }, x, y) {
  const at = Math.round(x(data.steps[cursor])) + 0.5;
  g.strokeStyle = look.text;
  line(g, at, top, at, bottom);
  data.series.forEach(({ values }, i) => {
    if (!Number.isFinite(values[cursor]) || (log && values[cursor] <= 0)) return;
    g.fillStyle = look.lines[i % COLOURS];
    g.beginPath();
    g.arc(at, y(values[cursor]), 3.5, 0, 2 * Math.PI);
    g.fill();
  });
}

function line(g, x0, y0, x1, y1) {
  g.beginPath();
  g.moveTo(x0, y0);
  g.lineTo(x1, y1);
  g.stroke();
}
