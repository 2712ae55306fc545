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
STEMS = {"max-pool": "pool", "avg-pool": "pool", "global-avg-pool": "pool", "leaky-relu": "leaky", "batch-norm": "norm"}


class Maxout(nn.Module):
    def __init__(self, group):
        super().__init__()
        self.group = group

    def forward(self, x):
        return x.unflatten(1, (-1, self.group)).amax(2)


class Blocks(nn.Module):
    """Modules that do not just follow one another: every one reads one before it, a residual adds another."""

    def __init__(self, modules, sources, added):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.sources, self.added = sources, added

    def forward(self, x):
        values = {None: x}
        for name, source in self.sources.items():
            value = values[source]
            if name in self.added:
                x = value + values[self.added[name]].reshape(value.shape)
            else:
                x = getattr(self, name)(value)
            values[name] = x
        return x


def network(path):
    """The network in a model file as a module without weights, up to the logits.

    Its modules have the names of Glassnet's layers; a flatten is added before the first fc.
    """
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["glassnet"])["network"]
    modules, sources, added, shapes, count = OrderedDict(), {}, {}, {}, Counter()

    def add(name, module, source):
        modules[name], sources[name] = module, source
        shapes[name] = tuple(module.eval()(torch.zeros(1, *shapes[source])).shape[1:])
        return name

    def add_all(layers, source):
        for layer in layers:
            source = add_layer(layer, source)
        return source

    def add_layer(layer, source):
        """Adds a layer behind another; the name of what it made."""
        kind = layer["type"]
        if kind == "input":
            shapes[None] = layer["channels"], layer["height"], layer["width"]
        if kind in ("input", "softmax", "hinge", "mse"):
            return source
        body = add_all(layer["layers"], source) if kind == "residual" else None
        other = add_all(layer.get("shortcut", []), source) if kind == "residual" else None
        stem = STEMS.get(kind, kind)
        count[stem] += 1
        name = f"{stem}{count[stem]}"
        if kind == "residual":
            sources[name], added[name], shapes[name] = body, other, shapes[body]
            return name
        names = {"stride": "stride", "pad": "padding"}
        window = {names[key]: tuple(value) for key, value in layer.items() if key in names}
        if kind == "fc" and len(shapes[source]) > 1:
            source = add(f"flatten_{name}", nn.Flatten(), source)
        shape = shapes[source]
        match kind:
            case "conv":
                spread = dict(dilation=tuple(layer.get("dilation", (1, 1))), groups=layer.get("groups", 1))
                module = nn.Conv2d(shape[0], layer["filters"], tuple(layer["kernel"]), **window, **spread)
            case "fc": module = nn.Linear(shape[0], layer["outputs"])
            case "batch-norm":
                norm = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
                module = norm(shape[0], layer["epsilon"], layer["momentum"])
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
        return add(name, module, source)

    last = add_all(tomllib.loads(description)["layers"], None)
    if len(shapes[last]) > 1:
        add("flatten", nn.Flatten(), last)
    return (Blocks(modules, sources, added) if added else nn.Sequential(modules)).eval()


def main(folder):
    outputs = sorted(Path(folder).glob("*.outputs.safetensors"))
    if not outputs:
        raise SystemExit(f"no .outputs.safetensors files in {folder}")
    print(f"torch {torch.__version__}")
    failed = []
    for path in outputs:
        name = path.name.removesuffix(".outputs.safetensors")
        file, ours = path.with_name(f"{name}.safetensors"), load_file(path)
        model = network(file)
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
            state = {key: value.to(getattr(torch, kind)) if value.is_floating_point() else value for key, value in model.state_dict().items()}
            save_file(state, path.with_name(f"{name}.{kind}.saved.safetensors"))
    if failed:
        raise SystemExit(f"above {TOLERANCE}: " + ", ".join(failed))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
