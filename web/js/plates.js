/** Plates: tensors cut into tiles, whose codes become colours on a canvas. */

import { el, mark, scrollable, write } from './dom.js';
import { figure, integer, words } from './format.js';
import { sight } from './frame.js';

/** Evenly spaced colours from the most negative value through zero to the most positive one. */
const STOPS = {
  'blue-orange': [[0, 68, 136], [120, 170, 220], [247, 247, 247], [240, 170, 90], [179, 71, 0]],
  'blue-red': [[5, 48, 120], [125, 170, 215], [247, 247, 247], [240, 150, 120], [150, 10, 30]],
  grey: [[0, 0, 0], [64, 64, 64], [128, 128, 128], [191, 191, 191], [255, 255, 255]],
};
const NOT_FINITE = [255, 0, 255];
/** The colour between tiles, and their distance in pixels. */
const GROUND = [110, 110, 110];
const GAP = 2;
const LONGEST_SIDE = 8192;
/** Tiles up to this size, in pixels, shrink until all of them are visible at once. */
const FITTING = 100;

/** Settings that all plates share. */
const settings = { palette: 'blue-orange', tile: 72 };
const live = new Set();

/** Changes the colours (`palette`) or the size of tiles in pixels (`tile`) of all plates. */
export function setPlates(changes) {
  Object.assign(settings, changes);
  live.forEach((plate) => plate.redraw());
}

const word = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;

function colour(palette, share) {
  const stops = STOPS[palette];
  const place = (Math.max(-1, Math.min(1, share)) + 1) * 2;
  const below = Math.min(Math.floor(place), 3);
  const t = place - below;
  return stops[below].map((low, i) => Math.round(low * (1 - t) + stops[below + 1][i] * t));
}

const tables = new Map();

/** The pixel of each code. */
function table(name) {
  if (!tables.has(name)) {
    const of = (code) => (name === 'natural' ? Array(3).fill(level(code)) : colour(name, (code - 128) / 127));
    tables.set(name, Uint32Array.from({ length: 256 }, (_, code) => word(code === 0 ? NOT_FINITE : of(code))));
  }
  return tables.get(name);
}

const level = (code) => Math.round(((code - 1) / 254) * 255);

function decoded(codes) {
  const text = atob(codes);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Pixels, one for each value. */
function pixels(plate, bytes) {
  const count = plate.kept * plate.height * plate.width;
  if (plate.colours === 3) {
    return Uint32Array.from({ length: count }, (_, i) => {
      const codes = [bytes[3 * i], bytes[3 * i + 1], bytes[3 * i + 2]];
      return word(codes.includes(0) ? NOT_FINITE : codes.map(level));
    });
  }
  const colours = table(plate.natural ? 'natural' : settings.palette);
  return Uint32Array.from({ length: count }, (_, i) => colours[bytes[i]]);
}

/** The layout of tiles: pixels per value's side, and the size of the whole. */
function geometry(plate, room, tallest, tile) {
  const columns = Math.max(1, Math.min(plate.columns, plate.kept));
  const rows = Math.ceil(plate.kept / columns);
  const longer = Math.max(plate.height, plate.width, 1);
  // Large tiles stay large, even if the user must scroll.
  const fits = (space, count, size) => (tile > FITTING ? Infinity : Math.floor((space - GAP - count * GAP) / (count * size)));
  const wanted = Math.min(24, Math.floor(tile / longer));
  const least = Math.ceil(Math.min(16, tile / 4) / longer);
  let side = Math.min(wanted, fits(room, columns, plate.width), fits(tallest, rows, plate.height));
  side = Math.max(side, least, 1);
  // A matrix with few rows would be too thin to see.
  const shorter = Math.max(1, Math.min(plate.height, plate.width));
  if (plate.kept === 1 && shorter < 16) side = Math.max(side, Math.min(3, Math.ceil(24 / shorter)));
  side = Math.max(1, Math.min(side, Math.floor(LONGEST_SIDE / (longer + GAP) / Math.max(columns, rows))));
  return {
    columns, rows, side,
    width: columns * (plate.width * side + GAP) + GAP,
    height: rows * (plate.height * side + GAP) + GAP,
  };
}

function paint(canvas, plate, { columns, side, width, height }) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer).fill(word(GROUND));
  const values = pixels(plate, decoded(plate.codes));
  let at = 0;
  for (let tile = 0; tile < plate.kept; tile += 1) {
    const left = GAP + (tile % columns) * (plate.width * side + GAP);
    let top = GAP + Math.floor(tile / columns) * (plate.height * side + GAP);
    for (let y = 0; y < plate.height; y += 1, top += side) {
      const start = top * width + left;
      for (let x = 0; x < plate.width; x += 1, at += 1) out.fill(values[at], start + x * side, start + (x + 1) * side);
      for (let i = 1; i < side; i += 1) out.copyWithin(start + i * width, start, start + plate.width * side);
    }
  }
  const g = canvas.getContext('2d');
  g.putImageData(image, 0, 0);
  // Positions beyond the last tile.
  const empty = plate.kept % columns;
  if (empty > 0) g.clearRect(empty * (plate.width * side + GAP) + GAP, height - plate.height * side - GAP, width, height);
}

