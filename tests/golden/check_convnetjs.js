// Lets ConvNetJS load what Glassnet writes: each network of convnetjs.json goes through `glassnet convert` to safetensors
// and back. ConvNetJS must then compute its own outputs again, and in a backward pass the gradients that the network as it
// was gives it, to within 1e-5 of a tensor's largest value, or of 1.
//
//     npm install --prefix FOLDER convnetjs@0.3.0
//     GLASSNET_NODE_MODULES=FOLDER/node_modules cargo test --test convnetjs      # runs this script
//     NODE_PATH=FOLDER/node_modules node tests/golden/check_convnetjs.js target/debug/glassnet

"use strict";
const { execFileSync } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const convnetjs = require("convnetjs");

const glassnet = path.resolve(process.argv[2] || "target/debug/glassnet");
const { networks } = JSON.parse(fs.readFileSync(path.join(__dirname, "convnetjs.json")));

// The snapshot as Glassnet writes it.
function thereAndBack(folder, name, snapshot) {
  const [theirs, ours, back] = [".json", ".safetensors", ".back.json"].map((end) => path.join(folder, name + end));
  fs.writeFileSync(theirs, JSON.stringify(snapshot));
  execFileSync(glassnet, ["convert", theirs, ours]);
  execFileSync(glassnet, ["convert", ours, back]);
  return JSON.parse(fs.readFileSync(back));
}

// Outputs, then gradients: of the input, and layer by layer of filters and biases.
function run(snapshot, input, label) {
  const net = new convnetjs.Net();
  net.fromJSON(snapshot);
  const [{ out_sx, out_sy, out_depth }] = net.layers;
  const image = new convnetjs.Vol(out_sx, out_sy, out_depth, 0);
  input.forEach((byte, i) => (image.w[i] = byte / 255 - 0.5));
  const output = Array.from(net.forward(image).w);
  const last = net.layers[net.layers.length - 1];
  const oneHot = output.map((_, i) => Number(i === label));
  net.backward(last.layer_type === "regression" ? (output.length === 1 ? [label] : oneHot) : label);
  const layers = net.layers.filter((layer) => layer.filters);
  return [output, ...[image, ...layers.flatMap((layer) => [...layer.filters, layer.biases])].map((vol) => Array.from(vol.dw))];
}

// The largest error, or NaN.
function distance(got, want) {
  if (got.length !== want.length) return NaN;
  const largest = Math.max(1, ...want.map(Math.abs));
  return Math.max(...got.map((value, i) => Math.abs(value - want[i]) / largest));
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "convnetjs-"));
for (const { name, snapshot, input, label, output } of networks) {
  const [written, ...gradients] = run(thereAndBack(folder, name, snapshot), input, label);
  const [, ...theirs] = run(snapshot, input, label);
  const outputs = distance(written, output);
  const worst = gradients.length === theirs.length ? Math.max(...gradients.map((g, i) => distance(g, theirs[i]))) : NaN;
  const same = outputs <= 1e-5 && worst <= 1e-5;
  const off = `outputs within ${outputs.toExponential(1)}, gradients within ${worst.toExponential(1)}`;
  console.log(`${name}: ${same ? "the same" : "NOT THE SAME"}, ${off}`);
  if (!same) process.exitCode = 1;
}
fs.rmSync(folder, { recursive: true });
