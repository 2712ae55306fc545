// Writes convnetjs_training.json: ten updates with every trainer of ConvNetJS, and by what its dropout multiplies.
//
//     npm install --prefix FOLDER convnetjs@0.3.0
//     NODE_PATH=FOLDER/node_modules node tests/golden/make_convnetjs_training.js convnet.js
//
// convnet.js is build/convnet.js of github.com/karpathy/convnetjs: adam and nesterov came after 0.3.0, the last version on
// npm. The trainers that both have must end with the same weights in both. Always the same bytes with the same node.

"use strict";
const fs = require("fs");
const path = require("path");
const convnetjs = require("convnetjs");
const later = require(path.resolve(process.argv[2]));

// Marsaglia's xorshift32, in place of Math.random, which cannot be seeded.
let state;
Math.random = () => {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 4294967296;
};

// l1_decay_mul is 0 where nobody gives it; here L1 decay takes part, and in one layer both decays are halved. The fc that
// softmax brings along takes no such options: it gets its l1_decay_mul below.
const LAYERS = [
  { type: "input", out_sx: 6, out_sy: 6, out_depth: 2 },
  { type: "conv", sx: 3, filters: 4, pad: 1, l1_decay_mul: 1, l2_decay_mul: 1, activation: "relu" },
  { type: "pool", sx: 2 },
  { type: "fc", num_neurons: 5, l1_decay_mul: 0.5, l2_decay_mul: 0.5, activation: "tanh" },
  { type: "softmax", num_classes: 3 },
];
const BATCH = 4;
const UPDATES = 10;
// The nearest that a weight comes to 0, where L1 decay turns round, a ReLU's input likewise, and two values of a pool window
// to each other: f32 must take the same branches.
const MARGIN = 1e-5;
const DECAY = { l1_decay: 0.02, l2_decay: 0.1 };
// By our names. sgd with momentum 0 is ours without.
const TRAINERS = {
  sgd: { method: "sgd", momentum: 0, learning_rate: 0.1 },
  momentum: { method: "sgd", momentum: 0.9, learning_rate: 0.05 },
  nesterov: { method: "nesterov", momentum: 0.9, learning_rate: 0.05 },
  adagrad: { method: "adagrad", learning_rate: 0.05, eps: 1e-4 },
  windowgrad: { method: "windowgrad", learning_rate: 0.02, ro: 0.95, eps: 1e-4 },
  adadelta: { method: "adadelta", ro: 0.95, eps: 1e-6 },
  adam: { method: "adam", learning_rate: 0.001, beta1: 0.9, beta2: 0.999, eps: 1e-8 },
};

const short = (values) => Array.from(values, (v) => Number(v.toPrecision(9)));

function firstNetwork(seed) {
  state = seed;
  const net = new convnetjs.Net();
  net.makeLayers(JSON.parse(JSON.stringify(LAYERS)));
  net.layers[net.layers.length - 2].l1_decay_mul = 1;
  for (const layer of net.layers) {
    // Every seventh weight is 0: there it shows which sign 0 has.
    for (const filter of layer.filters || []) filter.w = filter.w.map((w, i) => (i % 7 ? Number(w.toFixed(4)) : 0));
    if (layer.biases) layer.biases.w = layer.biases.w.map(() => Number((Math.random() - 0.5).toFixed(4)));
  }
  return net.toJSON();
}

function examples() {
  state = 362436069;
  const [{ out_sx, out_sy, out_depth }] = LAYERS;
  return Array.from({ length: BATCH * UPDATES }, () => {
    const bytes = Array.from({ length: out_sx * out_sy * out_depth }, () => Math.floor(Math.random() * 256));
    const input = new convnetjs.Vol(out_sx, out_sy, out_depth, 0);
    bytes.forEach((byte, i) => (input.w[i] = byte / 255 - 0.5));
    return { bytes, input, label: Math.floor(Math.random() * 3) };
  });
}