/** Describes the value at a point of the canvas. */
function under(plate, { columns, side }, x, y) {
  const [wide, high] = [plate.width * side + GAP, plate.height * side + GAP];
  const [column, row] = [Math.floor((x - GAP) / wide), Math.floor((y - GAP) / high)];
  const [inX, inY] = [Math.floor((x - GAP - column * wide) / side), Math.floor((y - GAP - row * high) / side)];
  const tile = row * columns + column;
  const outside = x < GAP || y < GAP || column >= columns || tile >= plate.kept || inX >= plate.width || inY >= plate.height;
  if (outside) return '';
  const bytes = decoded(plate.codes);
  const reach = Math.max(Math.abs(plate.min), Math.abs(plate.max));
  const value = (c) => {
    const code = bytes[((tile * plate.height + inY) * plate.width + inX) * plate.colours + c];
    if (code === 0) return 'not finite';
    return plate.natural ? `${Math.round((code - 1) / 2.54)} %` : `≈ ${figure(((code - 128) / 127) * reach)}`;
  };
  const values = Array.from({ length: plate.colours }, (_, c) => value(c)).join(', ');
  const place = plate.height * plate.width > 1 ? ` (${inY + 1}, ${inX + 1})` : '';
  return `tile ${tile + 1}${place}: ${values}`;
}

/** A bar of the colours from min to max, with zero at its position. */
function legend() {
  const [low, zero, high] = [el('span'), el('span', { class: 'zero' }, '0'), el('span')];
  const bar = el('span', { class: 'colours', 'aria-hidden': 'true' });
  const node = el('div', { class: 'legend' }, el('div', { class: 'ends' }, low, high), bar, zero);
  const set = (plate) => {
    const { min, max } = plate;
    node.hidden = plate.natural;
    write(low, `min ${figure(min)}`);
    write(high, `max ${figure(max)}`);
    const reach = Math.max(Math.abs(min), Math.abs(max)) || 1;
    const steps = Array.from({ length: 9 }, (_, i) => (min + ((max - min) * i) / 8) / reach);
    const of = (share) => {
      const grey = level(128 + 127 * share);
      return `rgb(${(plate.colours === 3 ? [grey, grey, grey] : colour(settings.palette, share)).join(' ')})`;
    };
    bar.style.background = `linear-gradient(to right, ${steps.map(of).join(', ')})`;
    const place = max > min ? -min / (max - min) : -1;
    // If zero is an end of the bar, it is printed there.
    zero.hidden = !(place > 0 && place < 1);
    zero.style.left = `${100 * place}%`;
  };
  return { node, set };
}

/**
 * A figure that shows successive plates of one name.
 * @param {{tile?: number, tallest?: number, caption?: boolean, name?: (plate: object) => string}} options `tile`: pixels of
 *   a tile's longer side, by default that of all plates; `tallest`: height in pixels beyond which it scrolls; `caption`:
 *   whether there is a caption; `name`: the plate's name, by default its tensor
 */
