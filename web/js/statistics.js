/** The bar on top and the panel of training statistics. */

import { byId, el, mark, write } from './dom.js';
import { standing } from './standing.js';
import { figure, integer, nanoseconds, percent, seconds, shape } from './format.js';

/** A number as text, and as it is for whoever reads the page by program. */
function show(id, value, text) {
  const node = byId(id);
  write(node, text(value));
  mark(node, 'data-value', typeof value === 'number' ? value : null);
}

/** The bar on top. It goes on while the display is held, so that whoever pauses sees that it was done. */
export function bar() {
  return { kinds: ['run', 'status', 'connection'], urgent: true, draw: stands };
}

export function statistics() {
  let facts = null;
  return {
    kinds: ['run', 'status', 'step', 'connection'],
    draw(store) {
      const { run, status, row } = store;
      if (run !== facts) about(run);
      facts = run;
      windows(run, status, row);
      times(row, status, standing(store).going === 'running');
    },
  };
}

function stands(store) {
  const { status } = store;
  const state = byId('state');
  const { training, look, old } = standing(store);
  write(state, training);
  mark(state, 'data-state', look);
  const others = old ? 0 : (status?.watchers ?? 1) - 1;
  write(byId('watchers'), others > 0 ? `${others} more ${others === 1 ? 'page watches' : 'pages watch'} this run.` : '');
  const message = byId('state-message');
  const words = [status?.message, status?.no_pictures && `no pictures: ${status.no_pictures}`].filter(Boolean).join('; ');
  message.hidden = words === '';
  mark(message, 'data-state', look || null);
  write(message, words);
  show('step', status?.step, integer);
  show('end', status?.end, integer);
  const progress = byId('progress');
  progress.max = Math.max(1, status?.end ?? 1);
  progress.value = status?.step ?? 0;
}

function windows(run, status, row) {
  show('loss', status?.loss ?? row?.classification_loss, figure);
  show('training-accuracy', status?.training_accuracy, percent);
  show('validation-accuracy', status?.validation_accuracy, percent);
  show('test-accuracy', status?.test?.accuracy, percent);
  write(byId('test-count'), integer(status?.test?.examples ?? 200));
  show('decay-loss', row?.weight_decay_loss, figure);
  show('validation-loss', row?.validation_loss, figure);
  show('epoch', status?.epoch, (epoch) => (typeof epoch === 'number' ? integer(epoch + 1) : '–'));
  show('examples-seen', status?.examples_seen, integer);
  show('train-seconds', status?.train_seconds, seconds);
  for (const id of ['training-accuracy', 'validation-accuracy', 'test-accuracy']) {
    byId(id).parentElement.hidden = run?.learns_numbers === true && !byId(id).dataset.value;
  }
}

function times(row, status, running) {
  const time = row?.time_per_example;
  show('forward', time?.forward_ns, nanoseconds);
  show('backward', time?.backward_ns, nanoseconds);
  show('update', time?.update_ns, nanoseconds);
  write(byId('clock'), time?.clock ?? '–');
  show('speed', status?.images_per_second, (value) => `${integer(value)} images/s`);
  const { step, end, settings, images_per_second: speed } = status ?? {};
  const left = running && speed > 0 ? ((end - step) * settings.batch_size) / speed : null;
  show('time-left', left, seconds);
}

function about(run) {
  const name = String(run?.name ?? '');
  write(byId('run-name'), name);
  document.title = name ? `${name} – Glassnet` : 'Glassnet';
  write(byId('version'), run?.version ?? '');
  const examples = run?.examples ?? {};
  const rows = [
    ['Folder', run?.folder], ['Device', run?.device], ['Data set', run?.dataset], ['Images', shape(run?.image)],
    ['Classes', run?.learns_numbers ? 'learns numbers' : integer(run?.classes?.length)],
    ['Training examples', integer(run?.training_examples)], ['Validation examples', integer(run?.validation_examples)],
    ['Test examples', integer(examples.test)], ['Optimizer', run?.optimizer], ['Schedule', run?.schedule],
    ['Parameters', integer((run?.layers ?? []).reduce((sum, layer) => sum + (layer.parameters ?? 0), 0))],
    ['Seed', run?.seed], ['First step', integer(run?.first_step)],
  ];
  byId('facts').replaceChildren(...rows.map(([term, value]) => el('div', {}, el('dt', {}, term), el('dd', {}, String(value ?? '–')))));
}
