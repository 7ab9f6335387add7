"""python predict.py [best_int8.onnx] PICTURE...  Classes with probabilities, by numpy, Pillow and onnxruntime."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

graphs = [name for name in sys.argv[1:] if name.endswith(".onnx")] or [str(Path(__file__).with_name("best.onnx"))]
session = onnxruntime.InferenceSession(graphs[0], providers=["CPUExecutionProvider"])
how, labels = (json.loads(session.get_modelmeta().custom_metadata_map[key]) for key in ("preprocess", "labels"))
rule, given, px, unread = how["picture"], how["best.onnx"], how["picture"]["resolution_px"], []
for name in [name for name in sys.argv[1:] if name not in graphs] or sys.exit(__doc__):
    try:
        image = ImageOps.exif_transpose(Image.open(name))
    except OSError as e:
        unread.append(print(f"{name} cannot be read: {e}", file=sys.stderr))
        continue
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray(np.rint(np.asarray(image, np.float32) * (255 / 65535)).astype(np.uint8))
    box = (0, 0, *image.size)
    if rule["resize"] == "shorter_side":  # only the middle is kept
        sides, scale = np.array(image.size), rule["resize_px"] / min(image.size)
        whole = np.maximum(rule["resize_px"], np.rint(sides * scale))
        start = (whole - px) // 2
        box = (*(start * sides / whole), *np.minimum(sides, (start + px) * sides / whole))
    image = image.convert("RGBA").resize((px, px), box=box)  # bicubic is Pillow's own filter
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    x = np.asarray(image.convert(rule["mode"])).reshape(1, px, px, -1)
    if given["type"] == "float32":
        scaled = np.float32(x) / given["divide_by"] - np.float32(given["then_subtract"])
        x = (scaled / np.float32(given["then_divide_by"])).transpose(0, 3, 1, 2)
    at_a_time = given["shape"][0] if given["shape"][0] != "N" else 1
    logits = np.asarray(session.run(None, {given["input"]: np.repeat(x, at_a_time, axis=0)})[0])[0]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(name, *(f"{labels[i]} {shares[i]:.1%}" for i in shares.argsort()[::-1][:5]), sep="\t")
sys.exit(len(unread) > 0)
