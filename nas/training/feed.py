"""Batches of pictures for trainings and evaluations, read and augmented by worker processes while the network works.

What is in a batch depends on the seed, the epoch and the update alone, not on who makes it: any number of workers, and
of ranks that share a batch, gives the same pictures.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from nas.training import on_gpu
from nas.training.augment import Augmentation
from nas.training.crops import augmented
from nas.training.mixing import mixed
from nas.training.pictures import Pictures, PictureSet, squares
from nas.training.train import normalise

__all__ = ["Feed", "count_correct"]

_ORDER, _PICTURE, _MIXING = range(3)  # what random numbers are for


@dataclass(eq=False)
class Feed:
    """The training part of a data set, by epoch and update.

    Attributes:
        pictures: which to train on: `data.train`, or another part.
        data: gives size, normalisation, classes, and whether pictures may be mirrored.
        batch: pictures of an update; all there are, if there are fewer.
        micro_batch: at most so many are given at a time: a batch is cut into micro-batches as even as possible.
        workers: processes that read and augment; 0: this one does.
        device: where batches are given.
        rank, ranks: of an update this one is given the micro-batches rank, rank + ranks, and so on.
    """

    pictures: Pictures
    data: PictureSet
    augmentation: Augmentation
    _: KW_ONLY
    batch: int
    micro_batch: int
    rng_seed: int
    workers: int
    device: str
    rank: int = 0
    ranks: int = 1

    @property
    def updates(self) -> int:
        """Of an epoch; a last incomplete batch is left out."""
        return max(1, len(self.pictures) // self.batch)

    def epoch(self, number: int, first: int = 0) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """For each update of epoch `number`, from `first` on, this rank's micro-batches.

        Each is x (n, C, px, px) float32, normalised, in channels_last, and y (n,) int64, or, where pictures are mixed,
        (n, classes) float32; both on the device.

        Raises:
            nas.training.sources.DataError: a picture cannot be read any more; names it.
        """
        for update, parts in enumerate(self._cut(number)[first:], first):
            yield [self._batch(number, update, i, parts[i]) for i in range(self.rank, len(parts), self.ranks)]

    def _cut(self, epoch: int) -> list[list[np.ndarray]]:
        """The places of pictures in each micro-batch of each update."""
        order = np.random.default_rng((_ORDER, epoch, self.rng_seed)).permutation(len(self.pictures))
        size = min(self.batch, len(order))
        parts = -(-size // self.micro_batch)
        return [np.array_split(order[start : start + size], parts) for start in range(0, size * self.updates, size)]

    def _batch(self, epoch: int, update: int, part: int, places: np.ndarray) -> tuple[Tensor, Tensor]:
        rule = self.data.preprocessing
        augmentation = replace(self.augmentation, flip=self.augmentation.flip and self.data.flip)
        images = [
            augmented(
                self.pictures,
                int(place),
                rule,
                augmentation,
                np.random.default_rng((_PICTURE, epoch, int(place), self.rng_seed)),
            )
            for place in places
        ]
        x = normalise(torch.from_numpy(np.stack(images)), self.data, self.device)
        y = torch.from_numpy(self.pictures.labels[places]).to(self.device)
        if self.augmentation.mixes:
            rng = np.random.default_rng((_MIXING, epoch, update, part, self.rng_seed))
            return mixed(x, y, self.data.classes, self.augmentation, rng)
        return x, y


def count_correct(
    net: nn.Module,
    part: Pictures,
    data: PictureSet,
    *,
    device: str,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
) -> tuple[int, int]:
    """How many pictures of `part` `net` classifies correctly, and of how many: those of this rank.

    Pictures become squares by `PictureSet.preprocessing`, as programs that use the finished network do it.
    """
    rule, at_a_time = data.preprocessing, on_gpu.at_a_time(device, data.resolution_px)
    places = np.arange(rank, len(part), ranks)
    net.to(device).eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), on_gpu.many_shapes(device, data.resolution_px):
        for start in range(0, len(places), at_a_time):
            some = places[start : start + at_a_time]
            x = normalise(torch.from_numpy(squares(part, rule, some)), data, device)
            y = torch.from_numpy(part.labels[some]).to(device)
            with on_gpu.autocast(device, data.resolution_px):
                correct += (net(x).argmax(1) == y).sum()
    return int(correct.item()), len(places)
