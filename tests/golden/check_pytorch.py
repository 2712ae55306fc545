"""Loads Glassnet's model files into PyTorch, compares what comes out, and saves them as PyTorch does.

    pip install torch safetensors numpy
    GLASSNET_PYTHON=python cargo test --test pytorch          # writes models, then runs this script
    python tests/golden/check_pytorch.py target/tmp/pytorch   # runs it again on what that left

The folder holds NAME.safetensors, a model, and NAME.outputs.safetensors: `input` [N,C,H,W] and
`logits` [N,O], as Glassnet's reference computed them. Exits with 1 where a difference is above 1e-5
of the largest logit, or of 1. Saves each state_dict as NAME.TYPE.saved.safetensors for TYPE
float32, float64, float16 and bfloat16, which the test reads back.
"""

import json
import sys
import tomllib
from collections import Counter, OrderedDict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

TOLERANCE = 1e-5

# What the name of a layer begins with, where that is not its type.
STEMS = {"max-pool": "pool", "avg-pool": "pool", "global-avg-pool": "pool", "leaky-relu": "leaky"}


class Maxout(nn.Module):
    def __init__(self, group):
        super().__init__()
        self.group = group

    def forward(self, x):
        return x.unflatten(1, (-1, self.group)).amax(2)


def sequential(path):
    """The network in a model file as an nn.Sequential without weights, up to the logits.

    Its modules have the names of Glassnet's layers, and `flatten` is added before the first fc.
    """
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["glassnet"])["network"]
    modules, count = OrderedDict(), Counter()
    shape = None  # of one example, as far as the number of an fc's inputs needs it

    def add(name, module):
        nonlocal shape
        modules[name] = module
        shape = tuple(module(torch.zeros(1, *shape)).shape[1:])

    for layer in tomllib.loads(description)["layers"]:
        kind = layer["type"]
        if kind == "input":
            shape = layer["channels"], layer["height"], layer["width"]
        if kind in ("input", "softmax", "hinge", "mse"):
            continue
        stem = STEMS.get(kind, kind)
        count[stem] += 1
        name = f"{stem}{count[stem]}"
        names = {"stride": "stride", "pad": "padding"}
        window = {names[key]: tuple(value) for key, value in layer.items() if key in names}
        if kind == "fc" and len(shape) > 1:
            add("flatten", nn.Flatten())
        match kind:
            case "conv":
                spread = dict(dilation=tuple(layer.get("dilation", (1, 1))), groups=layer.get("groups", 1))
                module = nn.Conv2d(shape[0], layer["filters"], tuple(layer["kernel"]), **window, **spread)
            case "fc": module = nn.Linear(shape[0], layer["outputs"])
            case "relu": module = nn.ReLU()
            case "leaky-relu": module = nn.LeakyReLU(layer["slope"])
            case "sigmoid": module = nn.Sigmoid()
            case "tanh": module = nn.Tanh()
            case "max-pool": module = nn.MaxPool2d(tuple(layer["size"]), **window)
            case "avg-pool": module = nn.AvgPool2d(tuple(layer["size"]), **window, count_include_pad=False)
            case "global-avg-pool": module = nn.AdaptiveAvgPool2d(1)
            case "maxout": module = Maxout(layer["group"])
            case "lrn": module = nn.LocalResponseNorm(layer["size"], layer["alpha"], layer["beta"], layer["k"])
            case "dropout": module = nn.Dropout(layer["rate"])
            case _: raise SystemExit(f"{path}: layer type {kind}")
        add(name, module)
    if len(shape) > 1:
        add("flatten", nn.Flatten())
    return nn.Sequential(modules).eval()


def main(folder):
    outputs = sorted(Path(folder).glob("*.outputs.safetensors"))
    if not outputs:
        raise SystemExit(f"no .outputs.safetensors files in {folder}")
    print(f"torch {torch.__version__}")
    failed = []
    for path in outputs:
        name = path.name.removesuffix(".outputs.safetensors")
        file, ours = path.with_name(f"{name}.safetensors"), load_file(path)
        model = sequential(file)
        model.load_state_dict(load_file(file))
        with torch.no_grad():
            logits = model(ours["input"])
        assert logits.shape == ours["logits"].shape, (name, logits.shape)
        largest = ours["logits"].abs().max().clamp(min=1)
        difference = ((logits - ours["logits"]).abs().max() / largest).item()
        print(f"{name:20} difference {difference:.1e}")
        if not difference <= TOLERANCE:
            failed.append(name)
        for kind in ("float32", "float64", "float16", "bfloat16"):
            state = {key: value.to(getattr(torch, kind)) for key, value in model.state_dict().items()}
            save_file(state, path.with_name(f"{name}.{kind}.saved.safetensors"))
    if failed:
        raise SystemExit(f"above {TOLERANCE}: " + ", ".join(failed))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