export function plateFigure({ tile, tallest = 416, caption = true, name } = {}) {
  const canvas = el('canvas', { class: 'plate', role: 'img', width: 1, height: 1 });
  const scroll = el('div', { class: 'scroll' }, canvas);
  const [title, spot, told] = [el('strong'), el('span', { class: 'spot' }), el('span', { class: 'told' })];
  const colours = legend();
  const node = el('figure', { class: 'plate' }, scroll);
  if (caption) node.append(el('figcaption', {}, spot, title, told, colours.node));
  let [plate, step, drawn, laid, room] = [null, null, null, null, 0];

  /** Sets the canvas's size before it is visible, so that nothing moves when it is drawn. */
  function lay() {
    const sizes = [plate.kept, plate.columns, plate.height, plate.width, settings.tile, room].join();
    if (sizes === laid?.sizes) return;
    laid = { sizes, ...geometry(plate, Math.max(room, 16), tallest, tile ?? settings.tile) };
    Object.assign(canvas, { width: laid.width, height: laid.height });
    drawn = null;
    describe();
    scrollable(scroll, title.textContent);
  }

  function draw() {
    if (!plate || !sight.has(node)) return;
    room = scroll.clientWidth;
    lay();
    const key = `${plate.codes}|${plate.min}|${plate.max}|${settings.palette}`;
    if (key !== drawn) {
      paint(canvas, plate, laid);
      describe();
      drawn = key;
    }
    canvas.dataset.step = step ?? '';
  }

  function describe() {
    const what = name?.(plate) ?? words(String(plate.name).split('.').pop());
    const some = plate.kept < plate.tiles ? `the first ${integer(plate.kept)} of ${integer(plate.tiles)}` : integer(plate.tiles);
    write(title, what);
    write(told, plate.tiles > 1 ? `${some} tiles; each is ${plate.tile}` : plate.tile);
    const range = plate.natural ? '' : `, from ${figure(plate.min)} to ${figure(plate.max)}`;
    mark(canvas, 'aria-label', `${what}: ${some} ${plate.tiles > 1 ? 'tiles' : 'tile'}, ${plate.tile}${range}`);
    colours.set(plate);
  }

  canvas.addEventListener('pointermove', (event) => {
    if (plate && laid) write(spot, under(plate, laid, event.offsetX, event.offsetY));
  });
  canvas.addEventListener('pointerleave', () => write(spot, ''));
  sight.watch(node, draw);
  const own = {
    node,
    canvas,
    /** Shows a plate, with the weights after `step` updates. */
    set(next, at) {
      [plate, step] = [next, at];
      canvas.dataset.tensor = next.name;
      if (!laid && room > 0) lay();
      draw();
    },
    /** Sets the available width, if it is known before the figure is visible. */
    set room(width) {
      if (!laid) room = width;
    },
    redraw: draw,
    remove() {
      live.delete(own);
      sight.forget(node);
      node.remove();
    },
  };
  live.add(own);
  return own;
}

/** Shows a list of plates in a container: creates, keeps and removes figures according to the names. */
export function plateList(container, options) {
  const figures = new Map();
  return {
    set(plates, step) {
      const names = new Set(plates.map((plate) => plate.name));
      for (const [name, shown] of figures) {
        if (!names.has(name)) {
          shown.remove();
          figures.delete(name);
        }
      }
      for (const { name } of plates) {
        if (figures.has(name)) continue;
        figures.set(name, plateFigure(options));
        container.append(figures.get(name).node);
      }
      // All columns are as wide as the first.
      const isNew = plates.some(({ name }) => !figures.get(name).canvas.dataset.tensor);
      const room = isNew ? container.firstElementChild.clientWidth : 0;
      for (const plate of plates) {
        if (isNew) figures.get(plate.name).room = room;
        figures.get(plate.name).set(plate, step);
      }
    },
  };
}

let resized = 0;
window.addEventListener('resize', () => {
  clearTimeout(resized);
  resized = setTimeout(() => live.forEach((plate) => plate.redraw()), 150);
});
