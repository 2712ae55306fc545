/** Sends a drawing or an uploaded image through the network and shows the answer. */

import { byId, write } from './dom.js';
import { integer, shape, words } from './format.js';
import { classBars } from './bars.js';
import { plateList } from './plates.js';
import { said } from './example.js';
import { standing } from './standing.js';

/** Milliseconds between two requests while the user draws. */
const PAUSE = 250;
const LONGEST = 280;

/** @param {{classify: (blob: Blob) => Promise<object>}} source */
export function trial(source) {
  const pad = byId('pad');
  const g = pad.getContext('2d');
  const bars = classBars();
  byId('try-top').append(bars.node);
  const layers = plateList(byId('try-layers'), { tallest: 300, name: layerName });
  let run = null;
  let able = false;
  /** The subjects of the next and of the last request. */
  let waiting = null;
  let newest = null;
  let busy = false;
  /** Increases with each clearing, so that answers to cleared drawings are not shown. */
  let round = 0;

  function clear() {
    wipe();
    byId('upload').value = '';
  }

  /** Clears the board and the last answer. */
  function wipe() {
    round += 1;
    waiting = newest = null;
    g.fillStyle = colour() ? '#ffffff' : '#000000';
    g.fillRect(0, 0, pad.width, pad.height);
    write(byId('try-error'), '');
    write(byId('try-none'), 'Nothing has been drawn yet.');
    nothing();
  }

  /** Removes the answer, for example because the board has changed. */
  function nothing() {
    byId('try-result').hidden = true;
    byId('try-none').hidden = false;
    layers.set([], 0);
  }

  /** Sends a file, and replaces the board's content with its picture. */
  async function upload(file) {
    wipe();
    write(byId('try-none'), 'There is no answer for this picture yet.');
    const mine = round;
    const picture = await createImageBitmap(file).catch(() => null);
    if (mine !== round) return;
    if (picture) put(picture);
    await ask(async () => file);
  }

  /** Draws a whole picture as large as the board allows; transparent parts are grey. */
  function put(picture) {
    const scale = Math.min(pad.width / picture.width, pad.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    const place = [(pad.width - width) / 2, (pad.height - height) / 2, width, height];
    g.fillStyle = '#808080';
    g.fillRect(...place);
    g.imageSmoothingEnabled = scale < 1;
    g.drawImage(picture, ...place);
    picture.close();
  }

  const colour = () => run?.image?.[2] === 3;

  /** Sends one request at a time, then the newest one that came meanwhile. */
  async function ask(make) {
    waiting = make;
    newest = make;
    if (busy) return;
    busy = true;
    while (waiting) {
      const [next, began, mine] = [waiting, Date.now(), round];
      waiting = null;
      try {
        const view = await source.classify(await next());
        if (mine === round) show(view);
      } catch (error) {
        if (mine === round) {
          nothing();
          write(byId('try-error'), error.message);
        }
      }
      await new Promise((resolve) => { setTimeout(resolve, PAUSE - (Date.now() - began)); });
    }
    busy = false;
  }

  function show(view) {
    write(byId('try-error'), '');
    byId('try-result').hidden = false;
    byId('try-none').hidden = true;
    write(byId('try-said'), `${said(run, view)}.`);
    bars.set(view.top ?? [], run);
    const number = typeof view.number === 'number' ? `${said(run, view)}. ` : '';
    write(byId('try-facts'), `${number}With the weights after step ${integer(view.step)}. Each layer's activations are below, beginning with the input.`);
    layers.set([...view.layers.flatMap(({ plates }) => plates.filter(activation)), ...(view.explanations ?? [])], view.step);
  }

  /** On drawing: the board no longer shows what the last request sent, or only the file. */
  function begun() {
    round += 1;
    waiting = null;
    byId('upload').value = '';
  }

  const drawn = () => new Promise((resolve, reject) => {
    pad.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('The browser could not make a PNG of the drawing.'))), 'image/png');
  });

  pen(pad, g, { able: () => able, ink: () => (colour() ? byId('pad-ink').value : '#ffffff'), moved: () => ask(drawn),
    begun });
  byId('pad-clear').addEventListener('click', clear);
  byId('pad-again').addEventListener('click', () => { if (newest) ask(newest); });
  byId('upload').addEventListener('change', ({ target }) => {
    const file = target.files[0];
    if (file) upload(file);
  });

  return {
    kinds: ['run', 'connection'],
    draw(store) {
      const next = store.run;
      able = standing(store).there;
      ['pad-clear', 'pad-again', 'upload', 'pad-pen', 'pad-ink'].forEach((id) => { byId(id).disabled = !able; });
      if (next?.id === run?.id) return;
      run = next;
      const [height, width] = run?.image ?? [1, 1];
      pad.width = Math.round((LONGEST * width) / Math.max(width, height));
      pad.height = Math.round((LONGEST * height) / Math.max(width, height));
      byId('pad-colour').hidden = !colour();
      write(byId('pad-help'), `Draw here${colour() ? '' : ', in white on black'}, or upload an image below. The network's input is ${shape(run?.image)}.`);
      clear();
    },
  };
}

const activation = (plate) => String(plate.name).endsWith('.activation');

/** Names plates of activations after their layer. */
const layerName = (plate) => (activation(plate) ? plate.name.slice(0, -'.activation'.length) : words(plate.name));

/** Draws strokes on the board. */
function pen(pad, g, { able, ink, moved, begun }) {
  let last = null;
  const at = (event) => {
    const { left, top, width, height } = pad.getBoundingClientRect();
    const edge = (pad.offsetWidth - pad.clientWidth) / 2;
    return [((event.clientX - left - edge) * pad.width) / (width - 2 * edge), ((event.clientY - top - edge) * pad.height) / (height - 2 * edge)];
  };
  const stroke = (from, to) => {
    g.strokeStyle = ink();
    g.lineWidth = Number(byId('pad-pen').value);
    g.lineCap = g.lineJoin = 'round';
    g.beginPath();
    g.moveTo(...from);
    g.lineTo(...to);
    g.stroke();
  };
  pad.addEventListener('pointerdown', (event) => {
    if (!able() || event.button !== 0) return;
    pad.setPointerCapture(event.pointerId);
    begun();
    last = at(event);
    stroke(last, last);
  });
  pad.addEventListener('pointermove', (event) => {
    if (!last) return;
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const next = at(part);
      stroke(last, next);
      last = next;
    }
    moved();
  });
  // A single dot is not a drawing until the pen is lifted.
  const end = () => {
    if (last) moved();
    last = null;
  };
  pad.addEventListener('pointerup', end);
  pad.addEventListener('pointercancel', end);
}
