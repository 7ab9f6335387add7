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

__all__ = ["AndTest", "FineTune", "Train", "arrays_of", "measured_top1", "tensors_of"]


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """Inherits weights, fine-tunes, and answers top-1 on the holdout; the evaluation carries the `TrainedNet`.

    Attributes:
        trainer: a shared `Trainer`: data, device, threads.
        parent: a shared `TrainedNet`.
        recipe: with `steps`; None: top-1 right after inheritance.
        inherit: which channels stay, see `netadapt.inherit.inherit`.
        importance: of the parent's channels, shared, where that goes by images; None: it does not.
        norm_images: so many training images give batch norms' statistics before top-1 is measured (as slimmable
            networks do it, arXiv:1903.05134, section 3.2): those that are inherited are of the wider network, and those
            of few updates still lean on them. None: they are as they are.
    """

    trainer: Shared
    parent: Shared
    recipe: "Recipe | None"
    inherit: str
    rng_seed: int
    importance: Shared | None = None
    norm_images: int | None = None

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
            tensors_of(parent.weights),
            (tensors_of(parent.first), tensors_of(parent.second)),
            by=self.inherit,
            importance=None if self.importance is None else self.importance.get(),
            rng_seed=self.rng_seed,
        )
        net = Net(small)
        net.load_state_dict(weights)
        moments = Moments(parent.updates, first, second) if first else None
        return _trained(net, trainer, self.recipe, self.rng_seed, start, moments, self.norm_images)


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
    module.load_state_dict(tensors_of(net.weights))
    return top1(module, split, trainer.data, device=trainer.device)


def _trained(
    net: "Net",
    trainer: "Trainer",
    recipe: "Recipe | None",
    rng_seed: int,
    start: float,
    moments: "Moments | None" = None,
    norm_images: int | None = None,
) -> Evaluation:
    from nas.training.datasets import drawn
    from nas.training.train import calibrate_norms, top1, train

    data, device = trainer.data, trainer.device
    if recipe is not None:
        trained = train(net, data.train, data, recipe, rng_seed=rng_seed, device=device, moments=moments)
        moments = trained.moments
        if trained.diverged:
            seconds = time.perf_counter() - start
            return Evaluation(top1=0.0, status="diverged", seconds=seconds, note="the loss became NaN or infinite")
    if norm_images:
        calibrate_norms(net, drawn(data.train, norm_images), data, device=device)
    accuracy = top1(net, data.holdout, data, device=device)
    state = TrainedNet(
        arch=net.arch,
        weights=arrays_of(net.state_dict()),
        first=arrays_of(moments.first) if moments else {},
        second=arrays_of(moments.second) if moments else {},
        updates=moments.updates if moments else 0,
        top1=accuracy,
    )
    return Evaluation(top1=accuracy, seconds=time.perf_counter() - start, state=state)


def tensors_of(arrays: Mapping[str, np.ndarray]) -> dict[str, "Tensor"]:
    """Copies of the arrays of a `TrainedNet`."""
    import torch

    return {name: torch.tensor(array) for name, array in arrays.items()}  # a copy: shared arrays are read-only


def arrays_of(tensors: Mapping[str, "Tensor"]) -> dict[str, np.ndarray]:
    """The arrays of a `TrainedNet`."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
