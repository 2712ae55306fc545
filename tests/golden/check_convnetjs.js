// Lets ConvNetJS load what Glassnet writes: each network of convnetjs.json goes through `glassnet convert` to safetensors
// and back, and must then give ConvNetJS's own outputs to within 1e-5.
//
//     npm install --prefix FOLDER convnetjs@0.3.0
//     cargo build && NODE_PATH=FOLDER/node_modules node tests/golden/check_convnetjs.js target/debug/glassnet

"use strict";
const { execFileSync } = require("child_process");
const fs = require("fs");
const os = require("os");
const path = require("path");
const convnetjs = require("convnetjs");

const glassnet = path.resolve(process.argv[2] || "target/debug/glassnet");
const { networks } = JSON.parse(fs.readFileSync(path.join(__dirname, "convnetjs.json")));
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "convnetjs-"));
for (const { name, snapshot, input, output } of networks) {
  const [theirs, ours, back] = [".json", ".safetensors", ".back.json"].map((end) => path.join(folder, name + end));
  fs.writeFileSync(theirs, JSON.stringify(snapshot));
  execFileSync(glassnet, ["convert", theirs, ours]);
  execFileSync(glassnet, ["convert", ours, back]);

  const net = new convnetjs.Net();
  net.fromJSON(JSON.parse(fs.readFileSync(back)));
  const [{ out_sx, out_sy, out_depth }] = net.layers;
  const image = new convnetjs.Vol(out_sx, out_sy, out_depth, 0);
  input.forEach((byte, i) => (image.w[i] = byte / 255 - 0.5));
  const errors = Array.from(net.forward(image).w, (value, i) => Math.abs(value - output[i]));
  const worst = errors.length === output.length ? Math.max(...errors) : NaN;
  console.log(`${name}: ${worst <= 1e-5 ? "the same outputs" : "OTHER OUTPUTS"}, within ${worst.toExponential(1)}`);
  if (!(worst <= 1e-5)) process.exitCode = 1;
}
fs.rmSync(folder, { recursive: true });