// The smallest of those distances in a forward pass over `input` and in the weights.
function margin(net, input) {
  net.forward(input, true);
  const [, conv, relu] = net.layers;
  const distances = Array.from(conv.out_act.w, Math.abs);
  const { sx, sy, depth } = relu.out_act;
  for (let place = 0; place < (sx / 2) * (sy / 2) * depth; place++) {
    const [d, x, y] = [place % depth, 2 * (Math.floor(place / depth) % (sx / 2)), 2 * Math.floor(place / depth / (sx / 2))];
    const window = [0, 1, 2, 3].map((i) => relu.out_act.get(x + (i % 2), y + (i >> 1), d)).sort((a, b) => b - a);
    if (window[0] > 0) distances.push(window[0] - window[1]);
  }
  for (const layer of net.layers) {
    for (const filter of layer.filters || []) distances.push(...Array.from(filter.w, Math.abs).filter((w) => w > 0));
  }
  return Math.min(...distances);
}

function trained(Trainer, options, snapshot) {
  const net = new convnetjs.Net();
  net.fromJSON(JSON.parse(JSON.stringify(snapshot)));
  const trainer = new Trainer(net, { ...options, ...DECAY, batch_size: BATCH });
  let smallest = Infinity;
  const losses = examples().map(({ input, label }) => {
    smallest = Math.min(smallest, margin(net, input));
    return trainer.train(input, label).cost_loss;
  });
  const layers = net.layers.filter((layer) => layer.filters);
  const weights = layers.map((layer) => ({
    filters: layer.filters.map((filter) => short(filter.w)),
    biases: short(layer.biases.w),
  }));
  return { losses: short(losses), weights, smallest };
}

// Every trainer's run from these weights; nothing where one comes too near a branch.
function training(snapshot) {
  const runs = {};
  for (const [name, options] of Object.entries(TRAINERS)) {
    const { smallest, ...run } = trained(later.Trainer, options, snapshot);
    if (smallest < MARGIN) return undefined;
    runs[name] = { options, ...run };
    if (["adam", "nesterov"].includes(name)) continue;
    const { weights } = trained(convnetjs.Trainer, options, snapshot);
    if (JSON.stringify(weights) !== JSON.stringify(runs[name].weights)) throw new Error(`${name}: 0.3.0 differs`);
  }
  return runs;
}

// By what dropout multiplies the values that it does not drop, and the gradients that come back through it.
function dropout() {
  state = 521288629;
  const drop_prob = 0.3;
  const layer = new convnetjs.DropoutLayer({ in_sx: 1, in_sy: 1, in_depth: 1000, drop_prob });
  const input = new convnetjs.Vol(1, 1, 1000, 1);
  const only = (values) => {
    const kept = [...new Set(Array.from(values).filter((v) => v !== 0))];
    if (kept.length !== 1) throw new Error(`dropout multiplies by ${kept}`);
    return kept[0];
  };
  const out = layer.forward(input, true);
  const training = only(out.w);
  const dropped = Array.from(out.w).filter((v) => v === 0).length / 1000;
  if (Math.abs(dropped - drop_prob) > 0.05) throw new Error(`dropout drops ${dropped}`);
  out.dw = convnetjs.zeros(1000).map(() => 1);
  layer.backward();
  const gradient = only(input.dw);
  return { drop_prob, training, gradient, prediction: only(layer.forward(input, false).w) };
}

let snapshot;
let trainers;
for (let seed = 1; !trainers; seed++) {
  snapshot = firstNetwork(seed);
  trainers = training(snapshot);
}
const images = examples().map(({ bytes }) => bytes);
const labels = examples().map(({ label }) => label);
const file = path.join(__dirname, "convnetjs_training.json");
const document = { made_by: "convnetjs 0.3.0, and its trainers on GitHub", batch_size: BATCH, ...DECAY };
fs.writeFileSync(
  file,
  JSON.stringify({ ...document, snapshot, images, labels, trainers, dropout: dropout() }) + "\n",
);
console.log(`${file}: ${fs.statSync(file).size} bytes`);
