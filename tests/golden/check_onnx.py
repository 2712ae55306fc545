"""Runs exported ONNX files in ONNX Runtime and compares with what Glassnet computed.

    pip install onnx onnxruntime safetensors numpy
    GLASSNET_PYTHON=python cargo test --test onnx           # exports networks, then runs this script
    python tests/golden/check_onnx.py target/tmp/onnx       # runs it again on what that left

The folder holds NAME.onnx and NAME.safetensors: `input` [N,C,H,W], `logits` and maybe
`probabilities` [N,O], as Glassnet's reference computed them. Each model goes through onnx's checker
with full shape inference, then sees all N examples at once and each one alone. A difference counts
against the tensor's largest value where that is above 1. Exits with 1 where one is above 1e-5.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TOLERANCE = 1e-5


def difference(got, want):
    assert got.shape == want.shape and got.dtype == want.dtype, (got.shape, want.shape, got.dtype)
    return np.abs(got - want).max() / max(1.0, np.abs(want).max())


def check(path):
    """The largest difference of each output, over the whole batch and over single examples."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ours = load_file(path.with_suffix(".safetensors"))
    images = ours.pop("input")
    outputs = [output.name for output in session.get_outputs()]
    assert set(outputs) == set(ours), (outputs, list(ours))
    for output in session.get_outputs():
        assert output.shape == ["N", ours[output.name].shape[1]], output.shape
    worst = dict.fromkeys(outputs, 0.0)
    for rows in [slice(None)] + [slice(i, i + 1) for i in range(len(images))]:
        for name, got in zip(outputs, session.run(outputs, {"input": images[rows]})):
            # A NaN is larger than all else.
            worst[name] = np.maximum(worst[name], difference(got, ours[name][rows]))
    return worst, len(images), np.abs(ours["logits"]).max()


def main(folder):
    paths = sorted(Path(folder).glob("*.onnx"))
    if not paths:
        raise SystemExit(f"no .onnx files in {folder}")
    print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    failed = []
    for path in paths:
        worst, count, largest = check(path)
        print(f"{path.stem:20} batches of {count} and 1, largest logit {largest:.2f}, differences: "
              + ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
        failed += [f"{path.stem}: {name}" for name, value in worst.items() if not value <= TOLERANCE]
    if failed:
        raise SystemExit(f"above {TOLERANCE}: " + ", ".join(failed))
    print(f"{len(paths)} models agree to {TOLERANCE}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
