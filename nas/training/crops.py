"""How a picture of the training part becomes a square that the network has not seen before.

What happens to a picture depends on a generator of its own, so that the same seed, epoch and place give the same square
wherever and whenever it is made.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F

from nas.training.augment import Augmentation
from nas.training.datasets import Preprocessing
from nas.training.pictures import Pictures

__all__ = ["augmented", "resized"]

_TRIES = 10  # to draw a crop that fits the picture


def augmented(
    part: Pictures, place: int, rule: Preprocessing, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """One picture of `part` as the network is trained on it: (px, px, C) uint8.

    Raises:
        nas.training.sources.DataError: it cannot be read.
    """
    if augmentation.crop_area < 1:
        square = _random_crop(part, place, rule.resolution_px, augmentation, rng)
    else:
        square = part.square(place, rule)
    if augmentation.flip and rng.random() < 0.5:
        square = np.ascontiguousarray(square[:, ::-1])
    return square


def _random_crop(
    part: Pictures, place: int, px: int, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    areas = rng.uniform(augmentation.crop_area, 1, _TRIES)
    widest = math.log(augmentation.crop_aspect)
    aspects = np.exp(rng.uniform(-widest, widest, _TRIES))
    where = rng.random(2)
    picture = part.read(place, px)
    height, width, _ = picture.shape
    widths = np.rint(np.sqrt(height * width * areas * aspects)).astype(int)
    heights = np.rint(np.sqrt(height * width * areas / aspects)).astype(int)
    fits = np.flatnonzero((widths <= width) & (heights <= height) & (widths > 0) & (heights > 0))
    if len(fits):
        w, h = int(widths[fits[0]]), int(heights[fits[0]])
    else:  # the largest that is not too long
        w, h = (min(a, round(b * augmentation.crop_aspect)) for a, b in ((width, height), (height, width)))
    top, left = int(where[0] * (height - h + 1)), int(where[1] * (width - w + 1))
    return resized(picture[top : top + h, left : left + w], px)


def resized(picture: np.ndarray, px: int) -> np.ndarray:
    """`picture` (H, W, C) uint8 with both sides of `px`: torch's antialiased bicubic, within 1 of Pillow's."""
    if picture.shape[:2] == (px, px):
        return picture
    image = torch.from_numpy(picture).permute(2, 0, 1)[None]
    return F.interpolate(image, size=(px, px), mode="bicubic", antialias=True)[0].permute(1, 2, 0).numpy()
