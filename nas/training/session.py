"""`FullTraining`: a training at the size at which a network is used. It can be stopped at any update, and goes on."""

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.training import checkpoint, tensor_file
from nas.training.checkpoint import Epoch, Progress
from nas.training.feed import Feed, count_correct
from nas.training.learner import Learner
from nas.training.pictures import Pictures, PictureSet
from nas.training.recipe import Recipe
from nas.training.rounding import round_as_integers
from nas.training.schedules import learning_rate
from nas.training.seat import Ranks, Seat, Updates
from nas.training.sources import DataError
from nas.training.teacher import Teacher
from nas.training.together import Worker
from nas_runtime.signals import held_back
from search_spaces import text, torch_net
from search_spaces.arch import Arch

__all__ = ["FullTraining"]

_SAY_EVERY = 10  # updates


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
            "crop": self.data.crop,
            "normalisation": [list(self.data.mean), list(self.data.std)],
            "recipe": self.recipe.identity(),
            "rng_seed": self.rng_seed,
            "weights": None if self.weights is None else tensor_file.sum_of(self.weights),
            "teacher": None if self.teacher is None else self.teacher.identity,
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
                together=Ranks(worker.rank, worker.ranks),
                say=worker.say,
                on_save=worker.keep,
            )
        )

    def new_net(self) -> torch_net.Net:
        """The network as the training begins with it, on the CPU."""
        generator = torch.Generator().manual_seed(self.rng_seed)
        net = torch_net.build(self.arch, generator=generator, weights=self.weights)
        if self.recipe.rounded:
            round_as_integers(net)
        return net


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
                    if self._ends and self._in_epochs < progress.updates:
                        self._end_epoch()  # it was interrupted just before
                    while progress.updates < training.updates:
                        self._epoch(feed, *divmod(progress.updates, training.in_epoch))
                        self._end_epoch()
                except (KeyboardInterrupt, DataError, OSError) as e:  # Ctrl-C; a picture, or a reader, is gone
                    self._keep(e)
                    raise
            progress.holdout_top1 = progress.epochs[-1].holdout_top1
            progress.test_top1 = self._top1(training.data.test)
            self._save()
        return progress

    def _keep(self, why: BaseException) -> None:
        """Saves what was learnt before the training ends early. Of several workers none can: they are not at the same
        update, and what counts is the last checkpoint."""
        if self._together.ranks > 1 or not self._progress.updates:
            return
        full_disk = suppress(OSError) if isinstance(why, OSError) else nullcontext()  # it has been said
        with held_back(), full_disk:
            self._count()
            self._save()

    def _feed(self) -> Feed:
        training, recipe = self._training, self._training.recipe
        return Feed(
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

    def _epoch(self, feed: Feed, number: int, first: int) -> None:
        """The updates of an epoch from `first` on."""
        progress = self._progress
        self._learner.net.train()
        self._begin()
        for parts in feed.epoch(number, first):
            with held_back():  # an interrupted training is as an update has left it
                self._update(parts)
            if self._ends or progress.updates % _SAY_EVERY == 0:
                self._count()
                if self._ends:
                    return
                if time.monotonic() - self._saved > self._seat.every_s:
                    self._save()
                    self._begin()

    def _update(self, parts: list[tuple[Tensor, Tensor]]) -> None:
        training, recipe, updates = self._training, self._training.recipe, self._progress.updates
        self._lr = self._lr_of(updates)
        self._learner.set_lr(self._lr)
        seeds = np.random.SeedSequence((training.rng_seed, updates))
        count = -(-recipe.batch // (recipe.micro_batch or recipe.batch))
        drawn = seeds.generate_state(count, np.uint64) >> 1
        self._loss += self._learner.update_by(parts, recipe.batch, count, seed=lambda place: int(drawn[place]))
        self._progress.updates += 1
        self._uncounted += 1

    def _lr_of(self, update: int) -> float:
        training = self._training
        return learning_rate(training.recipe, update, updates=training.updates, in_epoch=training.in_epoch)

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

    @property
    def _ends(self) -> bool:
        """Whether the last update was the last of an epoch."""
        updates = self._progress.updates
        return updates == self._training.updates or (updates > 0 and updates % self._training.in_epoch == 0)

    @property
    def _in_epochs(self) -> int:
        """Updates of the epochs that are done and evaluated."""
        epochs = self._progress.epochs
        return round(epochs[-1].epoch * self._training.in_epoch) if epochs else 0

    def _end_epoch(self) -> None:
        """Measures what the epoch came to."""
        progress, training = self._progress, self._training
        updates = progress.updates - self._in_epochs
        seconds = progress.seconds - (progress.epochs[-1].seconds if progress.epochs else 0.0)
        row = Epoch(
            epoch=progress.updates / training.in_epoch,
            loss=progress.loss / updates,
            lr=self._lr_of(progress.updates - 1),
            holdout_top1=self._top1(training.data.holdout),
            images_per_s=updates * training.recipe.batch / seconds if seconds else 0.0,
            seconds=progress.seconds,
        )
        with held_back():
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
