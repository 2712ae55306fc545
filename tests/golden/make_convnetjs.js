// Writes convnetjs.json: small networks over all layer types, run by ConvNetJS itself, that Glassnet must reproduce.
//
//     npm install --prefix FOLDER convnetjs@0.3.0
//     NODE_PATH=FOLDER/node_modules node tests/golden/make_convnetjs.js
//
// Always the same bytes with the same node. For each network: the snapshot, input bytes, label, outputs, loss, and the
// loss's gradients by the input, weights and biases. Gradients are those of net.backward(), which must agree with
// central differences of net.forward(); in two kinds of layers it is wrong, so that networks with them get the differences:
// lrn takes a square where it should take a product of neighbours, and dropout leaves out the factor that it applies
// when it predicts.

"use strict";
const fs = require("fs");
const path = require("path");
const convnetjs = require("convnetjs");

// Marsaglia's xorshift32, in place of Math.random, which cannot be seeded.
let state = 2463534242;
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) / 4294967296;
}
Math.random = random;

const NETWORKS = {
  conv_pool: [
    { type: "input", out_sx: 10, out_sy: 9, out_depth: 2 },
    { type: "conv", sx: 3, sy: 2, filters: 5, stride: 1, pad: 1, activation: "relu" },
    { type: "pool", sx: 3, sy: 2, stride: 2, pad: 1 },
    { type: "conv", sx: 3, filters: 4, stride: 2, pad: 1 },
    { type: "pool", sx: 2, stride: 1 },
    { type: "fc", num_neurons: 9, activation: "relu" },
    { type: "softmax", num_classes: 4 },
  ],
  lrn_maxout: [
    { type: "input", out_sx: 6, out_sy: 5, out_depth: 1 },
    { type: "conv", sx: 3, filters: 6 },
    { type: "lrn", k: 1.5, n: 3, alpha: 2, beta: 0.75 },
    { type: "maxout", group_size: 2 },
    { type: "conv", sx: 2, filters: 7 },
    { type: "lrn", k: 0.5, n: 4, alpha: 1.5, beta: 0.5 }, // A window of 5, divided by 4.
    { type: "fc", num_neurons: 9, activation: "maxout", group_size: 3 },
    { type: "softmax", num_classes: 3 },
  ],
  smooth: [
    { type: "input", out_sx: 5, out_sy: 4, out_depth: 3 },
    { type: "conv", sx: 3, filters: 4, activation: "tanh" },
    { type: "fc", num_neurons: 7, activation: "sigmoid" },
    { type: "fc", num_neurons: 5, activation: "tanh" },
    { type: "softmax", num_classes: 6 },
  ],
  svm: [
    { type: "input", out_sx: 4, out_sy: 6, out_depth: 2 },
    { type: "conv", sx: 2, sy: 3, filters: 4, activation: "relu" },
    { type: "pool", sx: 2 },
    { type: "svm", num_classes: 5 },
  ],
  regression: [
    { type: "input", out_sx: 1, out_sy: 1, out_depth: 8 },
    { type: "fc", num_neurons: 6, activation: "sigmoid" },
    { type: "regression", num_neurons: 3 },
  ],
  dropout: [
    { type: "input", out_sx: 6, out_sy: 6, out_depth: 1 },
    { type: "conv", sx: 3, filters: 4, drop_prob: 0.5 },
    { type: "relu" },
    { type: "pool", sx: 2 },
    { type: "fc", num_neurons: 8, activation: "tanh", drop_prob: 0.3 },
    { type: "softmax", num_classes: 3 },
  ],
  number: [
    { type: "input", out_sx: 4, out_sy: 3, out_depth: 1 },
    { type: "conv", sx: 2, filters: 3, activation: "tanh" },
    { type: "regression", num_neurons: 1 },
  ],
};
const BACKWARD_IS_WRONG = ["lrn_maxout", "dropout"];

// One learns one-hot targets, the other the label itself.
const REGRESSIONS = ["regression", "number"];

