/** Line charts over steps on a canvas, with a read-out that follows pointer and arrow keys. */

import { el, mark, write } from './dom.js';
import { figure, integer } from './format.js';
import { sight } from './frame.js';
import { drawChart, swatch } from './chart-paint.js';

/**
 * @typedef {{name: string, values: number[], wide?: boolean}} Series a value for each step; NaN is a gap
 * @typedef {{name: string, points: [number, number][]}} Dots single values at their steps
 * @typedef {{steps: number[], series: Series[], band?: {name: string, low: number[], high: number[]}, dots?: Dots[],
 *   marks?: {step: number, label: string, text: string}[], first?: number, last?: number}} Data
 */

const charts = new Set();

/**
 * Fills a figure with a chart.
 * @param {HTMLElement} node an empty `figure`
 * @param {{title: string, note?: string, log?: boolean, format?: (value: number) => string, top?: number, zero?: boolean}} options
 *   `log`: whether the vertical axis is logarithmic at first, undefined if it cannot be; `top`: the largest possible
 *   value; `zero`: whether the axis begins at zero
 */
export function chart(node, options) {
  const format = options.format ?? figure;
  const canvas = el('canvas', { role: 'slider', tabIndex: 0, 'aria-label': `${options.title}: values, by arrow keys`,
    'aria-valuemin': 0, 'aria-valuemax': 0, 'aria-valuenow': 0 });
  const holder = el('div', { class: 'drawing' }, canvas);
  const when = el('p', { class: 'when' });
  const legend = el('ul', { class: 'series' });
  const log = el('input', { type: 'checkbox', checked: options.log === true });
  const caption = el('figcaption', {}, el('h3', {}, options.title));
  if (options.note) caption.append(el('p', { class: 'note' }, options.note));
  const table = el('table');
  const details = el('details', { class: 'values' }, el('summary', {}, 'Values as a table'), el('div', { class: 'scroll' }, table));
  node.replaceChildren(caption, holder, when, legend);
  if (options.log !== undefined) node.append(el('label', { class: 'switch' }, log, ' logarithmic'));
  node.append(details);

  let get = () => null;
  let data = null;
  let cursor = null;
  let stale = true;
  const rows = [];

  function draw() {
    if (!sight.has(node)) return;
    if (stale) data = get();
    stale = false;
    if (!data) return;
    drawChart(canvas, data, { ...options, format, log: log.checked, cursor: cursor === null ? null : at() });
    tell();
    if (details.open) fillTable(table, data, format);
  }

  /** The row shown in the legend: the one under the cursor, or the newest. */
  function at() {
    const { steps } = data;
    if (cursor === null) return steps.length - 1;
    let best = 0;
    steps.forEach((step, i) => { if (Math.abs(step - cursor) < Math.abs(steps[best] - cursor)) best = i; });
    return best;
  }

  function tell() {
    const i = at();
    const step = data.steps[i];
    const changes = (data.marks ?? []).filter((other) => cursor !== null && near(other.step, step));
    const told = changes.map(({ label, text }) => `; change ${label}: ${text}`).join('');
    write(when, step === undefined ? 'No values yet' : `${cursor === null ? 'Newest: step' : 'Step'} ${integer(step)}${told}`);
    const values = data.series.map((series, s) => {
      const value = format(series.values[i] ?? NaN);
      entry(s, series.name, value, series.wide);
      return `${series.name} ${value}`;
    });
    (data.dots ?? []).forEach((dots, d) => {
      const upTo = dots.points.filter(([other]) => cursor === null || other <= step);
      entry(data.series.length + d, dots.name, format(upTo.at(-1)?.[1] ?? NaN), false, true);
    });
    rows.splice(data.series.length + (data.dots?.length ?? 0)).forEach(({ item }) => item.remove());
    mark(canvas, 'aria-valuemin', data.steps[0] ?? 0);
    mark(canvas, 'aria-valuemax', data.steps.at(-1) ?? 0);
    mark(canvas, 'aria-valuenow', step ?? 0);
    mark(canvas, 'aria-valuetext', step === undefined ? 'no values yet' : `step ${step}: ${values.join(', ')}${told}`);
  }

  const near = (a, b) => Math.abs(a - b) <= ((data.steps.at(-1) ?? 0) - (data.steps[0] ?? 0)) / 60;

  function entry(i, name, value, wide, dot = false) {
    if (!rows[i]) {
      const [line, text, number] = [swatch(i, dot), el('span', { class: 'name' }), el('span', { class: 'value' })];
      rows[i] = { item: el('li', {}, line, text, number), line, text, number };
      legend.append(rows[i].item);
    }
    write(rows[i].text, name);
    write(rows[i].number, value);
    rows[i].item.classList.toggle('wide', wide === true);
  }

  function read(step) {
    cursor = step;
    draw();
  }

  canvas.addEventListener('pointermove', (event) => {
    if (!data?.steps.length || !canvas.scale) return;
    read(canvas.scale.step(event.offsetX));
  });
  canvas.addEventListener('pointerleave', () => read(null));
  canvas.addEventListener('blur', () => read(null));
  canvas.addEventListener('keydown', (event) => {
    if (!data?.steps.length) return;
    const last = data.steps.length - 1;
    const far = Math.max(1, Math.round(last / 10));
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -far, PageUp: far, Home: -last, End: last };
    if (event.key === 'Escape') read(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    read(data.steps[Math.max(0, Math.min(last, at() + moves[event.key]))]);
  });
  log.addEventListener('change', draw);
  details.addEventListener('toggle', () => { if (details.open && data) fillTable(table, data, format); });
  sight.watch(node, draw);
  const own = {
    /** @param {() => Data} source called only when the chart is visible */
    set(source) {
      get = source;
      stale = true;
      draw();
    },
    redraw: draw,
  };
  charts.add(own);
  new ResizeObserver(draw).observe(holder);
  return own;
}

/** At most twelve rows at even intervals. */
function fillTable(table, { steps, series }, format) {
  const count = Math.min(12, steps.length);
  const chosen = Array.from({ length: count }, (_, i) => Math.round((i * (steps.length - 1)) / Math.max(1, count - 1)));
  const head = el('tr', {}, ...['step', ...series.map(({ name }) => name)].map((name) => el('th', { scope: 'col' }, name)));
  const body = chosen.map((i) => el('tr', {}, el('th', { scope: 'row' }, integer(steps[i])),
    ...series.map(({ values }) => el('td', {}, format(values[i])))));
  table.replaceChildren(el('thead', {}, head), el('tbody', {}, ...body));
}

// Colours come from the style sheet.
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => charts.forEach((own) => own.redraw()));
