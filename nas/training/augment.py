"""Augmentation: how a picture of the training part becomes a square that the network has not seen before.

What happens to a picture depends on a generator of its own, so that the same seed, epoch and place give the same square
wherever and whenever it is made. Mixing (mixup, cutmix) works on a batch, where it is trained on.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.training.datasets import Preprocessing
from nas.training.pictures import Pictures

__all__ = ["Augmentation", "augmented", "mixed"]

_TRIES = 10  # to draw a crop that fits the picture


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is done at random to pictures of the training part. The defaults do nothing but mirror.

    Attributes:
        crop_area: the least share of a picture's area that a crop shows, in (0, 1]: it is drawn between this and 1
            (Szegedy et al., 2015, take 0.08). 1: no crop, a picture is seen as in an evaluation.
        crop_aspect: the most that a crop's width is of its height or the reverse, at least 1; drawn evenly on a
            logarithmic scale.
        flip: whether half of the pictures are mirrored, where the data set allows it.
        colour: brightness, contrast and saturation are multiplied by factors between 1 - colour and 1 + colour, each
            drawn by itself, in random order; in [0, 1].
        randaugment: how many operations of RandAugment (Cubuk et al., 2019) are done to a picture.
        magnitude: how strong they are, from 0 to 10.
        erasing: the share of pictures in which a rectangle is erased (Zhong et al., 2017).
        mixup: alpha of the beta distribution of shares in which two pictures are mixed (Zhang et al., 2017); 0: not.
        cutmix: alpha of the beta distribution of the share of a picture's area that another one keeps when it is pasted
            over (Yun et al., 2019); 0: not. With `mixup` too, each batch has one of them, with equal chances.
    """

    crop_area: float = 1.0
    crop_aspect: float = 4 / 3
    flip: bool = True
    colour: float = 0.0
    randaugment: int = 0
    magnitude: float = 9.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        limits = {
            "crop_area": (1e-3, 1),
            "crop_aspect": (1, 10),
            "colour": (0, 1),
            "randaugment": (0, 20),
            "magnitude": (0, 10),
            "erasing": (0, 1),
            "mixup": (0, 100),
            "cutmix": (0, 100),
        }
        for name, (least, most) in limits.items():
            if not least <= (value := getattr(self, name)) <= most:
                raise ValueError(f"augmentation.{name}={value}: allowed are {least:g} to {most:g}")

    @property
    def mixes(self) -> bool:
        """Whether labels are shares of classes, not classes."""
        return self.mixup > 0 or self.cutmix > 0

    def describe(self) -> str:
        """What differs from the defaults, in words."""
        given = [(f.name, value) for f in fields(self) if (value := getattr(self, f.name)) != f.default]
        return ", ".join(f"{name} {value:g}" for name, value in given) or "mirrored"


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


def mixed(
    x: Tensor, y: Tensor, classes: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch whose images are mixed with each other, and their labels accordingly.

    Args:
        x: (n, C, H, W) float; may be overwritten.
        y: (n,) int64.

    Returns:
        x, and y (n, classes) float32, whose rows sum to 1.
    """
    shares = F.one_hot(y, classes).float()
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(augmentation, kind) > 0]
    kind = kinds[int(rng.random() * len(kinds))]
    alpha = getattr(augmentation, kind)
    kept = float(rng.beta(alpha, alpha))
    others = x.roll(1, 0)
    if kind == "mixup":
        x = x.lerp_(others, 1 - kept)
    else:
        height, width = x.shape[2:]
        (top, bottom), (left, right) = (_stretch(side, math.sqrt(1 - kept), rng) for side in (height, width))
        x[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
    return x, shares.lerp(shares.roll(1, 0), 1 - kept)


def _stretch(side: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Where a stretch of this share of a side begins and ends: its middle anywhere, cut off at the borders."""
    middle, length = int(rng.integers(side)), round(side * share)
    start = middle - length // 2
    return max(0, start), min(side, start + length)
