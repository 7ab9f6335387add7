"""`Trainer`: the accuracy of a network after a training, short or long, on small images.

MnasNet trains each sampled network for 5 epochs of ImageNet; this trains for seconds on small images, which says less.
How much it says is measured by ``python -m experiments.proxy_signal`` and ``proxy_validation``.
"""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.training.datasets import Dataset
from nas.training.recipe import Recipe
from nas.trial import Evaluation
from search_spaces import rewrite
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

    from search_spaces.torch_net import Net

__all__ = ["Trainer"]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """An evaluator: trains on `data.train`, answers top-1 on `data.holdout`.

    Attributes:
        min_px: feature maps are not halved below this size (`rewrite.small_image`).
        dropout: rate before the last layer, instead of the network's own. None by default: a training of a few hundred
            steps is too short to fit its images too well.
        device: ``cpu`` or ``cuda``.
        threads: torch threads for one training. One by default: trainings run side by side, one a core.
    """

    data: Dataset
    recipe: Recipe
    min_px: int = 2
    dropout: float = 0.0
    device: str = "cpu"
    threads: int = 1

    def identity(self) -> dict[str, Any]:
        """All that a network's accuracy depends on, besides the network and the seed, as plain data."""
        images = 0
        for split in (self.data.train, self.data.holdout, self.data.test):
            images = zlib.crc32(np.ascontiguousarray(split.images).data, images)
            images = zlib.crc32(np.ascontiguousarray(split.labels).data, images)
        return {
            "recipe": self.recipe.identity(),
            "data": self.data.name,
            "images": f"{images:08x}",
            "min_px": self.min_px,
            "dropout": self.dropout,
            "device": self.device,
        }

    def small(self, arch: Arch) -> Arch:
        """`arch` for the images of the data set: their size, channels and classes, and small-image strides."""
        return rewrite.for_images(
            arch,
            resolution_px=self.data.resolution_px,
            channels=self.data.channels,
            n_classes=self.data.classes,
            min_px=self.min_px,
            dropout_rate=self.dropout,
        )

    def evaluate(
        self,
        arch: Arch,
        rng_seed: int,
        on_epoch: Callable[[int, float], None] | None = None,
        state: "Mapping[str, Tensor] | None" = None,
    ) -> Evaluation:
        """Trains `arch`. The same seed gives the same answer on the same machine.

        A training that diverges (NaN) is a result: status ``diverged``, top-1 0.

        Args:
            on_epoch: called after each epoch with the number of epochs and the top-1 so far.
            state: of ``torch_net.build(small(arch))``, to begin with; None: from scratch.
        """
        import torch

        from nas.training.train import top1, train

        start = time.perf_counter()
        torch.set_num_threads(self.threads)
        net = self._net(arch, rng_seed, state)

        def report(epochs: int) -> None:
            if on_epoch:
                on_epoch(epochs, top1(net, self.data.holdout, self.data, device=self.device))

        trained = train(
            net,
            self.data.train,
            self.data,
            self.recipe,
            rng_seed=rng_seed,
            device=self.device,
            on_epoch=report if on_epoch else None,
        )
        if trained.diverged:
            seconds = time.perf_counter() - start
            return Evaluation(top1=0.0, status="diverged", seconds=seconds, note="the loss became NaN or infinite")
        accuracy = top1(net, self.data.holdout, self.data, device=self.device)
        return Evaluation(top1=accuracy, seconds=time.perf_counter() - start)

    def train_fully(
        self, arch: Arch, *, epochs: int, threads: int, rng_seed: int, state: "Mapping[str, Tensor] | None" = None
    ) -> tuple["Net", float, float]:
        """Trains `arch` for `epochs` and measures it on the test images, which nothing else ever sees.

        Args:
            state: as in `evaluate`.

        Returns:
            The network on the CPU, its top-1 on the holdout, and its top-1 on test.

        Raises:
            ValueError: the training diverged.
        """
        import torch

        from nas.training.train import top1, train

        torch.set_num_threads(threads)
        net = self._net(arch, rng_seed, state)
        recipe = replace(self.recipe, epochs=epochs)
        if train(net, self.data.train, self.data, recipe, rng_seed=rng_seed, device=self.device).diverged:
            raise ValueError(f"the final training diverged (NaN); try a lower learning rate than {recipe.lr:g}")
        holdout = top1(net, self.data.holdout, self.data, device=self.device)
        test = top1(net, self.data.test, self.data, device=self.device)
        return net.cpu(), holdout, test

    def _net(self, arch: Arch, rng_seed: int, state: "Mapping[str, Tensor] | None") -> "Net":
        from nas.training.train import new_net

        net = new_net(self.small(arch), rng_seed=rng_seed)
        if state is not None:
            net.load_state_dict(state)
        return net
