// Times training of `convnetjs-mnist` in ConvNetJS; `cargo bench --bench compare -- --peers convnetjs` runs it beside Glassnet.
//
//     npm install --prefix benches/peers convnetjs@0.3.0
//     node benches/peers/convnetjs.js --preset convnetjs-mnist --batch-size 20
//
// Reads lines from stdin: each asks for one round and gets one line of JSON on stdout, images per second by contestant.
// ConvNetJS goes example by example and updates its weights after every batch; a round is made of whole batches.
"use strict";

const readline = require("readline");

const EXAMPLES = 4096;
const CLASSES = 10;
const SIZE = 24;

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

function load() {
  try {
    return require("convnetjs");
  } catch (error) {
    return fail(`ConvNetJS is not there: npm install --prefix benches/peers convnetjs@0.3.0 (${error.code})`);
  }
}

const preset = option("preset", "convnetjs-mnist");
const batch = Number(option("batch-size", "20"));
const seconds = Number(option("seconds", "1"));
if (preset !== "convnetjs-mnist") fail(`there is no ${preset} here, only convnetjs-mnist`);
if (!Number.isInteger(batch) || batch < 1) fail("a batch size is a whole number, 1 or more");

const convnetjs = load();
const net = new convnetjs.Net();
net.makeLayers([
  { type: "input", out_sx: SIZE, out_sy: SIZE, out_depth: 1 },
  { type: "conv", sx: 5, filters: 8, stride: 1, pad: 2, activation: "relu" },
  { type: "pool", sx: 2, stride: 2 },
  { type: "conv", sx: 5, filters: 16, stride: 1, pad: 2, activation: "relu" },
  { type: "pool", sx: 3, stride: 3 },
  { type: "softmax", num_classes: CLASSES },
]);
const trainer = new convnetjs.Trainer(net, { method: "adadelta", batch_size: batch, l2_decay: 0.001 });

const images = Array.from({ length: EXAMPLES }, () => {
  const image = new convnetjs.Vol(SIZE, SIZE, 1, 0);
  for (let i = 0; i < image.w.length; i++) image.w[i] = Math.random() - 0.5;
  return image;
});
let at = 0;

function step() {
  for (let i = 0; i < batch; i++, at++) trainer.train(images[at % EXAMPLES], at % CLASSES);
}

const now = () => Number(process.hrtime.bigint()) / 1e9;

// Steps are doubled until the round is over, and the last measurement counts.
function round() {
  step();
  const start = now();
  for (let steps = 1; ; steps *= 2) {
    const begin = now();
    for (let i = 0; i < steps; i++) step();
    if (now() - start >= seconds) return (batch * steps) / (now() - begin);
  }
}

console.log(JSON.stringify({ version: require("convnetjs/package.json").version, node: process.version }));
readline.createInterface({ input: process.stdin }).on("line", () => {
  console.log(JSON.stringify({ ConvNetJS: round() }));
});
