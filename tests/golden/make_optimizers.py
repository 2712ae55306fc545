"""Makes optimizers.json: 200 updates of PyTorch's optimizers in float64, for `tests/optimizers.rs`.

    pip install torch
    python tests/golden/make_optimizers.py

Parameters start at 0. Gradients are made of integers (`gradient`), so that the test makes the same ones, exact in
float32. Each entry holds the first 16 parameters after the last update, and how far PyTorch in float32 strays from them:
the largest difference over the largest value. `ema` holds the moving average of SGD's parameters, by `torch.lerp`.
"""

import json
from pathlib import Path

import torch

STEPS, COUNT, KEPT = 200, 128, 16
RULES = {
    "adam": (torch.optim.Adam, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)),
    "adam_slow": (torch.optim.Adam, dict(lr=1e-3, betas=(0.99, 0.99999), eps=1e-8)),
    "adam_fast": (torch.optim.Adam, dict(lr=1e-3, betas=(0.25, 0.4), eps=1e-8)),
    "adamw": (torch.optim.AdamW, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)),
    "windowgrad": (torch.optim.RMSprop, dict(lr=1e-3, alpha=0.99, eps=1e-8)),
    "windowgrad_slow": (torch.optim.RMSprop, dict(lr=1e-3, alpha=0.9999, eps=1e-8)),
    "adadelta": (torch.optim.Adadelta, dict(lr=1.0, rho=0.95, eps=1e-6)),
    "adadelta_slow": (torch.optim.Adadelta, dict(lr=1.0, rho=0.9999, eps=1e-6)),
    "momentum": (torch.optim.SGD, dict(lr=1e-2, momentum=0.9)),
    "nesterov": (torch.optim.SGD, dict(lr=1e-2, momentum=0.9, nesterov=True)),
}
DECAYS = [0.2, 0.9999, 0.99999]


def gradient(step):
    i = torch.arange(COUNT, dtype=torch.int64)
    drawn = ((step * COUNT + i) * 2654435761 + 12345) % 2**32 // 2**8
    return (drawn - 2**23).double() / 2**24 / 2 ** (i % 8).double()


def trained(optimizer, options, kind):
    w = torch.zeros(COUNT, dtype=kind, requires_grad=True)
    optimizer = optimizer([w], **options)
    path = []
    for step in range(STEPS):
        w.grad = gradient(step).to(kind)
        optimizer.step()
        path.append(w.detach().clone())
    return path


def averaged(path, decay):
    average = torch.zeros_like(path[0])
    for w in path:
        average = torch.lerp(average, w, 1 - decay)
    return average


def entry(double, single):
    strays = (double - single.double()).abs().max() / double.abs().max()
    return {"values": double[:KEPT].tolist(), "float32_strays": float(f"{strays.item():.1e}")}


def main():
    torch.set_num_threads(1)
    made = {"made_by": f"make_optimizers.py, torch {torch.__version__.split('+')[0]}", "steps": STEPS}
    kinds = (torch.float64, torch.float32)
    for name, (optimizer, options) in RULES.items():
        made[name] = entry(*(trained(optimizer, options, kind)[-1] for kind in kinds))
    paths = [trained(torch.optim.SGD, dict(lr=1e-2), kind) for kind in kinds]
    for decay in DECAYS:
        made[f"ema_{decay}"] = entry(*(averaged(path, decay) for path in paths))
    text = json.dumps(made, indent=1)
    Path(__file__).with_name("optimizers.json").write_text(text + "\n")


main()
