"""Pictures in files, decoded when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nas.training.datasets import Preprocessing, statistics
from nas.training.pictures import Pictures
from nas.training.sources.images import decode, shrunk

__all__ = ["FilePictures", "channel_statistics"]

_LOOKED_AT = 1000
"""Training pictures that mean and deviation are of."""


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files, as `Pictures`."""

    files: Sequence[Path]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, place: int, px: int) -> np.ndarray:
        return shrunk(self.files[place], self.name(place), px)

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        return decode(self.files[place], self.name(place), rule.resolution_px, resize_px=rule.resize_px)

    def name(self, place: int) -> str:
        return str(self.files[place])

    def chosen(self, places: np.ndarray) -> "FilePictures":
        """Those at `places`."""
        return replace(self, files=[self.files[place] for place in places], labels=self.labels[places])


def channel_statistics(pictures: Pictures, px: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel in [0, 1], of up to 1,000 of the pictures, always the same ones."""
    places = np.sort(np.random.default_rng(2).permutation(len(pictures))[:_LOOKED_AT])
    small = [pictures.read(int(place), px) for place in places]
    return statistics(np.concatenate([image.reshape(1, 1, -1, image.shape[2]) for image in small], axis=2))
