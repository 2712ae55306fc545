/** The page's state, built from messages alone (docs/live.md), whatever their source. */

import { History } from './history.js';

const MOST_OTHERS = 1000;

const longer = (list, message) => [...list, message].slice(-MOST_OTHERS);

const empty = (run) => ({
  run,
  status: null,
  /** The newest `step` message, unchanged. */
  row: null,
  history: new History((run?.layers ?? []).map((layer) => layer.name)),
  epochs: [],
  changes: [],
  view: null,
});

export class Store {
  constructor() {
    this.state = { ...empty(null), connection: { state: 'connecting', since: Date.now(), last: null } };
    this.listeners = [];
  }

  /** Calls back with the kind of each change. */
  subscribe(listener) {
    this.listeners.push(listener);
  }

  /** Handles one message. Unknown kinds are meant for newer pages and ignored. */
  take(message) {
    const takers = {
      run: () => this.#run(message),
      status: () => { this.state.status = message; },
      step: () => this.#row(message),
      epoch: () => { this.state.epochs = longer(this.state.epochs.filter(({ step }) => step !== message.step), message); },
      change: () => { this.state.changes = longer(this.state.changes, message); },
      view: () => { this.state.view = message; },
    };
    if (!Object.hasOwn(takers, message?.kind)) return;
    takers[message.kind]();
    this.listeners.forEach((listener) => listener(message.kind));
  }

  /** Records the state of the connection. */
  connection(connection) {
    this.state.connection = connection;
    this.listeners.forEach((listener) => listener('connection'));
  }

  #run(message) {
    if (message.id === this.state.run?.id) {
      // A new connection sends all of them again.
      Object.assign(this.state, { run: message, epochs: [], changes: [] });
      this.state.history.again();
    } else {
      Object.assign(this.state, empty(message));
    }
  }

  #row(message) {
    this.state.row = message;
    this.state.history.add(message);
  }
}

/** A class's name. */
export function className(run, index) {
  return index === null || index === undefined ? '–' : String(run?.classes?.[index] ?? index);
}
