"""Mixup and cutmix: batches whose pictures are mixed with each other, and their labels accordingly."""

import math

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from nas.training.augment import Augmentation

__all__ = ["mixed"]


def mixed(
    x: Tensor, y: Tensor, classes: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A batch in which each image is mixed with the one before it, all in the same way, and labels accordingly.

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
    if kind == "mixup":
        x = x.lerp_(x.roll(1, 0), 1 - kept)
    else:
        height, width = x.shape[2:]
        (top, bottom), (left, right) = (_stretch(side, math.sqrt(1 - kept), rng) for side in (height, width))
        x[:, :, top:bottom, left:right] = x[:, :, top:bottom, left:right].roll(1, 0)
        kept = 1 - (bottom - top) * (right - left) / (height * width)
    return x, shares.lerp(shares.roll(1, 0), 1 - kept)


def _stretch(side: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Where a stretch of this share of a side begins and ends: its middle anywhere, cut off at the borders."""
    middle, length = int(rng.integers(side)), round(side * share)
    start = middle - length // 2
    return max(0, start), min(side, start + length)
