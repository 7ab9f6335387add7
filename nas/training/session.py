"""`FullTraining`: a training at the size at which a network is used. It can be stopped at any update, and goes on."""

import math
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.training import checkpoint, together
from nas.training.checkpoint import Epoch, Progress
from nas.training.feed import Feed, count_correct
from nas.training.learner import Learner, Together
from nas.training.pictures import Pictures, PictureSet
from nas.training.recipe import Recipe
from nas.training.schedules import learning_rate
from nas.training.teacher import Teacher
from nas.training.together import Worker
from nas_runtime.signals import held_back
from search_spaces import text, torch_net
from search_spaces.arch import Arch

__all__ = ["FullTraining", "Seat", "Updates"]

_SAY_EVERY = 10  # updates


@dataclass(frozen=True, kw_only=True)
class Updates:
    """What the last few updates came to.

    Attributes:
        done: updates so far.
        loss: mean over these updates.
        lr: of the last one.
        images_per_s: of these updates.
    """

    done: int
    loss: float
    lr: float
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Where one process of a training sits, and what it does besides training.

    Attributes:
        file: of the checkpoint.
        device: ``cpu`` or ``cuda``.
        readers: processes that read and augment pictures.
        every_s: seconds between two checkpoints, besides one after each epoch.
        together: with what others it trains.
        say: told what updates and epochs came to. Of several processes the first one alone says it, and writes the
            file.
        on_save: called after the file was written.
    """

    file: Path
    device: str = "cpu"
    readers: int = 0
    every_s: float = 300.0
    together: Together = field(default_factory=Together)
    say: Callable[[Updates | Epoch], None] = lambda news: None
    on_save: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class FullTraining:
    """A training of `arch` on pictures that are read when they are needed.

    All randomness of an update is a function of `rng_seed` and the update's number, so that a continued training ends
    with the weights of an uninterrupted one, bit for bit (on the same CPU, with the same number of threads).

    Attributes:
        arch: for the pictures' size, channels and classes.
        weights: to begin with, by name; what they lack is drawn. None: all is.
        teacher: what the network also learns from.
    """

    arch: Arch
    data: PictureSet
    recipe: Recipe
    rng_seed: int
    weights: Mapping[str, Tensor] | None = None
    teacher: Teacher | None = None

    @property
    def in_epoch(self) -> int:
        """Updates of an epoch."""
        return max(1, len(self.data.train) // self.recipe.batch)

    @property
    def updates(self) -> int:
        """Updates in all."""
        return self.recipe.steps or self.in_epoch * self.recipe.epochs

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as plain data."""
        return {
            "network": text.to_dict(self.arch),
            "data": self.data.identity,
            "px": self.data.resolution_px,
            "normalisation": [list(self.data.mean), list(self.data.std)],
            "recipe": self.recipe.identity(),
            "rng_seed": self.rng_seed,
            "weights": None if self.weights is None else _sum_of(self.weights),
            "teacher": None if self.teacher is None else _sum_of(self.teacher.weights),
        }

    def run(self, seat: Seat) -> Progress:
        """Trains from the checkpoint to the end, and measures the result.

        Raises:
            nas.training.checkpoint.CheckpointError: the file is damaged, or of another training.
            nas.training.sources.DataError: a picture cannot be read any more.
            ValueError: the loss became NaN or infinite.
            OSError: the checkpoint cannot be written.
        """
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True  # one network, and the same shapes all the time
        try:
            with torch.random.fork_rng(devices=[]):
                return _Session(self, seat).run()
        finally:
            torch.backends.cudnn.benchmark = before

    def train_as(self, worker: Worker, *, readers: int, every_s: float) -> None:
        """What one of several workers does (`nas.training.together`)."""
        self.run(
            Seat(
                file=worker.file,
                device=worker.device,
                readers=readers,
                every_s=every_s,
                together=_Ranks(worker.rank, worker.ranks),
                say=worker.say,
                on_save=worker.keep,
            )
        )

    def new_net(self) -> torch_net.Net:
        """The network as the training begins with it, on the CPU."""
        generator = torch.Generator().manual_seed(self.rng_seed)
        return torch_net.build(self.arch, generator=generator, weights=self.weights)


