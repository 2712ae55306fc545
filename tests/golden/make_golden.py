"""Makes the golden values that every executor must reproduce: PyTorch's, computed in float64.

    pip install torch safetensors numpy
    python tests/golden/make_golden.py

Reads each NAME.toml beside this file and writes, beside it too, NAME.safetensors (one forward and
backward pass) and NAME_training.safetensors (ten updates with each optimizer); then
augmented.safetensors, crops.safetensors and
explanations.safetensors. README.md describes the tensors. Needs Python 3.11 or
newer; takes about half a minute and has no options.

Images and first weights are rounded to float32 before anything is computed from them, so that an
executor in f32 starts from the very same numbers. Seeds are tried in order until no ReLU input is
near zero, no max-pool window is near a tie and no weight under L1 decay is near zero: an f32 executor
cannot take another branch.
"""

import math
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
BATCH_SIZES = [4, 4, 4, 4, 3, 4, 4, 4, 4, 4]  # the partial batch stands where later losses feel it
MARGIN = 1e-5  # distance from a kink or a tie; ten times what rounding to f32 moves a sum here

# network -> examples in the single pass, mean of each conv's bias, is the margin kept in training.
# The first conv's bias is high, so that no pool window is all zeros after ReLU, and higher yet where scores
# have to be far enough apart for some margins of a hinge to be kept. The MNIST network meets a million ReLU
# inputs while training: some come near zero, too small a share of any sum to show.
NETWORKS = {
    "small_a": (4, [0.5], True),
    "small_b": (4, [0.1, -0.3], True),
    "zoo": (4, [0.1, 0.1], True),
    "spread": (4, [0.1, 0.1, 0.1, 0.1], True),
    "blocks": (4, [0.1, 0.1, 0.1, 0.1, 0.1], True),
    "hinge": (4, [1.0], True),
    "mse": (4, [0.1], True),
    "number": (4, [0.1], True),
    "dropped": (4, [0.1, 0.1], True),
    "convnetjs_mnist": (2, [0.6, 0.3], False),
}

# optimizer -> torch's optimizer, its arguments, l2 decay, l1 decay.
# Adadelta has the decay of the MNIST preset. The others have a larger one: 5e-5 would be too small
# to see whether it is halved, forgotten, or applied to biases. AdamW multiplies it by the rate.
# With these L1 decays no weight of the strict networks comes near 0, where its sign would hang on rounding.
OPTIMIZERS = {
    "adadelta": (torch.optim.Adadelta, dict(lr=1.0, rho=0.95, eps=1e-8), 5e-5, 0.0),
    "adam": (torch.optim.Adam, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8), 1e-2, 0.0),
    "sgd": (torch.optim.SGD, dict(lr=0.01), 1e-2, 0.0),
    "momentum": (torch.optim.SGD, dict(lr=0.01, momentum=0.9), 1e-2, 0.0),
    "nesterov": (torch.optim.SGD, dict(lr=0.003, momentum=0.9, nesterov=True), 1e-2, 0.0),
    "adagrad": (torch.optim.Adagrad, dict(lr=0.01, eps=1e-10), 1e-2, 0.0),
    "windowgrad": (torch.optim.RMSprop, dict(lr=1e-3, alpha=0.9, eps=1e-8), 1e-2, 0.0),
    "adamw": (torch.optim.AdamW, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8), 0.5, 0.0),
    "l1": (torch.optim.SGD, dict(lr=0.01), 0.0, 3e-3),
    "l1_adamw": (torch.optim.AdamW, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8), 0.5, 0.025),
    "clipped": (torch.optim.SGD, dict(lr=0.1, momentum=0.9), 1e-2, 0.0),
    "averaged": (torch.optim.SGD, dict(lr=0.03, momentum=0.9), 1e-2, 0.0),
}

# The largest norm of a gradient that "clipped" leaves.
CLIP_NORM = 2.2
# The decay of the moving average that "averaged" ends with: ten updates see its warm-up and the decay itself.
EMA = 0.35

# These stand in one network's file only.
IN_SPREAD = ("clipped", "averaged")


def optimizers_of(name):
    return [t for t in OPTIMIZERS if t not in IN_SPREAD or name == "spread"]


# What our draws in training depend on besides the step.
SEED = 7

# What a network ends in.
LOSSES = ("softmax", "hinge", "mse")

# ---- our draws ------------------------------------------------------------------------------