// What the layer takes besides the scores.
function target(name, label, classes) {
  if (name === "number") return [label];
  return name === "regression" ? Array.from({ length: classes }, (_, i) => (i === label ? 1 : 0)) : label;
}

// The loss that net.backward() is the gradient of: regression reports four times that.
const loss = (name, net, y) => net.layers[net.layers.length - 1].backward(y) / (REGRESSIONS.includes(name) ? 4 : 1);

// Nine digits: far more than f32 has.
const short = (values) => Array.from(values, (v) => Number(v.toPrecision(9)));

function differences(name, net, input, y, values) {
  const step = 1e-5;
  return Array.from(values, (_, i) => {
    const value = values[i];
    const at = (v) => {
      values[i] = v;
      net.forward(input);
      return loss(name, net, y);
    };
    const slope = (at(value + step) - at(value - step)) / (2 * step);
    values[i] = value;
    return slope;
  });
}

function agree(got, want) {
  const largest = Math.max(...want.map(Math.abs));
  return got.every((g, i) => Math.abs(g - want[i]) <= 1e-6 * largest + 1e-9);
}

function run(name, arrays) {
  const net = new convnetjs.Net();
  net.makeLayers(JSON.parse(JSON.stringify(NETWORKS[name])));
  for (const layer of net.layers) {
    // Four decimals keep the file small; biases that differ tell a permutation.
    for (const filter of layer.filters || []) filter.w = filter.w.map((w) => Number(w.toFixed(4)));
    if (layer.biases) layer.biases.w = layer.biases.w.map(() => Number((random() - 0.5).toFixed(4)));
  }
  const [{ out_sx, out_sy, out_depth }] = net.layers;
  const bytes = Array.from({ length: out_sx * out_sy * out_depth }, () => Math.floor(random() * 256));
  const input = new convnetjs.Vol(out_sx, out_sy, out_depth, 0);
  bytes.forEach((byte, i) => (input.w[i] = byte / 255 - 0.5));
  const last = net.layers[net.layers.length - 1];
  const label = Math.floor(random() * (name === "number" ? 10 : last.out_depth));
  const y = target(name, label, last.out_depth);

  const output = short(net.forward(input).w);
  const reported = last.backward(y);
  net.backward(y);
  const wrong = BACKWARD_IS_WRONG.includes(name);
  let differ = false;
  let nothing; // All zeros would prove nothing.
  const gradient = (vol) => {
    const numeric = differences(name, net, input, y, vol.w);
    const same = agree(vol.dw, numeric);
    nothing = nothing && numeric.every((v) => v === 0);
    differ = differ || !same;
    if (!same && !wrong) throw new Error(`${name}: net.backward() is not the gradient of net.forward()`);
    return short(wrong ? numeric : vol.dw);
  };
  const gradients = [];
  for (const layer of net.layers.filter((layer) => layer.filters)) {
    nothing = true;
    const filters = layer.filters.map(gradient);
    if (nothing) throw new Error(`${name}: the gradients of a ${layer.layer_type} are all zero`);
    gradients.push({ filters, biases: gradient(layer.biases) });
  }
  const input_gradient = gradient(input);
  if (wrong && !differ) throw new Error(`${name}: net.backward() is right, so take its gradients`);

  const snapshot = net.toJSON();
  if (arrays) {
    // As snapshots are where there are no typed arrays.
    for (const layer of snapshot.layers) {
      for (const vol of [...(layer.filters || []), ...(layer.biases ? [layer.biases] : [])]) vol.w = Array.from(vol.w);
    }
  }
  return { name, snapshot, input: bytes, label, output, loss: reported, input_gradient, gradients };
}

const networks = Object.keys(NETWORKS).map((name, i) => run(name, i % 2 === 1));
const file = path.join(__dirname, "convnetjs.json");
fs.writeFileSync(file, JSON.stringify({ made_by: "convnetjs 0.3.0", networks }) + "\n");
console.log(`${file}: ${fs.statSync(file).size} bytes`);
