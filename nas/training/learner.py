"""`Learner`: a network that learns, one update of its weights at a time: the inner part of every training."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from nas.training import on_gpu
from nas.training.optimizers import new_optimizer
from nas.training.recipe import Recipe
from nas_runtime.memory import keep_freed_memory

__all__ = ["Learner", "Together", "ramped"]

_MANY: Any = torch  # has functions of many tensors at once, which type checkers do not know


class Together:
    """How processes that train together combine what each has computed; this one is alone.

    Attributes:
        rank, ranks: which of how many this one is.
    """

    rank, ranks = 0, 1

    def module(self, net: nn.Module) -> nn.Module:
        """`net`, whose gradients after a backward pass are the mean over all ranks."""
        return net

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks."""
        return tensor


class Learner:
    """A network with its optimizer, the moving average of its weights, and the statistics of its batch norms.

    Args:
        net: on `device`, in channels_last; it is trained in place.
        resolution_px: of the images; it decides on the precision on a GPU (`on_gpu.autocast`).
        lr_on: see `new_optimizer`.
        teacher: what the network also learns from: it gives logits (n, classes) for images.
    """

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        *,
        device: str,
        resolution_px: int,
        lr_on: str | None = None,
        teacher: Callable[[Tensor], Tensor] | None = None,
        together: Together | None = None,
    ) -> None:
        keep_freed_memory()
        self.net, self.recipe, self.together = net, recipe, together or Together()
        self.optimizer = new_optimizer(net, recipe, lr_on=lr_on)
        self.average = None if recipe.ema is None else deepcopy(net).requires_grad_(False)
        self.updates = 0
        self._device, self._px, self._teacher = device, resolution_px, teacher
        self._module = self.together.module(net)
        self._norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]

    @property
    def result(self) -> nn.Module:
        """What the training gives: the moving average, or the network itself."""
        return self.net if self.average is None else self.average

    def set_lr(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        """One update by the images x (n, C, H, W) and their labels y, (n,) int64 or (n, classes) float; its loss."""
        size = self.recipe.micro_batch or len(x)
        parts = list(zip(x.split(size), y.split(size), strict=True))
        return self.update_by(parts, len(x), len(parts))

    def update_by(
        self,
        parts: Sequence[tuple[Tensor, Tensor]],
        images: int,
        count: int,
        seed: Callable[[int], int] | None = None,
    ) -> Tensor:
        """One update by the mean loss over the images of all micro-batches, those of other ranks included.

        Args:
            parts: this rank's, at least one, in their order: of `count` in all every `ranks`-th from its rank on.
            images: in all.
            seed: of what is random within the network (dropout), by the place of the micro-batch; None: torch's
                generator goes on.

        Returns:
            This rank's part of the loss; the sum over ranks is the whole.
        """
        self._set_momentum()
        self.optimizer.zero_grad(set_to_none=True)
        statistics = _Statistics(self._norms) if count > 1 else None
        losses: list[Tensor] = []
        for place, (x, y) in enumerate(parts):
            if seed:
                torch.manual_seed(seed(self.together.rank + place * self.together.ranks))
            with self._synchronised(last=place + 1 == len(parts)):
                with on_gpu.autocast(self._device, self._px):
                    loss = self._loss(x, y)
                share = len(x) / images
                if share != 1:
                    loss = loss * share
                (loss * self.together.ranks if self.together.ranks > 1 else loss).backward()
            losses.append(loss.detach())
            if statistics:
                statistics.take(share)
        if statistics:
            statistics.put(self.together)
        self.optimizer.step()
        if self.average is not None:
            self._take_into(self.average)
        self.updates += 1
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _loss(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self._module(x)
        own = F.cross_entropy(logits, y, label_smoothing=self.recipe.label_smoothing)
        if self._teacher is None:
            return own
        temperature, share = self.recipe.temperature, self.recipe.teacher_weight
        with torch.no_grad():
            wanted = F.log_softmax(self._teacher(x) / temperature, 1)
        given = F.log_softmax(logits / temperature, 1)
        distance = F.kl_div(given, wanted, reduction="batchmean", log_target=True) * temperature**2
        return (1 - share) * own + share * distance

    def _synchronised(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over the ranks with the last backward pass of an update."""
        return nullcontext() if last or self.together.ranks == 1 else self._module.no_sync()  # type: ignore[operator]

    def _set_momentum(self) -> None:
        if self.recipe.norm_momentum is not None:
            for norm in self._norms:
                norm.momentum = 1 - ramped(1 - self.recipe.norm_momentum, self.updates)

    @torch.no_grad()
    def _take_into(self, average: nn.Module) -> None:
        """Takes the weights and buffers that the update has left into their moving average; on a GPU without waiting
        for it, as `torch.optim.swa_utils.AveragedModel` does, which keeps the number of updates in a tensor."""
        assert self.recipe.ema is not None
        weight = 1 - ramped(self.recipe.ema, self.updates) if self.updates else 1.0  # the first update's as they are
        pairs = zip(_tensors(average), _tensors(self.net), strict=True)
        floats, others = [], []  # others: numbers of batches
        for pair in pairs:
            (floats if pair[0].is_floating_point() else others).append(pair)
        if floats:
            _MANY._foreach_lerp_(*map(list, zip(*floats, strict=True)), weight)
        for mean, now in others:
            mean.copy_(now)


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def ramped(decay: float, updates: int) -> float:
    """The decay of a moving average after so many updates: at most (1 + n) / (10 + n), as TensorFlow's
    ``ExponentialMovingAverage`` has it, so that the average is of about the last ninth of a training that is too short
    for `decay`."""
    return min(decay, (1 + updates) / (10 + updates))


class _Statistics:
    """The running statistics of batch norms, as they were before an update; each micro-batch begins with them, and what
    they come to is the mean over all, by their images."""

    def __init__(self, norms: Sequence[_BatchNorm]) -> None:
        found = [(norm.running_mean, norm.running_var) for norm in norms]
        self._live = [tensor for pair in found for tensor in pair if tensor is not None]
        self._counts = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        self._before = [tensor.clone() for tensor in self._live]
        self._count_before = [tensor.clone() for tensor in self._counts]
        self._sums = [torch.zeros_like(tensor) for tensor in self._live]

    def take(self, share: float) -> None:
        """After the backward pass of a micro-batch, which reads them; it has this share of the batch's images."""
        if self._live:
            _MANY._foreach_add_(self._sums, self._live, alpha=share)
            _MANY._foreach_copy_(self._live, self._before)

    def put(self, together: Together) -> None:
        if not self._live:
            return
        sizes = [tensor.numel() for tensor in self._live]
        means = together.summed(torch.cat([tensor.flatten() for tensor in self._sums]))
        _MANY._foreach_copy_(self._live, list(means.split(sizes)))
        for now, before in zip(self._counts, self._count_before, strict=True):
            now.copy_(before + 1)
