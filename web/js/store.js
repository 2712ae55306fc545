/** What the page knows, made from messages alone (docs/live.md); where they come from does not matter. */

import { History } from './history.js';

const MOST_OTHERS = 1000;

const longer = (list, message) => [...list, message].slice(-MOST_OTHERS);

const empty = (run) => ({
  run,
  status: null,
  /** The newest `step` message as it came. */
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

  /** Calls back with the kind of what changed. */
  subscribe(listener) {
    this.listeners.push(listener);
  }

  /** Takes one message. Kinds it does not know are for newer pages. */
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

  /** Takes how the connection stands. */
  connection(connection) {
    this.state.connection = connection;
    this.listeners.forEach((listener) => listener('connection'));
  }

  #run(message) {
    if (message.id === this.state.run?.id) {
      // A connection begins, and all of them come again.
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

/** What a class is called. */
export function className(run, index) {
  return index === null || index === undefined ? '–' : String(run?.classes?.[index] ?? index);
}
