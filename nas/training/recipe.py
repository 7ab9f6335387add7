"""`Recipe`: how to train, as plain values."""

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the images.
        steps: updates of the weights; if given, instead of `epochs`.
        batch: images a step; a last incomplete batch is left out (batch norm suffers from tiny batches).
        lr: peak learning rate of AdamW; linear warm-up, then cosine to 0.
        warmup: share of the steps that warm up.
        weight_decay: on convolution and linear weights only.
        label_smoothing: share of the target spread over all classes.
        crop_px: augmentation shifts each image by up to this many pixels, and mirrors it where the data set allows.
    """

    epochs: int = 1
    steps: int | None = None
    batch: int = 64
    lr: float = 1.5e-3
    warmup: float = 0.1
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    crop_px: int = 0