def pcg3d(*words):
    """Jarzynski and Olano's hash of three words, each a tensor of whole numbers or one number."""
    wrap = lambda v: v & 0xffff_ffff

    def times(a, b):  # in halves, which int64 holds
        return wrap(a * (b & 0xffff) + (wrap(a * (b >> 16)) << 16))

    def mix(x, y, z):
        x = wrap(x + times(y, z))
        y = wrap(y + times(z, x))
        return x, y, wrap(z + times(x, y))

    x, y, z = (wrap(times(torch.as_tensor(v), 1_664_525) + 1_013_904_223) for v in words)
    x, y, z = (v ^ v >> 16 for v in mix(x, y, z))
    return mix(x, y, z)


def kept(shape, rate, layer, step):
    """Which values of an NCHW tensor dropout keeps, by their places in NHWC."""
    n, c, *sides = shape
    stream = 0xc2b2_ae35 ^ layer * 0x9e37_79b1 & 0xffff_ffff
    draws = pcg3d(SEED ^ stream, step, torch.arange(math.prod(shape)))[0] >> 8
    places = draws.reshape(n, *sides, c).movedim(-1, 1)
    return places >= int(rate * 2**24)


# ---- augmentation ---------------------------------------------------------------------------

# What takes pixels to anywhere between others.
MOVES = ("rotation", "scale", "shear", "shift")
AUGMENTED_STEP = 5


def even(word, limit):
    """The upper 24 bits of a word, evenly within the limit, which the kernels have as float32."""
    return ((word >> 8) / 2**23 - 1) * torch.tensor(limit).float().double()


def movement(table, n, height, width):
    """Where example n's pixels (x, y, 1) go: scaled, slanted, turned around the middle, shifted."""
    first, second = (pcg3d(SEED ^ stream, AUGMENTED_STEP, n) for stream in (0x5bd1_e995, 0x9e37_79b9))
    angle = even(first[0], math.radians(table["rotation"]))
    slant = even(first[1], math.radians(table["shear"])).tan()
    tall, wide = (1 + even(word, table["scale"]) for word in (first[2], second[0]))
    down, right = (even(word, table["shift"]) for word in second[1:])
    matrix = lambda *rows: torch.tensor(rows, dtype=torch.double)
    middle = matrix((1, 0, (width - 1) / 2), (0, 1, (height - 1) / 2), (0, 0, 1))
    scaled = matrix((wide, 0, 0), (0, tall, 0), (0, 0, 1))
    slanted = matrix((1, slant, 0), (0, 1, 0), (0, 0, 1))
    turned = matrix((angle.cos(), -angle.sin(), 0), (angle.sin(), angle.cos(), 0), (0, 0, 1))
    shifted = matrix((1, 0, right), (0, 1, down), (0, 0, 1))
    return shifted @ middle @ turned @ slanted @ scaled @ middle.inverse()


def warp(image, move):
    """[H,W,C] bytes, each pixel sampled from where `move` brings it from; black outside."""
    height, width, channels = image.shape
    # From affine_grid's coordinates, -1 to 1 from the first pixel's middle to the last one's, to pixels.
    pixels = torch.tensor([[(width - 1) / 2, 0, (width - 1) / 2], [0, (height - 1) / 2, (height - 1) / 2], [0, 0, 1]],
                          dtype=torch.double)
    theta = pixels.inverse() @ move.inverse() @ pixels
    grid = F.affine_grid(theta[None, :2], (1, channels, height, width), align_corners=True)
    planes = image.double().permute(2, 0, 1)[None]
    return F.grid_sample(planes, grid, "bilinear", "zeros", align_corners=True)[0].permute(1, 2, 0)


def augment(table, image, label, n, height, width):
    """Example n as the network gets it in training: padded, moved, cropped, mirrored."""
    pad = table["pad"]
    image = F.pad(image, (0, 0, pad, pad, pad, pad))
    image = warp(image, movement(table, n, *image.shape[:2]))
    y, x, _ = pcg3d(SEED, AUGMENTED_STEP, n)
    y, x = y % (image.shape[0] - height + 1), x % (image.shape[1] - width + 1)
    image = image[y:y + height, x:x + width]
    flips = label in table["flip"] and pcg3d(SEED ^ 0x27d4_eb2f, AUGMENTED_STEP, n)[0] >> 31
    return torch.flip(image, [1]) if flips else image


