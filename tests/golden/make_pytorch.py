"""Makes the file of weights that PyTorch saved, and what PyTorch computes with them.

    pip install torch safetensors numpy
    python tests/golden/make_pytorch.py

Writes, beside this file, pytorch_small.safetensors: the state_dict of an nn.Sequential with the
layers of pytorch_small.toml, as safetensors saves it and with nothing else in it; and
pytorch_small_outputs.safetensors: `images` U8 [N,H,W,C] and `logits`, `probabilities` F32 [N,O].
"""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent


def main():
    torch.manual_seed(1)
    model = nn.Sequential(OrderedDict([
        ("conv1", nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0))),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d((2, 3), stride=(2, 1), padding=(1, 0))),
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(48, 6)),
        ("tanh1", nn.Tanh()),
        ("fc2", nn.Linear(6, 3)),
    ]))
    images = torch.randint(0, 256, (3, 9, 7, 2), dtype=torch.uint8)
    with torch.no_grad():
        logits = model((images.float() / 255 - 0.5).permute(0, 3, 1, 2))
    save_file(model.state_dict(), HERE / "pytorch_small.safetensors")
    outputs = {"images": images, "logits": logits, "probabilities": logits.softmax(1)}
    save_file(outputs, HERE / "pytorch_small_outputs.safetensors")
    print(logits)


if __name__ == "__main__":
    main()
