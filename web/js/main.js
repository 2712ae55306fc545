/** Puts the page together: a source of messages, the store, and the panels that draw it. */

import { byId, mark, write } from './dom.js';
import { commands } from './command.js';
import { Frames } from './frame.js';
import { httpSource } from './source.js';
import { Store } from './store.js';
import { standing } from './standing.js';
import { bar, statistics } from './statistics.js';
import { curves } from './curves.js';
import { overTime } from './over-time.js';
import { network } from './network.js';
import { example } from './example.js';
import { tests } from './tests.js';
import { trial } from './try.js';
import { changes, connection, controls } from './controls.js';
import { editor, snapshots } from './files.js';

/** Kinds of messages that holding the view does not delay, because they decide which controls work. */
const URGENT = ['run', 'connection'];

/** @param {ReturnType<typeof httpSource>} source feeds the page and answers its requests */
function start(source) {
  const store = new Store();
  const frames = new Frames();
  const command = commands(source);
  const panels = [bar(), statistics(), controls(command), changes(), curves(), example(), network(), tests(command), trial(source),
    overTime(), snapshots(source), editor(source)];

  store.subscribe((kind) => {
    panels.forEach((panel, i) => {
      if (panel.kinds.includes(kind)) frames.draw(i, () => panel.draw(store.state), panel.urgent || URGENT.includes(kind));
    });
  });
  tellChanges(store, frames);
  hold(frames);
  source.subscribe((message) => store.take(message), (now) => store.connection(now));
}

/** Announces changes of the connection's and the training's state, and shows the age of stale data. */
function tellChanges(store, frames) {
  const announce = { back: false };
  let [before, was, timer] = ['', '', 0];
  const draw = () => frames.draw('connection', () => connection(store.state, announce), true);

  store.subscribe((kind) => {
    const { connection: { state }, status } = store.state;
    if (kind === 'connection') {
      const back = state === 'live' && (before === 'stale' || before === 'disconnected');
      if (back) {
        announce.back = true;
        clearTimeout(timer);
        timer = setTimeout(() => { announce.back = false; draw(); }, 4000);
      }
      const words = { live: back ? 'Connected again.' : 'Connected.', stale: 'The connection is stale; the page may be out of date.',
        disconnected: 'Disconnected; the page is out of date.', connecting: '' };
      if (state !== before) write(byId('announce'), words[state]);
      before = state;
      draw();
    } else if (kind === 'status' && status.state !== was) {
      if (was) write(byId('announce'), `The training is ${status.state}. ${status.message ?? ''}`);
      was = status.state;
    }
  });
  setInterval(() => { if (standing(store.state).old) draw(); }, 1000);
}

/** The button that holds the display. */
function hold(frames) {
  const button = byId('hold');
  button.addEventListener('click', () => {
    const held = button.getAttribute('aria-pressed') !== 'true';
    mark(button, 'aria-pressed', held);
    frames.hold(held);
  });
}

start(httpSource());