def make_augmented():
    """Images, and what training with each variation of augmented.toml alone, with none and with all makes of them."""
    document = tomllib.loads((HERE / "augmented.toml").read_text())
    full, layer = document["augmentation"], document["layers"][0]
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (5, 12, 10, layer["channels"]), generator=rng).to(torch.uint8)
    labels = torch.arange(5) % 3
    still = dict.fromkeys(MOVES, 0.0) | {"pad": 0, "flip": []}
    tables = {"crop": still} | {name: still | {name: full[name]} for name in full} | {"all": full}
    tensors = {"images": images, "labels": labels, "step": torch.tensor(AUGMENTED_STEP), "seed": torch.tensor(SEED)}
    for name, table in tables.items():
        rows = [augment(table, image, int(label), n, layer["height"], layer["width"])
                for n, (image, label) in enumerate(zip(images, labels))]
        tensors[name] = torch.stack(rows) / 255 - 0.5
    mirrored = (tensors["flip"] != tensors["crop"]).flatten(1).any(1)
    print(f"augmented: mirrored {mirrored.tolist()}")
    assert mirrored.any() and not mirrored[labels != 1].all(), "some of those that may be are mirrored"
    save("augmented", tensors)


# ---- networks -------------------------------------------------------------------------------

def read_network(name):
    """NAME.toml as a list of (layer name, table): shorthands spelled out, numbered per kind.

    Every table says "from" which layer its input comes, and that of a residual which is "added".
    """
    layers, count = [], {}

    def add(table, source):
        """Appends what a table stands for, fed by `source`; the name of the last layer of it."""
        stems = {"max-pool": "pool", "avg-pool": "pool", "global-avg-pool": "pool", "leaky-relu": "leaky",
                 "batch-norm": "norm"}
        kind = stems.get(table["type"], table["type"])
        if kind == "residual":
            body = add_all(table["layers"], source)
            table = table | {"added": add_all(table.get("shortcut", []), source)}
            source = body
        count[kind] = count.get(kind, 0) + 1
        numbered = kind not in ("input", *LOSSES)
        name = f"{kind}{count[kind]}" if numbered else kind
        layers.append((name, table | {"from": source}))
        return add({"type": table["activation"]}, name) if "activation" in table else name

    def add_all(tables, source):
        for table in tables:
            source = add(table, source)
        return source

    add_all(tomllib.loads((HERE / f"{name}.toml").read_text())["layers"], None)
    return layers


def forward(layers, params, x, step=None, outputs=None):
    """Every layer's output, in order, as PyTorch has them (NCHW). A step of training moves the running statistics."""
    outputs = dict(outputs or {})
    training = step is not None
    for i, (name, t) in enumerate(layers):
        x = outputs.get(t["from"], x)
        weight, bias = params.get(f"{name}.weight"), params.get(f"{name}.bias")
        match t["type"]:
            case "conv":
                x = F.conv2d(x, weight, bias, t["stride"], t["pad"], t.get("dilation", 1), t.get("groups", 1))
            case "relu": x = F.relu(x)
            case "leaky-relu": x = F.leaky_relu(x, t.get("slope", 0.01))
            case "sigmoid": x = F.sigmoid(x)
            case "tanh": x = F.tanh(x)
            case "avg-pool": x = F.avg_pool2d(x, t["size"], t["stride"], t["pad"], count_include_pad=False)
            case "global-avg-pool": x = x.mean((2, 3), keepdim=True)
            case "batch-norm":
                mean, variance = params[f"{name}.running_mean"], params[f"{name}.running_var"]
                x = F.batch_norm(x, mean, variance, weight, bias, training, t.get("momentum", 0.1), t.get("epsilon", 1e-5))
            case "residual": x = x + outputs[t["added"]].reshape(x.shape)
            case "lrn": x = F.local_response_norm(x, t["size"], t["alpha"], t["beta"], t["k"])
            case "maxout": x = x.unflatten(1, (-1, t["group"])).max(2).values
            case "dropout" if training: x = x * kept(x.shape, t["rate"], i, step) / (1 - t["rate"])
            case "dropout": x = x.clone()
            case "max-pool": x = F.max_pool2d(x, t["size"], t["stride"], t["pad"])
            case "fc": x = F.linear(x.flatten(1), weight, bias)
            case "softmax": x = F.softmax(x, dim=1)
            case "hinge" | "mse": x = x.clone()  # scores as they are, with a gradient of their own
        outputs[name] = x
    return outputs


