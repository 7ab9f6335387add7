"""Training shared weights: each update on a batch of images and on networks drawn from the space."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas.supernet import checkpoint
from nas.supernet.module import Path, Supernet
from nas.training.datasets import Dataset, Split
from nas.training.recipe import Recipe
from nas.training.train import augmented, new_optimizer, schedule

__all__ = ["Draw", "Training"]

_REPORT_EVERY = 20  # updates

Draw = Callable[[np.random.Generator], Sequence[Path]]
"""The networks of one update; which they are depends on the generator alone."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of shared weights that can be stopped and continued at any update.

    All randomness of an update is a function of `rng_seed` and the update's number, so that a continued training ends
    with the weights of an uninterrupted one, bit for bit (on the same machine, with the same number of threads).

    Attributes:
        identity: what a checkpoint must have been made with.
        file: of the checkpoint.
        every_s: seconds between two checkpoints.
    """

    supernet: Supernet
    data: Dataset
    recipe: Recipe
    draw: Draw
    rng_seed: int
    identity: Mapping[str, Any]
    file: File
    device: str = "cpu"
    every_s: float = 30.0

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.recipe.steps or max(1, len(self.data.train) // self.recipe.batch) * self.recipe.epochs

    def run(self, on_step: Callable[[int, float], None] | None = None, stop_after: int | None = None) -> bool:
        """Trains from the checkpoint to the end, or for `stop_after` updates; returns whether that is the end.

        Args:
            on_step: called now and then with the number of updates done and the mean loss since the last call.

        Raises:
            nas.supernet.checkpoint.CheckpointError: the file is damaged, or belongs to other shared weights.
            ValueError: the loss became NaN or infinite.
        """
        net = self.supernet
        net.to(self.device).train()
        optimizer = new_optimizer(net, self.recipe)
        done = checkpoint.load(self.file, net, optimizer, self.identity)
        end = self.steps if stop_after is None else min(self.steps, done + stop_after)
        warmup = max(1, round(self.recipe.warmup * self.steps))
        autocast = torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device != "cpu")
        saved = time.monotonic()
        total, summed = torch.zeros((), device=self.device), 0
        for step in range(done, end):
            rng = np.random.default_rng((self.rng_seed, step))
            x, y = self._batch(step, rng)
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.lr * schedule(step, warmup, self.steps)
            optimizer.zero_grad(set_to_none=True)
            paths = self.draw(rng)
            for path in paths:
                with autocast:
                    loss = F.cross_entropy(net(x, path), y, label_smoothing=self.recipe.label_smoothing)
                (loss / len(paths)).backward()
                total += loss.detach() / len(paths)
            optimizer.step()
            summed += 1
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 == end:
                mean = total.item() / summed
                if not math.isfinite(mean):
                    raise ValueError(
                        f"the training of the shared weights diverged after {step + 1} updates; try a lower learning "
                        f"rate than {self.recipe.lr:g}"
                    )
                total.zero_()
                summed = 0
                if on_step:
                    on_step(step + 1, mean)
                if time.monotonic() - saved > self.every_s:
                    checkpoint.save(self.file, net, optimizer, step + 1, self.identity)
                    saved = time.monotonic()
        if end > done:
            checkpoint.save(self.file, net, optimizer, end, self.identity)
        return end == self.steps

    def _batch(self, step: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        split: Split = self.data.train
        size = min(self.recipe.batch, len(split))
        in_epoch = max(1, len(split) // size)
        epoch, number = divmod(step, in_epoch)
        order = np.random.default_rng((self.rng_seed, epoch, 1)).permutation(len(split))
        picked = order[number * size : (number + 1) * size]
        return augmented(split, picked, self.data, crop_px=self.recipe.crop_px, rng=rng, device=self.device)
