/** The statistics rows of a run, thinned so that memory stays bounded in long runs. */

export const TENSORS = ['activation', 'activation_gradient', 'weight', 'weight_gradient', 'bias', 'bias_gradient'];
const PARTS = ['min', 'max', 'mean', 'std'];
const OTHERS = ['update_ratio', 'dead_units'];
/** Numbers stored per layer and row. */
const WIDTH = TENSORS.length * PARTS.length + OTHERS.length;
const MOST_ROWS = 1500;

const number = (value) => (typeof value === 'number' ? value : NaN);

export class History {
  /** @param {string[]} layers the names, in their order */
  constructor(layers) {
    this.places = new Map(layers.map((name, i) => [name, i * WIDTH]));
    /** @type {{step: number, figures: Float32Array, [name: string]: any}[]} ascending by step */
    this.rows = [];
    /** One in this many rows is kept. */
    this.stride = 1;
    /** Rows since the last permanent one; the newest row is always kept. */
    this.since = 0;
    this.cursor = -Infinity;
  }

  /** Starts a connection, over which known rows may come again. */
  again() {
    this.cursor = -Infinity;
  }

  /** Takes a `step` message. */
  add(message) {
    const { step } = message;
    if (typeof step !== 'number') return;
    // A smaller step within one connection: the run was resumed from an older checkpoint and repeats those steps.
    if (step <= this.cursor) this.rows = this.rows.filter((row) => row.step < step);
    this.cursor = step;
    const row = this.#packed(message);
    const last = this.rows.at(-1);
    if (last && step <= last.step) return this.#replace(row);
    if (last && this.since % this.stride !== 0) this.rows.pop();
    this.rows.push(row);
    this.since += 1;
    if (this.rows.length > MOST_ROWS) this.#thin();
  }

  #replace(row) {
    const at = this.rows.findIndex((other) => other.step === row.step);
    // A row that was thinned out is not added again.
    if (at >= 0) this.rows[at] = row;
  }

  #thin() {
    this.rows = this.rows.filter((_, i) => i % 2 === 0);
    this.stride *= 2;
    this.since = 1;
  }

  #packed(message) {
    const figures = new Float32Array(this.places.size * WIDTH).fill(NaN);
    for (const layer of message.layers ?? []) {
      const place = this.places.get(layer.layer);
      if (place === undefined) continue;
      TENSORS.forEach((tensor, t) => {
        const values = layer[tensor];
        if (values) PARTS.forEach((part, p) => { figures[place + t * PARTS.length + p] = number(values[part]); });
      });
      OTHERS.forEach((name, i) => { figures[place + WIDTH - OTHERS.length + i] = number(layer[name]); });
    }
    const time = message.time_per_example ?? {};
    return {
      step: message.step, figures, learning_rate: message.learning_rate,
      classification_loss: message.classification_loss, weight_decay_loss: message.weight_decay_loss,
      validation_loss: message.validation_loss, training_accuracy: message.training_accuracy,
      validation_accuracy: message.validation_accuracy, images_per_second: message.images_per_second,
      forward_ns: time.forward_ns, backward_ns: time.backward_ns, update_ns: time.update_ns,
    };
  }

  /** One of a row's own numbers over the steps. */
  column(name) {
    return this.rows.map((row) => number(row[name]));
  }

  /** A layer's numbers over the steps: `part` of a tensor, or `update_ratio` or `dead_units`. */
  layer(name, tensor, part) {
    const other = OTHERS.indexOf(tensor);
    const offset = other >= 0 ? WIDTH - OTHERS.length + other : TENSORS.indexOf(tensor) * PARTS.length + PARTS.indexOf(part);
    const place = this.places.get(name);
    return this.rows.map((row) => (place === undefined ? NaN : row.figures[place + offset]));
  }
}
