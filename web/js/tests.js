/** Predictions on the test set. */

import { byId, el, mark, write } from './dom.js';
import { figure } from './format.js';
import { classBars } from './bars.js';
import { plateFigure } from './plates.js';
import { className } from './store.js';

/** @param {(asked: object) => Promise<boolean>} command */
export function tests(command) {
  const list = byId('tests');
  const items = [];

  function item(i) {
    if (!items[i]) {
      const image = plateFigure({ tile: 64, caption: false, name: () => 'image' });
      const [button, verdict, bars] = [el('button', { type: 'button' }, image.node), el('p', { class: 'verdict' }), classBars()];
      const node = el('li', {}, button, el('div', {}, verdict, bars.node));
      const own = { node, image, button, verdict, bars, index: 0 };
      button.addEventListener('click', () => command({ do: 'show', split: 'test', index: own.index }));
      items[i] = own;
    }
    return items[i];
  }

  return {
    kinds: ['run', 'view'],
    draw({ run, view }) {
      const shown = view?.tests ?? [];
      list.classList.toggle('long', (run?.classes ?? []).some((name) => String(name).length > 4));
      shown.forEach((test, i) => {
        const { node, image, button, verdict, bars } = item(i);
        items[i].index = test.index;
        image.set(test.image, view.step);
        bars.set(test.top ?? [], run, test.label);
        const label = className(run, test.label);
        const judged = test.top?.length > 0;
        const right = judged && test.top[0].class === test.label;
        node.classList.toggle('right', judged && right);
        node.classList.toggle('wrong', judged && !right);
        const number = typeof test.number === 'number' ? `answers ${figure(test.number)}, label ${label}` : `label ${label}`;
        write(verdict, !judged ? number : right ? `✓ right: ${label}` : `✗ wrong: is ${label}`);
        mark(verdict, 'title', verdict.textContent);
        mark(button, 'aria-label', `Show test example ${test.index}, labelled ${label}`);
        button.disabled = !(run?.controls ?? []).includes('show');
        if (node.parentNode !== list) list.append(node);
      });
      items.slice(shown.length).forEach(({ node }) => node.remove());
      write(byId('tests-note'), shown.length > 0
        ? 'The newest test examples that were evaluated. Press a picture to follow that example through the layers.'
        : 'No test example has been evaluated yet.');
    },
  };
}
