/** The network, layer by layer. */

import { byId, el, mark, scrollable, write } from './dom.js';
import { figure, integer, percent, shape, words } from './format.js';
import { sight } from './frame.js';
import { plateList, setPlates } from './plates.js';

/** With more layers than this, they begin folded. */
const MANY = 40;
const FIGURES = ['activation', 'activation_gradient', 'weight', 'weight_gradient'];
const PARTS = ['min', 'max', 'mean', 'std'];

const kindOf = (plate) => String(plate.name).split('.').pop();

export function network() {
  const container = byId('layers');
  const boxes = [...document.querySelectorAll('input[name=kind]')];
  let run = null;
  let layers = new Map();
  let state = null;

  const wanted = () => new Set(boxes.filter((box) => box.checked).map((box) => box.value));

  function build() {
    run = state.run;
    layers.forEach((layer) => layer.remove());
    const nodes = run?.layers ?? [];
    layers = new Map(nodes.map((node, i) => [node.name, layerSection(node, nodes[i - 1], nodes.length <= MANY)]));
    container.replaceChildren(...[...layers.values()].map(({ section }) => section));
  }

  function draw() {
    if (state.run?.id !== run?.id) build();
    const kinds = wanted();
    byId('network').classList.toggle('no-figures', !kinds.has('figures'));
    const rows = new Map((state.row?.layers ?? []).map((row) => [row.layer, row]));
    const plates = new Map((state.view?.layers ?? []).map((layer) => [layer.layer, layer.plates]));
    for (const [name, layer] of layers) layer.set({ row: rows.get(name), rowStep: state.row?.step, plates: plates.get(name) ?? [], step: state.view?.step, kinds });
  }

  boxes.forEach((box) => box.addEventListener('change', () => { if (state) draw(); }));
  byId('palette').addEventListener('change', ({ target }) => setPlates({ palette: target.value }));
  byId('plate-size').addEventListener('change', ({ target }) => {
    const tile = Number(target.value);
    byId('network').classList.toggle('large-tiles', tile > 100);
    setPlates({ tile });
  });
  const fold = (open) => () => layers.forEach(({ details }) => { details.open = open; });
  byId('fold').addEventListener('click', fold(false));
  byId('unfold').addEventListener('click', fold(true));
  return { kinds: ['run', 'step', 'view'], draw(next) { state = next; draw(); } };
}

/** The section of one layer. */
function layerSection(node, before, open) {
  const inputs = (node.inputs ?? []).filter((name, _, all) => all.length > 1 || name !== before?.name);
  const facts = [node.type, shape(node.output), node.parameters > 0 ? `${integer(node.parameters)} parameters` : '',
    inputs.length > 0 ? `reads ${inputs.join(' and ')}` : ''].filter((text) => text);
  const summary = el('summary', {}, el('h3', {}, node.name), ...facts.map((text) => el('span', {}, text)));
  const plates = el('div', { class: 'plates' });
  const figures = figureTable();
  const details = el('details', { open }, summary, el('div', { class: 'body' }, figures.node, plates));
  const section = el('section', { class: node.parameters > 0 ? 'layer' : 'layer beside', data: { layer: node.name }, 'aria-label': `Layer ${node.name}` }, details);
  const list = plateList(plates);
  let newest = null;

  function draw() {
    if (!newest || !details.open) return;
    const { row, rowStep, step, kinds } = newest;
    // Layers out of sight get their lines once, so that they have their final height.
    if (sight.has(section) || !figures.filled()) figures.set(row, rowStep, newest.plates, step);
    list.set(newest.plates.filter((plate) => kinds.has(kindOf(plate))), step);
  }

  details.addEventListener('toggle', draw);
  sight.watch(section, draw);
  return {
    section,
    details,
    set(next) { newest = next; draw(); },
    remove() {
      list.set([]);
      sight.forget(section);
    },
  };
}

/** Extremes of each tensor, for the whole batch and for the example. */
function figureTable() {
  const [batch, example] = [el('th', { colSpan: 4, scope: 'colgroup' }), el('th', { colSpan: 2, scope: 'colgroup', class: 'apart' })];
  const heads = [...PARTS, 'min', 'max'].map((part, i) => el('th', { scope: 'col', class: i === 4 ? 'apart' : '' }, part));
  const body = el('tbody');
  const table = el('table', {}, el('thead', {}, el('tr', {}, el('td'), batch, example), el('tr', {}, el('td'), ...heads)), body);
  const scroll = el('div', { class: 'scroll' }, table);
  const health = el('p', { class: 'health' });
  const node = el('div', { class: 'figures' }, scroll, health);
  const rows = new Map();

  function line(tensor) {
    if (!rows.has(tensor)) {
      const cells = heads.map((_, i) => el('td', { class: i === 4 ? 'apart' : '' }));
      rows.set(tensor, { tr: el('tr', {}, el('th', { scope: 'row' }, words(tensor)), ...cells), cells });
      body.append(...FIGURES.filter((name) => rows.has(name)).map((name) => rows.get(name).tr));
    }
    return rows.get(tensor).cells;
  }

  return {
    node,
    filled: () => rows.size > 0,
    set(row, rowStep, plates, step) {
      const own = new Map(plates.map((plate) => [kindOf(plate), plate]));
      write(batch, `whole batch, step ${integer(rowStep)}`);
      write(example, `this example, step ${integer(step)}`);
      for (const tensor of FIGURES) {
        const plate = own.get(tensor);
        if (!row?.[tensor] && !plate) continue;
        const cells = line(tensor);
        PARTS.forEach((part, i) => write(cells[i], figure(row?.[tensor]?.[part])));
        write(cells[4], figure(plate?.min));
        write(cells[5], figure(plate?.max));
      }
      const facts = [typeof row?.update_ratio === 'number' ? `update ratio ${figure(row.update_ratio)}` : '',
        typeof row?.dead_units === 'number' ? `dead units ${percent(row.dead_units, 1)}` : ''].filter((text) => text);
      write(health, facts.join(' · '));
      if (row?.non_finite > 0) health.append(el('span', { class: 'bad' }, ` ${integer(row.non_finite)} values are not finite`));
      mark(health, 'hidden', health.textContent ? null : '');
      scrollable(scroll, 'Extremes');
    },
  };
}
