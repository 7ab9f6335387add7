"""Batches of pictures for trainings and evaluations, read and augmented by worker processes while the network works.

What is in a batch depends on the seed, the epoch and the update alone, not on who makes it: any number of workers, and
of ranks that share a batch, gives the same pictures.

>>> with Feed(data.train, data, Augmentation(crop_area=0.25), batch=64, micro_batch=64, rng_seed=0, workers=2,
...           device="cpu") as feed:
...     for ((x, y),) in feed.epoch(0):
...         ...  # x (64, C, px, px), y (64,)
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from nas.training import on_gpu
from nas.training.augment import Augmentation
from nas.training.crops import augmented
from nas.training.datasets import Preprocessing
from nas.training.mixing import mixed
from nas.training.pictures import Pictures, PictureSet, squares
from nas.training.train import normalise
from nas.training.workers import made
from nas_runtime.memory import keep_freed_memory

__all__ = ["Feed", "count_correct"]

_ORDER, _PICTURE, _MIXING = range(3)  # what random numbers are for
_MOST_PIXELS = 2**22  # of the pictures that are classified at a time

Part = tuple[int, int, int, np.ndarray]
"""A micro-batch: its epoch, its update, its number therein, and the places (n,) of its pictures."""


@dataclass(frozen=True)
class _Augmented:
    """Makes the pictures of a micro-batch."""

    pictures: Pictures
    rule: Preprocessing
    augmentation: Augmentation
    rng_seed: int

    def __call__(self, part: Part) -> np.ndarray:
        """(n, px, px, C) uint8."""
        epoch, _, _, places = part
        rngs = (np.random.default_rng((_PICTURE, epoch, place, self.rng_seed)) for place in places.tolist())
        each = zip(places.tolist(), rngs, strict=True)
        return np.stack([augmented(self.pictures, place, self.rule, self.augmentation, rng) for place, rng in each])


@dataclass(eq=False)
class Feed:
    """The training part of a data set, by epoch and update. Workers begin with the first batch that is asked for, go on
    over the ends of epochs, and end with `close`, the end of a ``with``, or the feed itself.

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
    _ahead: Iterator[Tensor] | None = field(default=None, init=False, repr=False)
    _next: tuple[int, int] | None = field(default=None, init=False, repr=False)

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
            ChildProcessError: a worker is no longer there.
        """
        if self._ahead is None or self._next != (number, first):
            self.close()
            self._ahead = self._images(number, first)
        for update, parts in self._plan(number, first):
            self._next = None
            micro_batches = [self._batch(part, next(self._ahead)) for part in parts]
            self._next = (number, update + 1) if update + 1 < self.updates else (number + 1, 0)
            yield micro_batches

    def close(self) -> None:
        """Ends the workers. The next `epoch` begins with new ones."""
        self._ahead = self._next = None

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _plan(self, epoch: int, first: int) -> Iterator[tuple[int, list[Part]]]:
        """The updates of an epoch from `first` on, with this rank's parts of each."""
        order = np.random.default_rng((_ORDER, epoch, self.rng_seed)).permutation(len(self.pictures))
        size = min(self.batch, len(order))
        for update in range(first, self.updates):
            cut = np.array_split(order[update * size :][:size], -(-size // self.micro_batch))
            yield update, [(epoch, update, i, cut[i]) for i in range(self.rank, len(cut), self.ranks)]

    def _images(self, epoch: int, first: int) -> Iterator[Tensor]:
        """The pictures of all parts from this update on, without end."""

        def parts() -> Iterator[Part]:
            for number in count(epoch):
                for _, its in self._plan(number, first if number == epoch else 0):
                    yield from its

        augmentation = replace(self.augmentation, flip=self.augmentation.flip and self.data.flip)
        make = _Augmented(self.pictures, self.data.preprocessing, augmentation, self.rng_seed)
        return made(make, parts(), workers=self.workers, device=self.device)

    def _batch(self, part: Part, images: Tensor) -> tuple[Tensor, Tensor]:
        *which, places = part
        x = normalise(images.to(self.device, non_blocking=True), self.data, self.device)
        y = torch.from_numpy(self.pictures.labels[places]).to(self.device)
        if self.augmentation.mixes:
            return mixed(
                x, y, self.data.classes, self.augmentation, np.random.default_rng((_MIXING, *which, self.rng_seed))
            )
        return x, y


@dataclass(frozen=True)
class _Squares:
    """Makes the pictures of a batch as programs do that use the finished network."""

    pictures: Pictures
    rule: Preprocessing

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """(n, px, px, C) uint8."""
        return squares(self.pictures, self.rule, places)


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
    """How many pictures of `part` `net`, in eval mode from now on, classifies correctly, and of how many: rank, rank +
    ranks, and so on.

    Pictures become squares by `PictureSet.preprocessing`, as programs do it that use the finished network, and the
    network computes in float32, on a GPU too: the figure is that of the files that are delivered.

    Raises:
        nas.training.sources.DataError: a picture cannot be read any more; names it.
        ChildProcessError: a worker is no longer there.
    """
    px = data.resolution_px
    places = np.arange(rank, len(part), ranks)
    at_a_time = max(1, min(on_gpu.at_a_time(device, px), _MOST_PIXELS // px**2))
    plan = [places[start : start + at_a_time] for start in range(0, len(places), at_a_time)]
    batches = made(_Squares(part, data.preprocessing), plan, workers=workers, device=device)
    keep_freed_memory()
    net.to(device).eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), on_gpu.many_shapes(device, px), on_gpu.exact(device):
        for some, images in zip(plan, batches, strict=True):
            x = normalise(images.to(device, non_blocking=True), data, device)
            y = torch.from_numpy(part.labels[some]).to(device)
            correct += (net(x).argmax(1) == y).sum()
    return int(correct.item()), len(places)
