/** Each layer's statistics over time: one tensor in detail, and all layers side by side. */

import { byId, offer } from './dom.js';
import { percent, words } from './format.js';
import { chart } from './charts.js';
import { TENSORS } from './history.js';
import { axis } from './curves.js';

export function overTime() {
  const [layer, tensor] = [byId('time-layer'), byId('time-tensor')];
  const one = chart(byId('chart-tensor'), { title: 'The chosen tensor', note: 'band: mean ± standard deviation', log: undefined });
  const gradients = chart(byId('chart-gradients'), { title: 'Weight gradients of all layers',
    note: 'standard deviation; lines that drift apart by decades mean vanishing or exploding gradients', log: true });
  const updates = chart(byId('chart-updates'), { title: 'Update ratio of all layers', note: 'size of an update over size of the weights; about 10⁻³ is usual', log: true });
  const dead = chart(byId('chart-dead'), { title: 'Dead units of all layers', note: 'share of units that were zero for every example of the batch', zero: true, top: 1,
    format: (value) => percent(value, 1) });
  let run = null;
  let state = null;

  function layers() {
    if (run === state.run) return;
    run = state.run;
    offer(layer, (run?.layers ?? []).map(({ name }) => [name, name]));
    const first = run?.layers?.find(({ parameters }) => parameters > 0);
    if (first && !layer.dataset.chosen) layer.value = first.name;
    tensors();
  }

  /** Offers the tensors that the layer has in the newest row. */
  function tensors() {
    const found = state.row?.layers?.find((other) => other.layer === layer.value);
    const there = TENSORS.filter((name) => !found || found[name]);
    if ([...tensor.options].map((option) => option.value).join() !== there.join()) offer(tensor, there.map((name) => [name, words(name)]));
  }

  function draw() {
    const { history } = state;
    layers();
    tensors();
    const base = () => axis(state);
    one.set(() => {
      const [min, max, mean, std] = ['min', 'max', 'mean', 'std'].map((part) => history.layer(layer.value, tensor.value, part));
      return { ...base(),
        series: [{ name: 'mean', values: mean }, { name: 'max', values: max }, { name: 'min', values: min }, { name: 'standard deviation', values: std }],
        band: { name: 'mean ± std', low: mean.map((value, i) => value - std[i]), high: mean.map((value, i) => value + std[i]) } };
    });
    const all = (what, part, only) => ({ ...base(),
      series: (run?.layers ?? []).filter(only).map(({ name }) => ({ name, values: history.layer(name, what, part), wide: name === layer.value }))
        .filter(({ values }) => values.some(Number.isFinite)) });
    gradients.set(() => all('weight_gradient', 'std', ({ parameters }) => parameters > 0));
    updates.set(() => all('update_ratio', null, ({ parameters }) => parameters > 0));
    dead.set(() => all('dead_units', null, () => true));
  }

  layer.addEventListener('change', () => {
    layer.dataset.chosen = 'yes';
    if (state) draw();
  });
  tensor.addEventListener('change', () => { if (state) draw(); });
  return { kinds: ['run', 'step', 'change'], draw(next) { state = next; draw(); } };
}
