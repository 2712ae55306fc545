/** The example that is shown: its image, what the network says of it, and why. */

import { byId, write } from './dom.js';
import { figure, integer } from './format.js';
import { classBars } from './bars.js';
import { plateFigure, plateList } from './plates.js';
import { className } from './store.js';

const NAMES = { saliency: 'Saliency', grad_cam: 'Grad-CAM' };

/** What a map shows, in words: an empty one says why. */
function shows({ name, min, max, tile }) {
  if (name === 'grad_cam' && min === 0 && max === 0) return 'zero everywhere: the last maps together speak against the answer';
  return tile;
}

/** What an answer amounts to, in words: for an example with its label, or for a drawing. */
export function said(run, view) {
  if (run?.learns_numbers) return `The network answers ${figure(view.number)}`;
  const best = view.top?.[0];
  return best ? `The network says ${className(run, best.class)}` : 'The network says nothing';
}

export function example() {
  const image = plateFigure({ tile: 200, caption: false, name: () => 'the example' });
  byId('shown-image').append(image.node);
  const bars = classBars();
  byId('shown-top').append(bars.node);
  const explanations = plateList(byId('explanations'), { tile: 168 });

  return {
    kinds: ['run', 'view'],
    draw({ run, view }) {
      byId('shown').hidden = view === null;
      byId('no-view').hidden = view !== null;
      if (!view) return;
      const plate = inputPlate(run, view);
      if (plate) image.set(plate, view.step);
      const { split, index, label } = view.example;
      const set = split === 'train' ? 'Training' : 'Test';
      const verdict = view.top?.length ? (view.top[0].class === label ? ', which is right' : ', which is wrong') : '';
      write(byId('shown-facts'), `${set} example ${integer(index)}, labelled ${className(run, label)}. ${said(run, view)}${verdict}; `
        + `loss ${figure(view.loss)} after step ${integer(view.step)}.`);
      bars.set(view.top ?? [], run, label);
      const plates = (view.explanations ?? []).map((other) => ({ ...other, tile: shows(other), name: NAMES[other.name] ?? other.name }));
      explanations.set(plates, view.step);
      byId('explanations').closest('.why').hidden = plates.length === 0;
    },
  };
}

/** The plate of the image itself. */
export function inputPlate(run, view) {
  const first = run?.layers?.[0]?.name;
  const layer = view.layers.find((other) => other.layer === first) ?? view.layers[0];
  return layer?.plates.find((plate) => plate.natural) ?? layer?.plates[0];
}
