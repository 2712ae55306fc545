/** The chosen example: its image, the network's answer, and an explanation. */

import { byId, write } from './dom.js';
import { figure, integer } from './format.js';
import { classBars } from './bars.js';
import { plateFigure, plateList } from './plates.js';
import { className } from './store.js';

const NAMES = { saliency: 'Saliency', grad_cam: 'Grad-CAM' };

/** A map in words; for an empty map, the reason. */
function shows({ name, min, max, tile }) {
  if (name === 'grad_cam' && min === 0 && max === 0) return 'zero everywhere: the last maps together oppose the answer';
  return tile;
}

/** The network's answer in words, for an example or a drawing. */
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
