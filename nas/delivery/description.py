"""What the delivered files say of themselves: how a picture becomes an input, and what outputs are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.delivery.options import Delivery
from nas.training.pictures import PictureSet
from nas.training.recipe import Recipe

__all__ = ["as_input", "in_words", "label_lines", "preprocessing", "square"]


def in_words(recipe: Recipe, start: str) -> str:
    """How a network was trained.

    Args:
        start: what the training began with.
    """
    epochs = f"{recipe.epochs} epochs" if recipe.steps is None else f"{recipe.steps} updates"
    return f"start {start}, {epochs}, batch {recipe.batch}, {recipe.describe()}"


def label_lines(class_names: Sequence[str]) -> list[str]:
    """The names of the classes, each of which is one line."""
    return [" ".join(name.encode(errors="replace").decode().split()) for name in class_names]


def square(path: Path, picture: Mapping[str, Any]) -> np.ndarray:
    """A picture as the rule ``picture`` of `preprocessing` wants it: (px, px, C) uint8.

    Raises:
        nas.training.sources.DataError: it cannot be read.
    """
    from nas.training.sources import images

    px = picture["resolution_px"]
    if picture["resize"] == "shorter_side":
        image = images.decode(path, str(path), px, resize_px=picture.get("resize_px"))
    else:
        image = images.stretched(path, str(path), px)
    if picture["mode"] == "RGB":
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).convert(picture["mode"]))[..., None]


def as_input(images: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """Images (N, H, W, C) uint8 as the graph takes them that says `how` of its input, as `preprocessing` has it."""
    if how["type"] == "uint8":
        return images
    mean, std = (np.array(how[name], np.float32) for name in ("then_subtract", "then_divide_by"))
    return ((images.astype(np.float32) / how["divide_by"] - mean) / std).transpose(0, 3, 1, 2)


def preprocessing(data: PictureSet, options: Delivery) -> dict[str, Any]:
    """What a program has to do with a picture, for ``best.onnx`` and for ``best.safetensors``."""
    rule, px, channels = data.preprocessing, data.resolution_px, data.channels
    planes = {
        "layout": "NCHW",
        "type": "float32",
        "divide_by": rule.divide_by,
        "then_subtract": rule.mean,
        "then_divide_by": rule.std,
    }
    n = options.batch or "N"
    if options.input == "uint8":
        its = {
            "input": "image",
            "shape": [n, px, px, channels],
            "layout": "NHWC",
            "type": "uint8",
            "values": "0 to 255, as they are: the graph normalises them",
        }
    else:
        its = {"input": "input", "shape": [n, channels, px, px], **planes}
    return {
        "trained_on": data.name,
        "picture": {
            "mode": rule.mode,
            "resize": rule.resize,
            "filter": rule.filter,
            "resize_px": rule.resize_px,
            "resolution_px": px,
            "upright": "turned as its EXIF orientation says",
            "transparent": "white",
        },
        "best.onnx": {
            **its,
            "output": "output",
            "output_values": "logits of the classes, in the order of labels.txt",
        },
        "best.safetensors": {"shape": ["N", channels, px, px], **planes},
        "labels": "labels.txt",
    }
