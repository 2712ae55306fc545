/** The likeliest classes as bars. */

import { el, mark, write } from './dom.js';
import { figure, percent } from './format.js';
import { className } from './store.js';

/** Whether the network's scores are probabilities. */
export const probabilities = (run) => run?.layers?.at(-1)?.type === 'softmax';

/** A list of bars, one for each class; `set` reuses the elements for other classes. */
export function classBars() {
  const node = el('ol', { class: 'bars' });
  const rows = [];

  function row(i) {
    if (!rows[i]) {
      const [name, bar, score] = [el('span', { class: 'name' }), el('span', { class: 'bar' }), el('span', { class: 'score' })];
      const item = el('li', {}, name, el('span', { class: 'track', 'aria-hidden': 'true' }, bar), score);
      rows[i] = { item, name, bar, score };
    }
    return rows[i];
  }

  return {
    node,
    /**
     * @param {{class: number, score: number}[]} top
     * @param {object} run the `run` message
     * @param {number|null} [label] the right class, if it is known
     */
    set(top, run, label = null) {
      const scores = top.map(({ score }) => score ?? 0);
      const shares = probabilities(run);
      const longest = Math.max(...(run?.classes ?? []).map((name) => String(name).length), 1);
      // All names have the width of the longest one, so that nothing moves when another class leads.
      node.style.setProperty('--name', `${Math.min(longest, 10) + 2.5}ch`);
      const [low, high] = shares ? [0, 1] : [Math.min(0, ...scores), Math.max(0, ...scores)];
      top.forEach((entry, i) => {
        const { item, name, bar, score } = row(i);
        const right = label !== null && entry.class === label;
        const text = className(run, entry.class);
        write(name, right ? `✓ ${text}` : text);
        mark(name, 'title', text);
        item.classList.toggle('right', right);
        write(score, shares ? percent(entry.score, 1) : figure(entry.score));
        const width = high > low ? Math.max(0, (scores[i] - low) / (high - low)) : 0;
        bar.style.width = `${Math.min(100, 100 * width)}%`;
        if (item.parentNode !== node) node.append(item);
      });
      rows.slice(top.length).forEach(({ item }) => item.remove());
    },
  };
}
