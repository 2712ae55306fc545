/** What the page knows, made from messages alone (docs/live.md); where they come from does not matter. */

import { History } from './history.js';

const MOST_OTHERS = 1000;

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
      epoch: () => { this.state.epochs = this.#with(this.state.epochs, message, (a, b) => a.step === b.step); },
      change: () => { this.state.changes = this.#with(this.state.changes, message, same); },
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
      this.state.run = message;
      this.state.history.again();
    } else {
      Object.assign(this.state, empty(message));
    }
  }

  #row(message) {
    this.state.row = message;
    this.state.history.add(message);
  }

  /** The list with the message, in the place of an equal one where there is one. */
  #with(list, message, equal) {
    const others = list.filter((other) => !equal(other, message));
    if (others.length < list.length) return list.map((other) => (equal(other, message) ? message : other));
    return [...others, message].slice(-MOST_OTHERS);
  }
}

/** Whether two changes are one that came twice. */
function same(a, b) {
  return a.step === b.step && a.what === b.what && a.train_seconds === b.train_seconds
    && JSON.stringify(a.to) === JSON.stringify(b.to);
}

/** What a class is called. */
export function className(run, index) {
  return index === null || index === undefined ? '–' : String(run?.classes?.[index] ?? index);
}
