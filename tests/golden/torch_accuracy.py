"""Trains ConvNetJS's MNIST network in PyTorch, to compare test accuracies. No test runs this.

    pip install torch numpy
    python tests/golden/torch_accuracy.py FOLDER [--trainer adadelta|adam] [--seeds N] [--epochs N]

FOLDER holds the four MNIST files (IDX, gzip or plain). A tenth of the training set is held out,
training crops 24x24 at random out of 28x28, evaluation crops the centre.
"""

import argparse
import gzip
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

BATCH, CROP, L2 = 20, 24, 5e-5


def read_idx(folder, stem):
    """An IDX file of bytes; its header is two zeros, type 8, the rank, then big-endian sizes."""
    path = next(p for p in (folder / stem, folder / f"{stem}.gz") if p.exists())
    raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, 4)
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy())


def read_split(folder, split):
    images = read_idx(folder, f"{split}-images-idx3-ubyte")
    return images, read_idx(folder, f"{split}-labels-idx1-ubyte").long()


def crop(images, top, left):
    """[N,28,28] bytes -> [N,1,24,24], each from its own corner, normalised."""
    rows = (top[:, None] + torch.arange(CROP))[:, :, None]
    columns = (left[:, None] + torch.arange(CROP))[:, None, :]
    cut = images[torch.arange(len(images))[:, None, None], rows, columns]
    return (cut.float() / 255 - 0.5)[:, None]


def network():
    """ConvNetJS's initial values: normal with sqrt(1 / fan-in), bias 0.1 where ReLU follows."""
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3),
        nn.Flatten(), nn.Linear(256, 10))
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=math.sqrt(1 / layer.weight[0].numel()))
            nn.init.constant_(layer.bias, 0.1 if isinstance(layer, nn.Conv2d) else 0.0)
    return net


def make_trainer(name, net):
    weights = [p for n, p in net.named_parameters() if n.endswith("weight")]
    biases = [p for n, p in net.named_parameters() if n.endswith("bias")]
    groups = [{"params": weights, "weight_decay": L2}, {"params": biases, "weight_decay": 0.0}]
    if name == "adam":
        return torch.optim.Adam(groups, lr=1e-3)
    return torch.optim.Adadelta(groups, lr=1.0, rho=0.95, eps=1e-6)


@torch.no_grad()
def accuracy(net, images, labels):
    centre = torch.full((len(images),), (images.shape[1] - CROP) // 2)
    right = 0
    for i in range(0, len(images), 500):
        part = slice(i, i + 500)
        right += (net(crop(images[part], centre[part], centre[part])).argmax(1) == labels[part]).sum().item()
    return 100 * right / len(images)


def run(seed, args, training, test):
    torch.manual_seed(seed)
    images, labels = training
    order = torch.randperm(len(images))
    held_out, kept = order[: len(order) // 10], order[len(order) // 10 :]
    net = network()
    trainer = make_trainer(args.trainer, net)
    begin = time.time()
    for _ in range(args.epochs):
        for chosen in kept[torch.randperm(len(kept))].split(BATCH):
            top, left = torch.randint(0, images.shape[1] - CROP + 1, (2, len(chosen)))
            loss = F.cross_entropy(net(crop(images[chosen], top, left)), labels[chosen])
            trainer.zero_grad()
            loss.backward()
            trainer.step()
    seconds = time.time() - begin
    result = accuracy(net, *test)
    print(f"seed {seed}: test {result:.2f} %, validation {accuracy(net, images[held_out], labels[held_out]):.2f} %, "
          f"{seconds:.0f} s", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trainer", choices=["adadelta", "adam"], default="adadelta")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    training, test = read_split(args.folder, "train"), read_split(args.folder, "t10k")
    results = np.array([run(seed, args, training, test) for seed in range(args.seeds)])
    print(f"{args.trainer}, {args.epochs} epoch(s), torch {torch.__version__}: "
          f"mean {results.mean():.2f} %, from {results.min():.2f} to {results.max():.2f}")


if __name__ == "__main__":
    main()
