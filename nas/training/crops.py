"""How a picture of the training part becomes a square that the network has not seen before.

What happens to a picture depends on a generator of its own, so that the same seed, epoch and place give the same square
wherever and whenever it is made. Pictures are resized by torch, and coloured by Pillow: measured beside kornia in
experiments/augmentation_speed.py.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.training.augment import Augmentation
from nas.training.datasets import Preprocessing
from nas.training.pictures import Pictures
from nas.training.rand_augment import changed

__all__ = ["augmented", "erased", "random_crop", "resized"]

_TRIES = 10  # to draw a rectangle that fits
_ERASED = (0.02, 1 / 3)  # of the area of a square
_ERASED_ASPECT = 1 / 0.3


def augmented(
    part: Pictures, place: int, rule: Preprocessing, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """One picture of `part` as the network is trained on it: (px, px, C) uint8. What is erased, or comes in from
    outside, has the data's mean colour.

    Raises:
        nas.training.sources.DataError: it cannot be read.
    """
    if augmentation.crop_area < 1:
        square = random_crop(part, place, rule.resolution_px, augmentation, rng)
    else:
        square = part.square(place, rule)
    if augmentation.flip and rng.random() < 0.5:
        square = _tensor(square).flip(1).numpy()  # 20 times as fast as numpy's copy
    mean = tuple(round(255 * value) for value in rule.mean)
    if augmentation.colour or augmentation.randaugment:
        square = changed(square, augmentation, mean, rng)
    if augmentation.erasing and rng.random() < augmentation.erasing:
        square = erased(square, mean, rng)
    return square


def random_crop(
    part: Pictures, place: int, px: int, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """A rectangle anywhere in a picture, as a square: (px, px, C) uint8.

    Its area and its aspect ratio are drawn as in Inception (arXiv:1409.4842) until it fits; if it never does, it is the
    largest that does with an aspect ratio that may be.
    """
    areas, aspects = _drawn(augmentation.crop_area, 1, augmentation.crop_aspect, rng)
    down, right = rng.random(2)
    picture = part.read(place, px)
    height, width, _ = picture.shape
    h, w = _first_fitting(height, width, areas, aspects) or _largest(height, width, augmentation.crop_aspect)
    top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
    return resized(picture[top : top + h, left : left + w], px)


def _drawn(least: float, most: float, widest: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shares of an area, and widths by heights, of some rectangles."""
    log = math.log(widest)
    return rng.uniform(least, most, _TRIES), np.exp(rng.uniform(-log, log, _TRIES))


def _first_fitting(height: int, width: int, areas: np.ndarray, aspects: np.ndarray) -> tuple[int, int] | None:
    """Height and width of the first rectangle that fits into `height` x `width`."""
    for area, aspect in zip((areas * (height * width)).tolist(), aspects.tolist(), strict=True):
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            return h, w
    return None


def _largest(height: int, width: int, widest: float) -> tuple[int, int]:
    return min(height, round(width * widest)), min(width, round(height * widest))


def resized(picture: np.ndarray, px: int) -> np.ndarray:
    """`picture` (H, W, C) uint8 with both sides of `px`: bicubic and antialiased, within 1 of what Pillow gives, in a
    quarter of its time."""
    if picture.shape[:2] == (px, px):
        return picture
    image = _tensor(picture).permute(2, 0, 1)[None]
    return F.interpolate(image, size=(px, px), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()


def _tensor(picture: np.ndarray) -> Tensor:
    """`picture`, copied if it may not be written to: torch warns of such arrays."""
    return torch.from_numpy(picture if picture.flags.writeable else picture.copy())


def erased(square: np.ndarray, colour: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """`square` (px, px, C) with a rectangle of one colour anywhere in it: 2 to 33 % of its area, its sides no more than
    1 to 3.3 (arXiv:1708.04896)."""
    px = len(square)
    size = _first_fitting(px, px, *_drawn(*_ERASED, _ERASED_ASPECT, rng))
    down, right = rng.random(2)
    if size is None:
        return square
    h, w = size
    top, left = int(down * (px - h + 1)), int(right * (px - w + 1))
    square = square.copy()
    square[top : top + h, left : left + w] = colour
    return square
