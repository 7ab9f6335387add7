"""A full training that takes a second: four blocks, and grey images of 12 px in three classes of their brightness."""

from dataclasses import replace

import numpy as np

from nas.training.datasets import Split, make
from nas.training.pictures import PictureSet, of_arrays
from nas.training.recipe import Recipe
from nas.training.session import FullTraining
from search_spaces import rewrite, zoo
from search_spaces.arch import Arch

RECIPE = Recipe(epochs=3, batch=16, lr=2e-2, ema=0.99, norm_momentum=0.1)


def tiny_arch() -> Arch:
    whole = zoo.get("mobilenet_v2", width=0.35)
    *_, features, head = whole.blocks
    blocks = (*whole.blocks[:3], replace(features, in_ch=8, out_ch=32), replace(head, in_ch=32))
    few = replace(whole, blocks=blocks)
    return rewrite.for_images(few, resolution_px=12, channels=1, n_classes=3, min_px=2, dropout_rate=0.2)


def tiny_data() -> PictureSet:
    rng = np.random.default_rng(0)

    def split(n: int) -> Split:
        labels = rng.integers(0, 3, n)
        noise = rng.integers(0, 40, (n, 12, 12, 1))
        return Split((labels[:, None, None, None] * 80 + noise).astype(np.uint8), labels.astype(np.int64))

    made = make("stripes", train=split(96), holdout=split(60), test=split(60), classes=3)
    return of_arrays(made, "stripes-1")


def tiny_training(recipe: Recipe = RECIPE, **how) -> FullTraining:
    return FullTraining(**{"arch": tiny_arch(), "data": tiny_data(), "recipe": recipe, "rng_seed": 0, **how})