def mean_loss(layers, outputs, labels, training=False):
    """Mean over the batch of the network's own loss."""
    name, t = layers[-1]
    y = outputs[name]
    match t["type"]:
        case "softmax" if training and "label_smoothing" in t:
            return F.cross_entropy(outputs[t["from"]], labels, label_smoothing=t["label_smoothing"])
        # -log p[label], through the probabilities, so that they get a gradient.
        case "softmax": return -y.gather(1, labels[:, None]).log().mean()
        # PyTorch divides the sum over the other classes by the number of classes; margin 1.
        case "hinge": return F.multi_margin_loss(y, labels) * y.shape[1]
        case "mse" if t.get("targets") == "number": return F.mse_loss(y[:, 0], labels.to(y.dtype)) / 2
        case "mse": return F.mse_loss(y, F.one_hot(labels, y.shape[1]).to(y.dtype), reduction="sum") / 2 / len(y)


def first_params(layers, conv_bias, rng):
    """Random weights (normal, sqrt(2 / fan-in)) and biases, float32 values held as float64."""
    t = layers[0][1]
    biases, params, outputs = iter(conv_bias), {}, {}
    image = torch.zeros(1, t["channels"], t["height"], t["width"], dtype=torch.double)
    for name, t in layers:
        shape = outputs.get(t["from"], image).shape[1:]
        if t["type"] == "batch-norm":
            tensors = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
            params |= {f"{name}.{what}": (start + 0.3 * (torch.rand(shape[0], generator=rng) - 0.5)).double()
                       for what, start in tensors.items()}
        if t["type"] in ("conv", "fc"):
            conv = t["type"] == "conv"
            outs = t["filters"] if conv else t["outputs"]
            ins = (shape[0] // t.get("groups", 1), *t["kernel"]) if conv else (math.prod(shape),)
            weight = torch.randn(outs, *ins, generator=rng) * math.sqrt(2 / math.prod(ins))
            bias = 0.1 * torch.randn(outs, generator=rng) + (next(biases) if conv else 0.0)
            params |= {f"{name}.weight": weight.double(), f"{name}.bias": bias.double()}
        outputs = forward([(name, t)], params, image, outputs=outputs)
    numbers = layers[-1][1].get("targets") == "number"
    return params, 10 if numbers else outputs[name].shape[1]


def examples(layers, classes, n, rng):
    """Noise: constant areas, which real digits have, would tie in every pool window."""
    t = layers[0][1]
    images = torch.randint(0, 256, (n, t["height"], t["width"], t["channels"]), generator=rng)
    return images.to(torch.uint8), torch.randint(0, classes, (n,), generator=rng)


def network_input(images, dtype=torch.double):
    """[N,H,W,C] bytes -> x/255 - 0.5, rounded to float32, as NCHW."""
    return (images.double() / 255 - 0.5).float().to(dtype).permute(0, 3, 1, 2).contiguous()


def margin(layers, outputs, labels, zeros_tie):
    """Smallest distance from a kink or a tie: |ReLU input|, the gap between the two largest values of a pool window,
    |s_j - s_label + 1| of a hinge.

    A window of zeros is a tie only where `zeros_tie`: the ReLU below stops its gradient anyway.
    """
    smallest = math.inf
    for name, t in layers:
        below = outputs[t["from"]].detach() if t["from"] else None
        if t["type"] in ("relu", "leaky-relu"):
            smallest = min(smallest, below.abs().min().item())
        if t["type"] == "maxout":
            first, second = below.unflatten(1, (-1, t["group"])).topk(2, 2).values.unbind(2)
            smallest = min(smallest, (first - second).min().item())
        if t["type"] == "hinge":
            kinks = below - below.gather(1, labels[:, None]) + 1
            smallest = min(smallest, kinks.abs().min().item())  # the label's own is 1
        if t["type"] == "max-pool":
            padded = F.pad(below, [t["pad"]] * 4, value=-math.inf)
            windows = padded.unfold(2, t["size"], t["stride"]).unfold(3, t["size"], t["stride"])
            first, second = windows.flatten(4).topk(2).values.unbind(-1)
            gap = (first - second)[(first != 0) | zeros_tie]
            assert len(gap) > 0, f"nothing is left alive under {name}"
            smallest = min(smallest, gap.min().item())
    return smallest


# ---- golden values --------------------------------------------------------------------------

def nhwc(x):
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


def leaves(first, dtype):
    """Copies: an optimizer writes into its parameters."""
    return {k: v.to(dtype, copy=True).requires_grad_("running" not in k) for k, v in first.items()}


def one_pass(layers, first, images, labels, dtype=torch.double):
    """Everything one forward and backward pass makes, and its margin."""
    params = leaves(first, dtype)
    outputs = forward(layers, params, network_input(images, dtype).requires_grad_())
    for x in outputs.values():
        x.retain_grad()
    loss = mean_loss(layers, outputs, labels)
    loss.backward()
    result = {"loss": loss.detach()}
    for name, x in outputs.items():
        result[f"{name}.activation"] = nhwc(x.detach())
        result[f"{name}.activation_gradient"] = nhwc(x.grad)
    for name, p in params.items():
        result |= {name: p.detach()} | ({f"{name}_gradient": p.grad} if p.requires_grad else {})
    return result, margin(layers, outputs, labels, zeros_tie=True)


def train(optimizer, layers, first, images, labels, dtype=torch.double):
    """Losses before each update, the weights after the last one, and the smallest margin met."""
    kind, arguments, l2, l1 = OPTIMIZERS[optimizer]
    params = leaves(first, dtype)
    weights = [p for k, p in params.items() if k.endswith("weight")]
    rate = {name: t.get("rate_factor", 1.0) for name, t in layers}
    # What normalisation scales by does not decay unless it is asked to.
    decay = {name: t.get("decay_factor", float(t["type"] != "batch-norm")) for name, t in layers}
    layer = lambda k: k.split(".")[0]
    own_decay = [decay[layer(k)] for k in params if k.endswith("weight")]
    own_rate = [arguments["lr"] * rate[layer(k)] for k in params if k.endswith("weight")]
    groups = [{"params": [p], "lr": arguments["lr"] * rate[layer(k)],
               "weight_decay": l2 * decay[layer(k)] if k.endswith("weight") else 0.0} for k, p in params.items()
              if p.requires_grad]
    optimizer = kind(groups, **arguments)
    losses, decay_losses, smallest, clipped = [], [], math.inf, 0
    module = torch.nn.ParameterList(params.values())
    warm_up = lambda average, value, n: torch.lerp(value, average, min(EMA, n / (9 + n)))
    averaged = torch.optim.swa_utils.AveragedModel(module, avg_fn=warm_up)
    averaged.update_parameters(module)  # the first call copies; n counts it
    batches = zip(images.split(BATCH_SIZES), labels.split(BATCH_SIZES))
    for step, (image, label) in enumerate(batches):
        optimizer.zero_grad()
        outputs = forward(layers, params, network_input(image, dtype), step)
        loss = mean_loss(layers, outputs, label, training=True)
        loss.backward()
        smallest = min(smallest, margin(layers, outputs, label, zeros_tie=False))
        with torch.no_grad():
            losses.append(loss.item())
            if optimizer == "clipped":
                norm = torch.nn.utils.clip_grad_norm_(list(params.values()), CLIP_NORM)
                clipped += (norm > CLIP_NORM).item()
            decay_losses.append(sum(d * (l2 / 2 * w.square() + l1 * w.abs()).sum().item()
                                    for d, w in zip(own_decay, weights)))
            pulls = [d * l1 * w.sign() for d, w in zip(own_decay, weights)]
            if l1 > 0 and step > 0:  # first weights are the same in f32
                smallest = min(smallest, *(w.abs().min().item() for d, w in zip(own_decay, weights) if d > 0))
            beside = kind is torch.optim.AdamW
            for w, pull in zip(weights, pulls):
                w.grad += 0 if beside else pull
        optimizer.step()
        with torch.no_grad():
            for r, w, pull in zip(own_rate, weights, pulls):
                w -= r * pull if beside else 0
        averaged.update_parameters(module)
    assert optimizer != "clipped" or 0 < clipped < len(losses), f"{clipped} of {len(losses)} gradients are clipped"
    result = {"losses": losses, "decay_losses": decay_losses, "l1_decay": l1, "l2_decay": l2}
    result |= {"learning_rate": arguments["lr"]}
    result = {k: torch.tensor(v, dtype=torch.double) for k, v in result.items()}
    if optimizer == "averaged":
        assert 1 / 10 < EMA < len(losses) / (9 + len(losses)), "both the warm-up and the decay take part"
        params = dict(zip(params, averaged.module))
    result |= {k: p.detach() for k, p in params.items()}
    return {f"{optimizer}.{k}": v for k, v in result.items()}, smallest


def make(name):
    n, conv_bias, strict = NETWORKS[name]
    layers = read_network(name)
    for seed in range(10_000):
        rng = torch.Generator().manual_seed(seed)
        first, classes = first_params(layers, conv_bias, rng)
        images, labels = examples(layers, classes, n, rng)
        single, single_margin = one_pass(layers, first, images, labels)
        if single_margin < MARGIN:
            continue
        batches = examples(layers, classes, sum(BATCH_SIZES), rng)
        runs = {t: train(t, layers, first, *batches) for t in optimizers_of(name)}
        training_margin = min(m for _, m in runs.values())
        if training_margin >= MARGIN or not strict:
            break
    else:
        raise SystemExit(f"{name}: no seed keeps a margin of {MARGIN}")
    training = {k: v for values, _ in runs.values() for k, v in values.items()}
    print(f"{name}: seed {seed}, margin {single_margin:.1e}, while training {training_margin:.1e}")
    sanity(name, layers, single, training)
    report_f32(name, layers, first, images, labels, batches, single, training)
    save(name, single | {"images": images, "labels": labels})
    sizes = torch.tensor(BATCH_SIZES)
    save(f"{name}_training", training | dict(zip(("images", "labels"), batches)) | {"batch_sizes": sizes})


def sanity(name, layers, single, training):
    """Values that exercise nothing would prove nothing."""
    for layer, t in layers:
        if t["type"] == "relu":
            zeros = (single[f"{layer}.activation"] == 0).double().mean().item()
            print(f"  {layer}: {zeros:.0%} of the units are zero")
            assert 0.03 < zeros < 0.97, (name, layer)
    if name == "hinge":
        # Each class but the label's adds 1 to the label's gradient where its margin is too small.
        kept = (single["hinge.activation_gradient"] == 0).double().mean().item()
        print(f"  hinge: {kept:.0%} of the scores keep their distance")
        assert 0.1 < kept < 0.7, name
    if name == "small_b":
        border = single["pool1.activation"][:, 0]
        assert (border < 0).any(), "padding with zero would not show"
    for t in optimizers_of(name):
        losses = training[f"{t}.losses"]
        assert losses[0] == training["adam.losses"][0], "every optimizer starts from the same weights"
        print(f"  {t}: " + " ".join(f"{x:.6f}" for x in losses.tolist()))
    for key, value in (single | training).items():
        assert value.isfinite().all(), key


def report_f32(name, layers, first, images, labels, batches, single, training):
    """How far torch itself strays in float32: what an f32 executor may be held to."""
    def worst(a, b, keys):
        scale = lambda k: b[k].abs().max().clamp(min=1e-30)
        return max(((a[k].double() - b[k]).abs().max() / scale(k)).item() for k in keys)

    f32, _ = one_pass(layers, first, images, labels, torch.float)
    gradients = [k for k in single if k.endswith("gradient")]
    others = [k for k in single if k not in gradients]
    print(f"  f32: activations {worst(f32, single, others):.1e}, "
          f"gradients {worst(f32, single, gradients):.1e}", end="")
    for t in optimizers_of(name):
        f32, _ = train(t, layers, first, *batches, torch.float)
        params = [f"{t}.{k}" for k in first]
        print(f", {t} losses {worst(f32, training, [f'{t}.losses']):.1e} "
              f"weights {worst(f32, training, params):.1e}", end="")
    print("  (largest error / largest value, worst tensor)")


def save(name, tensors):
    """float32, but for bytes, integers and the scalars and losses of training."""
    f64 = ("losses", "_decay", "learning_rate")
    keep = lambda k, v: not v.is_floating_point() or k.endswith(f64)
    tensors = {k: (v if keep(k, v) else v.float()).contiguous() for k, v in tensors.items()}
    # One key only: safetensors does not order its metadata, and the file would differ every time.
    made_by = {"made_by": f"make_golden.py, torch {torch.__version__.split('+')[0]}"}
    save_file(tensors, HERE / f"{name}.safetensors", metadata=made_by)


def make_crops():
    """The mean of what the MNIST network makes of five crops of each image: the middle, then the corners."""
    weights = load_file(HERE / "convnetjs_mnist.safetensors")
    params = {k: v.double() for k, v in weights.items() if k.endswith((".weight", ".bias"))}
    layers, rng = read_network("convnetjs_mnist"), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 28, 28, 1), generator=rng).to(torch.uint8)
    labels = torch.randint(0, 10, (3,), generator=rng)
    crops = [images[:, y:y + 24, x:x + 24] for y, x in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))]
    probabilities = torch.stack([forward(layers, params, network_input(crop))["softmax"] for crop in crops]).mean(0)
    loss = F.nll_loss(probabilities.log(), labels)
    save("crops", {"images": images, "labels": labels, "probabilities": probabilities, "loss": loss})


