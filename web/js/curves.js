/** The curves of the whole run. */

import { byId } from './dom.js';
import { nanoseconds, percent, words } from './format.js';
import { chart } from './charts.js';

/** A change in words. */
export function changed({ what, from, to }) {
  if (what === 'weights') return `weights loaded from ${to?.source ?? '–'}`;
  if (what === 'network') return `a new run, ${to}`;
  const name = words(what).replace(/^l(\d) /, 'L$1 ');
  return `${name} from ${from ?? '–'} to ${to ?? '–'}`;
}

/** The changes as marks of a chart. */
const marks = (changes) => changes.map((change, i) => ({ step: change.step, label: String(i + 1), text: changed(change) }));

/** The axis of a chart. It begins at the run's start, or earlier if the run was resumed. */
export const axis = ({ run, history, changes }) => {
  const steps = history.rows.map((row) => row.step);
  return { first: Math.min(run?.first_step ?? 0, steps[0] ?? Infinity), steps, marks: marks(changes) };
};

const known = (points) => points.filter(([, value]) => typeof value === 'number');

export function curves() {
  const loss = chart(byId('chart-loss'), { title: 'Loss', note: 'mean per example', log: false, zero: true });
  const accuracy = chart(byId('chart-accuracy'), { title: 'Accuracy', note: 'share of correct predictions in the window', top: 1,
    format: (value) => percent(value, 1) });
  const rate = chart(byId('chart-learning-rate'), { title: 'Learning rate', note: 'with the schedule’s factor', log: false, zero: true });
  const time = chart(byId('chart-time'), { title: 'Time per example', note: 'on the device', log: false, zero: true, format: nanoseconds });

  return {
    kinds: ['run', 'step', 'epoch', 'change'],
    draw(state) {
      const { history, epochs } = state;
      const base = () => axis(state);
      const own = (name, key) => ({ name, values: history.column(key) });
      loss.set(() => {
        const [classification, decay] = [history.column('classification_loss'), history.column('weight_decay_loss')];
        return { ...base(),
          series: [own('classification', 'classification_loss'), own('validation', 'validation_loss'),
            own('weight decay', 'weight_decay_loss'), { name: 'total', values: classification.map((value, i) => value + decay[i]) }],
          dots: [{ name: 'whole validation set', points: known(epochs.map((epoch) => [epoch.step, epoch.validation_loss])) }] };
      });
      accuracy.set(() => ({ ...base(),
        series: [own('training', 'training_accuracy'), own('validation', 'validation_accuracy')],
        dots: [{ name: 'whole validation set', points: known(epochs.map((epoch) => [epoch.step, epoch.validation_accuracy])) }] }));
      rate.set(() => ({ ...base(), series: [own('learning rate', 'learning_rate')] }));
      time.set(() => ({ ...base(), series: [own('forward', 'forward_ns'), own('backward', 'backward_ns'), own('update', 'update_ns')] }));
    },
  };
}
