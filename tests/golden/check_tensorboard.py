"""Reads event files with TensorBoard and compares them with the rows that Glassnet wrote.

    pip install tensorboard
    GLASSNET_PYTHON=python cargo test --test report         # trains, then runs this script
    python tests/golden/check_tensorboard.py target/tmp/tensorboard   # runs it again on what that left

The folder holds a run's metrics.jsonl and its folder `tensorboard`. Every figure must come back with its
step through TensorBoard's EventAccumulator, no step twice; then a TensorBoard server is started on the
folder and asked for its tags, scalars, pictures and texts. Exits with 1 where anything differs.
"""

import json
import re
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TENSORS = ["activation", "activation_gradient", "weight", "weight_gradient", "bias", "bias_gradient"]


def f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def expected(path):
    """{tag: [(step, value)]} of all rows."""
    series = {}

    def add(tag, step, value):
        if value is not None:
            series.setdefault(tag, []).append((step, f32(value)))

    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "epoch":
            add("loss/validation_whole", row["step"], row["validation_loss"])
            add("accuracy/validation_whole", row["step"], row["validation_accuracy"])
        if row["kind"] != "step":
            continue
        step = row["step"]
        add("loss/training", step, row["classification_loss"])
        add("loss/validation", step, row.get("validation_loss"))
        add("loss/weight_decay", step, row["weight_decay_loss"])
        add("accuracy/training", step, row["training_accuracy"])
        add("accuracy/validation", step, row.get("validation_accuracy"))
        add("learning_rate", step, row["learning_rate"])
        add("images_per_second", step, row["images_per_second"])
        for layer in row["layers"]:
            name = layer["layer"]
            add(f"{name}/update_ratio", step, layer.get("update_ratio"))
            add(f"{name}/dead_units", step, layer.get("dead_units"))
            for tensor in TENSORS:
                for figure in ["min", "max", "mean", "std"]:
                    add(f"{name}/{tensor}/{figure}", step, layer.get(tensor, {}).get(figure))
    return series


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def serve(folder):
    """The tags that a server tells, and what it says of one of each kind."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = None
        for line in server.stderr:
            found = re.search(r"at http://[^:]*:(\d+)", line)
            if found:
                address = f"http://127.0.0.1:{found[1]}/data/plugin/"
                break
        assert address, "the server does not start"

        def ask(what):
            with urllib.request.urlopen(address + what, timeout=30) as answer:
                return json.load(answer)

        # It reads in the background.
        for _ in range(60):
            tags = ask("scalars/tags")
            if "accuracy/test" in tags.get(".", {}):
                break
            time.sleep(0.5)
        scalars = ask("scalars/scalars?run=.&tag=loss%2Ftraining")
        return tags["."], scalars, ask("images/tags")["."], ask("text/tags")["."]
    finally:
        server.terminate()
        server.wait()


def main(folder):
    series = expected(folder / "metrics.jsonl")
    events = read(folder / "tensorboard")
    for tag, points in series.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert found == points, (tag, found, points)
    others = set(events.Tags()["scalars"]) - set(series)
    assert others == {"loss/test", "accuracy/test"}, others
    images = events.Tags()["images"]
    assert "conv1/weight" in images and len(events.Images("conv1/weight")) == 2, images
    print(f"EventAccumulator: {len(series)} series of {sum(map(len, series.values()))} figures, {len(images)} pictures")
    tags, scalars, pictures, texts = serve(folder / "tensorboard")
    assert set(tags) == set(series) | others, set(tags) ^ (set(series) | others)
    assert [(step, value) for _, step, value in scalars] == series["loss/training"], scalars
    assert "conv1/weight" in pictures and "settings" in texts, (pictures, texts)
    print(f"server: {len(tags)} scalars, {len(pictures)} pictures, texts {texts}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
