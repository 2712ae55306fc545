"""Times training steps of Glassnet's presets in PyTorch; `cargo bench --bench compare` runs it beside Glassnet.

    pip install torch
    python benches/peers/pytorch.py --preset convnetjs-mnist --batch-size 20 [--device cpu|cuda] [--threads N]

A contestant is one way to run the same training: memory layout on a processor; eager or as a CUDA graph on a GPU, with
TF32 off and on. Reads lines from stdin: each asks for one round and gets one line of JSON on stdout, by contestant the
images per second, or a text that says why it cannot run. Weights are updated every batch; data lies on the device; a
round ends with the device idle.
"""

import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

EXAMPLES = 4096


def convnetjs_mnist():
    net = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3),
        nn.Flatten(), nn.Linear(256, 10))
    return net, 24


def vgg_mnist():
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))
    return net, 28


class Block(nn.Module):
    """A block of ResNet-20: two convolutions, added to their input. Convolutions have biases, as Glassnet's do."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.path(x) + self.shortcut(x))


def resnet_cifar10():
    stages = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
    blocks = [Block(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1)
              for inputs, outputs, stride in stages for i in range(3)]
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return net, 32


PRESETS = {"convnetjs-mnist": convnetjs_mnist, "vgg-mnist": vgg_mnist, "resnet-cifar10": resnet_cifar10}
CHANNELS = {"resnet-cifar10": 3}


def optimizer(preset, net, graph):
    if preset == "vgg-mnist":
        return torch.optim.Adam(net.parameters(), lr=1e-3, capturable=graph)
    weights = [p for p in net.parameters() if p.dim() > 1]
    others = [p for p in net.parameters() if p.dim() == 1]
    decay = 1e-4 if preset == "resnet-cifar10" else 5e-5
    groups = [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    if preset == "resnet-cifar10":
        # The rate of the schedule does not matter for speed.
        return torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    return torch.optim.Adadelta(groups, lr=1.0, rho=0.95, eps=1e-6, capturable=graph)


def allow_tf32(allowed):
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


class Contestant:
    """One network with its data, ready to step."""

    def __init__(self, name, preset, batch, device, channels_last=False, graph=False, tf32=False):
        torch.manual_seed(1)
        self.name, self.batch, self.device, self.tf32 = name, batch, device, tf32
        # A graph keeps the kernels that were chosen when it was captured.
        allow_tf32(tf32)
        net, size = PRESETS[preset]()
        self.net = net.to(device)
        images = torch.rand(EXAMPLES, CHANNELS.get(preset, 1), size, size, device=device) - 0.5
        if channels_last:
            self.net = self.net.to(memory_format=torch.channels_last)
            images = images.contiguous(memory_format=torch.channels_last)
        self.images, self.labels = images, torch.randint(0, 10, (EXAMPLES,), device=device)
        self.optimizer = optimizer(preset, self.net, graph)
        self.at, self.graph = 0, None
        if graph:
            self.capture()

    def next_batch(self):
        # A batch larger than the data takes it several times.
        first = self.at % max(1, EXAMPLES - self.batch + 1)
        self.at += self.batch
        if self.batch > EXAMPLES:
            places = torch.arange(self.batch, device=self.device) % EXAMPLES
            return self.images[places], self.labels[places]
        return self.images[first:first + self.batch], self.labels[first:first + self.batch]

    def train(self, images, labels):
        loss = F.cross_entropy(self.net(images), labels)
        self.optimizer.zero_grad(set_to_none=self.graph is None)
        loss.backward()
        self.optimizer.step()

    def capture(self):
        self.held = tuple(t.clone() for t in self.next_batch())
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.train(*self.held)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            F.cross_entropy(self.net(self.held[0]), self.held[1]).backward()
            self.optimizer.step()
        self.graph = graph

    def step(self):
        images, labels = self.next_batch()
        if self.graph is None:
            return self.train(images, labels)
        self.held[0].copy_(images)
        self.held[1].copy_(labels)
        self.graph.replay()

    def finish(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def round(self, seconds):
        allow_tf32(self.tf32)
        self.step()
        self.finish()
        steps, start = 1, time.perf_counter()
        while True:
            begin = time.perf_counter()
            for _ in range(steps):
                self.step()
            self.finish()
            now = time.perf_counter()
            if now - start >= seconds:
                return self.batch * steps / (now - begin)
            steps *= 2


def contestants(device):
    """The options of each contestant, by name."""
    if device == "cpu":
        return {"PyTorch, NCHW": {}, "PyTorch, channels_last": {"channels_last": True}}
    return {
        "PyTorch, eager": {},
        "PyTorch, eager, TF32": {"tf32": True},
        "PyTorch, CUDA graph": {"graph": True},
        "PyTorch, CUDA graph, TF32": {"graph": True, "tf32": True},
    }


def attempt(action):
    """The result of an action and None, or None and a line that says why there is none."""
    try:
        return action(), None
    except Exception as error:
        return None, " ".join(f"{type(error).__name__}: {error}".split())[:200]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="convnetjs-mnist")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    group, missing = [], {}
    for name, options in contestants(args.device).items():
        contestant, why = attempt(lambda: Contestant(name, args.preset, args.batch_size, args.device, **options))
        if why is None:
            group.append(contestant)
        else:
            missing[name] = why
    greeting = {"version": torch.__version__, "threads": torch.get_num_threads(), "missing": missing}
    print(json.dumps(greeting), flush=True)
    for _ in sys.stdin:
        answers = {}
        for contestant in list(group):
            speed, why = attempt(lambda: contestant.round(args.seconds))
            answers[contestant.name] = speed if why is None else why
            if why is not None:
                group.remove(contestant)
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
