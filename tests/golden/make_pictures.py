#!/usr/bin/env python3
"""Writes pictures.json: small pictures of many kinds, what Pillow reads in them, and its verdict on damaged ones.

Each picture is a file in base64, with its upright size and the bytes of `convert("L")` after transparency was laid on white;
16-bit grey is divided by 256 first, where Pillow clips. Each damage is a list: the picture, what was done, and whether Pillow
still reads it: "cut" keeps the first n bytes, "end" does so and adds an end marker, "zero" fills up with zeros, "set" replaces
bytes at given places.
"""
import base64, io, json, random, warnings
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageOps

warnings.simplefilter("ignore")
random_bytes = np.random.default_rng(1)
y, x = np.mgrid[0:29, 0:37]
noise = random_bytes.normal(0, 12, (29, 37, 3))
colours = np.stack([x * 6, y * 8, 128 + 60 * np.sin(x / 4 + y / 3)], -1) + noise
rgb = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
grey = rgb.convert("L")
alpha = (y * 9).clip(0, 255).astype(np.uint8)


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


palette = rgb.quantize(40)
FILES = {
    "baseline.jpg": encoded(rgb, "JPEG", quality=90),
    "progressive.jpg": encoded(rgb, "JPEG", quality=90, progressive=True),
    "444.jpg": encoded(rgb, "JPEG", quality=95, subsampling=0),
    "411.jpg": encoded(rgb, "JPEG", subsampling="4:1:1"),
    "grey.jpg": encoded(grey, "JPEG", quality=90),
    "grey_progressive.jpg": encoded(grey, "JPEG", quality=90, progressive=True),
    "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG", quality=95, subsampling=0),
    "restarts.jpg": encoded(rgb, "JPEG", restart_marker_blocks=2),
    "restarts_progressive.jpg": encoded(rgb, "JPEG", progressive=True, restart_marker_rows=1),
    "trailer.jpg": encoded(rgb, "JPEG") + b"phone's trailer \xff\xd8\xff\xe0 \xff\xd9" + bytes(20),
    "exif6.jpg": encoded(rgb, "JPEG", quality=95, subsampling=0, exif=upright(6)),
    "rgb.png": encoded(rgb, "PNG"),
    "grey.png": encoded(grey, "PNG"),
    "grey16.png": encoded(Image.fromarray((x * 1700).astype(np.uint16)), "PNG"),
    "palette.png": encoded(palette, "PNG"),
    "palette_clear.png": encoded(palette, "PNG", transparency=bytes([255] * 10 + [0] * 10 + [128] * 20)),
    "bilevel.png": encoded(grey.convert("1"), "PNG"),
    "grey_alpha.png": encoded(Image.fromarray(np.dstack([np.asarray(grey), alpha]), "LA"), "PNG"),
    "alpha.png": encoded(Image.fromarray(np.dstack([np.asarray(rgb), alpha])), "PNG"),
    "exif3.png": encoded(rgb, "PNG", exif=upright(3)),
}


def luma(file):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    picture = picture.convert("L")
    return picture.size, picture.tobytes()


def reads(file):
    try:
        Image.open(io.BytesIO(file)).load()
        return True
    except Exception:
        return False


def damages(name, file):
    draw = random.Random(name)
    scan = file.index(b"\xff\xda") + 2 if name.endswith("jpg") else file.index(b"IDAT") + 4
    places = sorted({draw.randrange(3, len(file) - 2) for _ in range(14)})
    if name.startswith("trailer"):
        return
    for place in places + [len(file) - 12, len(file) - 3, len(file) - 2, len(file) - 1]:
        yield ["cut", place], file[:place]
        yield ["zero", place], file[:place] + bytes(len(file) - place)
    for place in places:
        yield ["end", place], file[:place] + b"\xff\xd9"
    for count in [1] * 8 + [2, 5, 20]:
        damaged, changes = bytearray(file), []
        for _ in range(count):
            place, value = draw.randrange(scan, len(file) - 2), draw.randrange(256)
            damaged[place] = value
            changes.append([place, value])
        yield ["set", changes], bytes(damaged)


document = {"pillow": PIL.__version__, "files": {}, "damaged": []}
for name, file in FILES.items():
    size, grey_bytes = luma(file)
    kept = base64.b64encode(file).decode(), base64.b64encode(grey_bytes).decode()
    document["files"][name] = {"file": kept[0], "size": size, "luma": kept[1]}
    if name.endswith("jpg") or name in ("rgb.png", "palette.png", "grey.png"):
        for damage, damaged in damages(name, file):
            if damaged != file:
                document["damaged"].append([name, *damage, reads(damaged)])
text = json.dumps(document, separators=(",", ":")).replace('],["', '],\n["').replace('},"', '},\n"')
Path(__file__).with_name("pictures.json").write_text(text + "\n")
verdicts = [damage[-1] for damage in document["damaged"]]
print(len(verdicts), "damaged files, of which Pillow refuses", verdicts.count(False))