# network -> the layer whose maps Grad-CAM weighs: that of the last convolution or block, behind its activation.
EXPLAINED = {"zoo": "maxout1", "blocks": "residual3", "hinge": "leaky1", "mse": "tanh1", "number": "tanh1",
             "convnetjs_mnist": "relu2"}


def occluded(image, size, stride):
    """The image with a square of its mean colour over each cell of stride pixels, row by row."""
    channels, height, width = image.shape
    colour = (image.double().mean((1, 2)) + 0.5).floor()
    for top in range(0, height, stride):
        for left in range(0, width, stride):
            hidden = image.clone()
            first = [max(at + stride // 2 - size // 2, 0) for at in (top, left)]
            last = [at + stride // 2 - size // 2 + size for at in (top, left)]
            hidden[:, first[0]:last[0], first[1]:last[1]] = colour[:, None, None].to(image.dtype)
            yield hidden


def make_explanations():
    """Of each image's winning logit: the gradient with respect to the input, Grad-CAM, and what hiding squares does."""
    made = {}
    for name, maps in EXPLAINED.items():
        layers, file = read_network(name), load_file(HERE / f"{name}.safetensors")
        params = {k: v.double() for k, v in file.items() if k.endswith((".weight", ".bias", "running_mean", "running_var"))}
        scores = layers[-1][0]
        for i, image in enumerate(file["images"].permute(0, 3, 1, 2)):
            enter = lambda images: network_input(images.permute(0, 2, 3, 1))
            outputs = forward(layers, params, enter(image[None]).requires_grad_())
            logits = outputs[layers[-1][1]["from"]]
            winner = logits.argmax().item()
            gap = logits.flatten().topk(2).values.diff().abs().item() if logits.numel() > 1 else 1
            assert gap > MARGIN, f"{name}: two logits are alike"
            gradient, weights = torch.autograd.grad(logits[0, winner], [outputs[layers[0][0]], outputs[maps]])
            cam = (outputs[maps] * weights.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu()
            large = F.interpolate(cam, image.shape[1:], mode="bilinear", align_corners=False)
            size = min(image.shape[1:]) // 4
            hidden = torch.stack([image, *occluded(image, size, max(size // 3, 1))])
            answers = forward(layers, params, enter(hidden))[scores][:, winner].detach()
            rows = -(-image.shape[1] // max(size // 3, 1))
            tensors = {"saliency": nhwc(gradient)[0], "grad_cam": cam[0, 0], "grad_cam_enlarged": large[0, 0],
                       "occlusion": (answers[1:] - answers[0]).reshape(rows, -1),
                       "winner": torch.tensor([winner])}
            made |= {f"{name}.{i}.{k}": v.detach() for k, v in tensors.items()}
        alive = sum((made[f"{name}.{i}.grad_cam"] > 0).any().item() for i in range(len(file["images"])))
        print(f"{name}: Grad-CAM shows something in {alive} of {len(file['images'])} images")
        assert alive > 0, name
    save("explanations", made)


def lecture_example():
    """Sharpening a 5x5 image, the worked example of a lecture on convolution."""
    image = torch.tensor([[60, 113, 56, 139, 85], [73, 121, 54, 84, 128], [131, 99, 70, 129, 127],
                          [80, 57, 115, 69, 134], [104, 126, 123, 95, 130]], dtype=torch.double)
    kernel = torch.tensor([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], dtype=torch.double)
    for stride in (1, 2):
        out = F.conv2d(image[None, None], kernel[None, None], stride=stride, padding=1)[0, 0].long()
        assert out[0, 0] == 114
        print(f"sharpened, stride {stride}:")
        print("\n".join(" ".join(f"{v:4}" for v in row) for row in out.tolist()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"torch {torch.__version__}")
    lecture_example()
    for network in NETWORKS:
        make(network)
    make_augmented()
    make_crops()
    make_explanations()