class _Ranks(Together):
    """Workers that train together through torch.distributed."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks

    def module(self, net: nn.Module) -> nn.Module:
        return together.prepared(net, broadcast_buffers=False, gradient_as_bucket_view=True)

    def summed(self, tensor: Tensor) -> Tensor:
        if self.ranks > 1:
            torch.distributed.all_reduce(tensor)
        return tensor


class _Session:
    """One process's work on a training, from a checkpoint to the end."""

    def __init__(self, training: FullTraining, seat: Seat) -> None:
        self._training, self._seat, self._together = training, seat, seat.together
        net = training.new_net().to(device=seat.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._learner = Learner(
            net,
            training.recipe,
            device=seat.device,
            resolution_px=training.data.resolution_px,
            teacher=training.teacher.on(seat.device, training.data) if training.teacher else None,
            together=seat.together,
        )
        self._progress = checkpoint.load(seat.file, self._learner, training.identity)
        self._saved = time.monotonic()
        self._begin()

    def run(self) -> Progress:
        progress, training = self._progress, self._training
        if progress.test_top1 is None:
            with self._feed() as feed:
                try:
                    while progress.updates < training.updates:
                        self._epoch(feed, *divmod(progress.updates, training.in_epoch))
                except KeyboardInterrupt:
                    with held_back():
                        if self._together.ranks == 1:
                            self._count()
                            self._save()
                    raise
            progress.holdout_top1 = progress.epochs[-1].holdout_top1
            progress.test_top1 = self._top1(training.data.test)
            self._save()
        return progress

    def _feed(self) -> AbstractContextManager[Feed]:
        training, recipe = self._training, self._training.recipe
        feed = Feed(
            training.data.train,
            training.data,
            recipe.augmentation,
            batch=recipe.batch,
            micro_batch=recipe.micro_batch or recipe.batch,
            rng_seed=training.rng_seed,
            workers=self._seat.readers,
            device=self._seat.device,
            rank=self._together.rank,
            ranks=self._together.ranks,
        )
        return feed if isinstance(feed, AbstractContextManager) else nullcontext(feed)

    def _epoch(self, feed: Feed, number: int, first: int) -> None:
        """The updates of an epoch from `first` on, and its evaluation."""
        progress, training = self._progress, self._training
        self._learner.net.train()
        self._begin()
        for parts in feed.epoch(number, first):
            with held_back():  # an interrupted training is as an update has left it
                self._update(parts)
            ends = progress.updates % training.in_epoch == 0 or progress.updates == training.updates
            if ends or progress.updates % _SAY_EVERY == 0:
                self._count()
                if ends:
                    break
                if time.monotonic() - self._saved > self._seat.every_s:
                    self._save()
                    self._begin()
        with held_back():
            self._end_epoch()

    def _update(self, parts: list[tuple[Tensor, Tensor]]) -> None:
        training, recipe, updates = self._training, self._training.recipe, self._progress.updates
        self._lr = learning_rate(recipe, updates, updates=training.updates, in_epoch=training.in_epoch)
        self._learner.set_lr(self._lr)
        seeds = np.random.SeedSequence((training.rng_seed, updates))
        count = -(-recipe.batch // (recipe.micro_batch or recipe.batch))
        drawn = seeds.generate_state(count, np.uint64) >> 1
        self._loss += self._learner.update_by(parts, recipe.batch, count, seed=lambda place: int(drawn[place]))
        self._progress.updates += 1
        self._uncounted += 1

    def _begin(self) -> None:
        """From now on time counts as that of updates that are not counted yet."""
        self._loss, self._uncounted = torch.zeros((), device=self._seat.device), 0
        self._begun, self._lr = time.perf_counter(), 0.0

    def _count(self) -> None:
        """Counts the updates since the last time, and says what they came to."""
        if not self._uncounted:
            return
        progress, loss = self._progress, self._together.summed(self._loss).item()
        if not math.isfinite(loss):
            raise ValueError(self._diverged())
        now, images = time.perf_counter(), self._uncounted * self._training.recipe.batch
        seconds = now - self._begun
        progress.loss += loss
        progress.seconds += seconds
        progress.images += images
        mean, lr = loss / self._uncounted, self._lr
        self._begin()
        if self._together.rank == 0:
            self._seat.say(Updates(done=progress.updates, loss=mean, lr=lr, images_per_s=images / seconds))

    def _diverged(self) -> str:
        recipe, progress = self._training.recipe, self._progress
        epoch = progress.updates / self._training.in_epoch
        scaled = "" if recipe.lr_batch is None else f", which is {recipe.peak_lr:.3g} for batch={recipe.batch}"
        return (
            f"the training diverged (NaN) in epoch {math.ceil(epoch)}; begin again in another run_dir with a lower "
            f"recipe.lr than {recipe.lr:g}{scaled}"
        )

    def _end_epoch(self) -> None:
        progress, training = self._progress, self._training
        since = progress.epochs[-1] if progress.epochs else None
        epoch = progress.updates / training.in_epoch
        updates = progress.updates - (round(since.epoch * training.in_epoch) if since else 0)
        images, seconds = updates * training.recipe.batch, progress.seconds - (since.seconds if since else 0.0)
        lr = learning_rate(training.recipe, progress.updates - 1, updates=training.updates, in_epoch=training.in_epoch)
        row = Epoch(
            epoch=epoch,
            loss=progress.loss / updates,
            lr=lr,
            holdout_top1=self._top1(training.data.holdout),
            images_per_s=images / seconds if seconds else 0.0,
            seconds=progress.seconds,
        )
        progress.epochs.append(row)
        progress.loss = 0.0
        self._save()
        if self._together.rank == 0:
            self._seat.say(row)

    def _top1(self, part: Pictures) -> float:
        """Share of `part` that the training's result so far classifies correctly."""
        correct, seen = count_correct(
            self._learner.result,
            part,
            self._training.data,
            device=self._seat.device,
            workers=self._seat.readers,
            rank=self._together.rank,
            ranks=self._together.ranks,
        )
        both = self._together.summed(torch.tensor([correct, seen], dtype=torch.float64, device=self._seat.device))
        return float(both[0] / both[1])

    def _save(self) -> None:
        if self._together.rank == 0:
            checkpoint.save(self._seat.file, self._learner, self._progress, self._training.identity)
            self._seat.on_save()
        self._saved = time.monotonic()


def _sum_of(weights: Mapping[str, Tensor]) -> str:
    """What stands for weights in records: equal for the same ones."""
    found = 0
    for name in sorted(weights):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(weights[name].detach().cpu().contiguous().numpy().data, found)
    return f"{found:08x}"
