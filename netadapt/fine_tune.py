"""Evaluations that NetAdapt runs: a short fine-tuning of a proposal, and the final training of a network."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nas.executor import Shared
from nas.trial import Evaluation
from netadapt.weights import TrainedNet
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

    from nas.training.datasets import Split
    from nas.training.recipe import Recipe
    from nas.training.train import Moments
    from nas.training.trainer import Trainer
    from search_spaces.torch_net import Net

__all__ = ["AndTest", "FineTune", "Train", "measured_top1"]


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """Inherits weights, fine-tunes, and answers top-1 on the holdout; the evaluation carries the `TrainedNet`.

    Attributes:
        trainer: a shared `Trainer`: data, device, threads.
        parent: a shared `TrainedNet`.
        recipe: with `steps`; None: top-1 right after inheritance.
        inherit: which channels stay, see `netadapt.inherit.inherit`.
    """

    trainer: Shared
    parent: Shared
    recipe: "Recipe | None"
    inherit: str
    rng_seed: int

    def __call__(self, arch: Arch) -> Evaluation:
        import torch

        from nas.training.train import Moments
        from netadapt.inherit import inherit
        from search_spaces.torch_net import Net

        start = time.perf_counter()
        trainer: Trainer = self.trainer.get()
        parent: TrainedNet = self.parent.get()
        torch.set_num_threads(trainer.threads)
        small = trainer.small(arch)
        weights, (first, second) = inherit(
            parent.arch,
            small,
            _tensors(parent.weights),
            (_tensors(parent.first), _tensors(parent.second)),
            by=self.inherit,
            rng_seed=self.rng_seed,
        )
        net = Net(small)
        net.load_state_dict(weights)
        moments = Moments(parent.updates, first, second) if first else None
        return _trained(net, trainer, self.recipe, self.rng_seed, start, moments)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Trains a network from scratch; the evaluation carries the `TrainedNet`. Attributes as `FineTune`."""

    trainer: Shared
    recipe: "Recipe"
    rng_seed: int
    threads: int | None = None

    def __call__(self, arch: Arch) -> Evaluation:
        import torch

        from nas.training.train import new_net

        start = time.perf_counter()
        trainer: Trainer = self.trainer.get()
        torch.set_num_threads(self.threads or trainer.threads)
        net = new_net(trainer.small(arch), rng_seed=self.rng_seed)
        return _trained(net, trainer, self.recipe, self.rng_seed, start)


@dataclass(frozen=True)
class AndTest:
    """`task`, then top-1 on the test images, which nothing else in an adaptation sees.

    The evaluation carries the `TrainedNet` and that top-1.
    """

    trainer: Shared
    task: Train | FineTune

    def __call__(self, arch: Arch) -> Evaluation:
        evaluation = self.task(arch)
        if evaluation.status != "ok":
            return evaluation
        net: TrainedNet = evaluation.state
        trainer: Trainer = self.trainer.get()
        return replace(evaluation, state=(net, measured_top1(net, trainer, trainer.data.test)))


def measured_top1(net: TrainedNet, trainer: "Trainer", split: "Split") -> float:
    """Top-1 of `net` on `split`, images of the trainer's data set."""
    from nas.training.train import top1
    from search_spaces.torch_net import Net

    module = Net(net.arch)
    module.load_state_dict(_tensors(net.weights))
    return top1(module, split, trainer.data, device=trainer.device)


def _trained(
    net: "Net",
    trainer: "Trainer",
    recipe: "Recipe | None",
    rng_seed: int,
    start: float,
    moments: "Moments | None" = None,
) -> Evaluation:
    from nas.training.train import top1, train

    data, device = trainer.data, trainer.device
    if recipe is not None:
        trained = train(net, data.train, data, recipe, rng_seed=rng_seed, device=device, moments=moments)
        moments = trained.moments
        if trained.diverged:
            seconds = time.perf_counter() - start
            return Evaluation(top1=0.0, status="diverged", seconds=seconds, note="the loss became NaN or infinite")
    accuracy = top1(net, data.holdout, data, device=device)
    state = TrainedNet(
        arch=net.arch,
        weights=_arrays(net.state_dict()),
        first=_arrays(moments.first) if moments else {},
        second=_arrays(moments.second) if moments else {},
        updates=moments.updates if moments else 0,
        top1=accuracy,
    )
    return Evaluation(top1=accuracy, seconds=time.perf_counter() - start, state=state)


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, "Tensor"]:
    import torch

    return {name: torch.tensor(array) for name, array in arrays.items()}  # a copy: shared arrays are read-only


def _arrays(tensors: Mapping[str, "Tensor"]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
