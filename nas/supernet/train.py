"""Training shared weights, in three phases.

Trained on random networks of the `mnasnet` space from the start, shared weights are at chance level after 3,000 updates
(experiments/results/shared_weights_ranking_fashion_mnist_mini.csv), perhaps because networks with different operators
compute features that have little to do with each other. So

1. *largest*: the space's largest network is trained alone. It is the teacher from here on, with weights that stay.
2. *align*: every stretch of a random network learns to compute what the teacher's stretch computes from the same input,
   each by itself (block-wise distillation, DNA, arXiv:1911.13053), so that operators can stand in for each other.
3. *mixed*: random networks are trained as a whole; or those of a policy that learns with them (`nas.supernet.policy`),
   which is all that TuNAS does.

What each phase is worth is measured by ``python -m experiments.shared_weights_ranking``.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.supernet import checkpoint
from nas.supernet.module import Supernet
from nas.supernet.phases import PHASES, Phase
from nas.supernet.policy import Drawn, JointPolicy
from nas.supernet.routes import Route
from nas.training import on_gpu
from nas.training.datasets import Dataset, drawn
from nas.training.optimizers import new_optimizer
from nas.training.recipe import Recipe
from nas.training.schedules import schedule
from nas.training.train import augmented, normalise
from search_spaces import torch_net

__all__ = ["Teacher", "Training", "unlike"]

_REPORT_EVERY = 20  # updates
_STATISTICS_IMAGES = 512
_LEAST_VARIANCE = 1e-4  # of a teacher's feature: channels that say nothing do not count for more


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training of shared weights that can be stopped and continued at any update.

    All randomness of an update is a function of `rng_seed` and the update's number, so that a continued training ends
    with the weights of an uninterrupted one, bit for bit (on the same machine, with the same number of threads).

    Attributes:
        recipe: epochs or steps of all phases together, batch, decay, label smoothing; its `lr` is not used.
        phases: by the names in `PHASES`.
        largest: the teacher; nowhere may another network of the space have more channels.
        draw: a random network; which one depends on the generator alone.
        policy: draws the networks of the last phase instead, and learns after each of its updates.
        identity: what a checkpoint must have been made with.
        file: of the checkpoint.
        every_s: seconds between two checkpoints.
        rank, ranks: which of how many that train together this one is (`nas.supernet.parallel`). Each takes its part
            of every batch; the first one writes the checkpoint and teaches the policy.
        parallel: makes the module that computes the loss one that averages gradients over all ranks.
        on_save: called after a checkpoint was written.
    """

    supernet: Supernet
    data: Dataset
    recipe: Recipe
    phases: Mapping[str, Phase]
    largest: Route
    draw: Callable[[np.random.Generator], Route]
    rng_seed: int
    identity: Mapping[str, Any]
    file: Path
    device: str = "cpu"
    every_s: float = 30.0
    policy: JointPolicy | None = None
    rank: int = 0
    ranks: int = 1
    parallel: Callable[[nn.Module], nn.Module] | None = None
    on_save: Callable[[], None] | None = None

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.recipe.steps or self._in_epoch * self.recipe.epochs

    @property
    def ends(self) -> dict[str, int]:
        """For each phase the number of updates after which it is over."""
        shares = np.cumsum([self.phases[name].share for name in PHASES])
        return {name: round(self.steps * share / shares[-1]) for name, share in zip(PHASES, shares, strict=True)}

    def done(self) -> int:
        """Updates that the checkpoint has. Raises as `run` does."""
        return checkpoint.updates(self.file, self.identity)

    def run(self, on_step: Callable[[int, str, float], None] | None = None, stop_after: int | None = None) -> bool:
        """Trains from the checkpoint to the end, or for `stop_after` updates; returns whether that is the end.

        Args:
            on_step: called now and then with the number of updates done, the phase, and the mean loss since then.

        Raises:
            nas.supernet.checkpoint.CheckpointError: the file is damaged, or belongs to other shared weights.
            ValueError: there is nothing to align with, or the loss became NaN or infinite.
        """
        with on_gpu.many_shapes(self.device, self.data.resolution_px):
            return self._run(on_step, stop_after)

    def _run(self, on_step: Callable[[int, str, float], None] | None, stop_after: int | None) -> bool:
        net, ends = self.supernet, self.ends
        if ends["largest"] == 0 < ends["align"]:
            raise ValueError("the largest network gets no update before others learn from it; give it a larger share")
        net.to(self.device).train()
        optimizer = new_optimizer(net, self.recipe)
        done, beside = checkpoint.load(self.file, net, optimizer, self.identity)
        kept, teacher = _under("teacher/", beside), None
        if self.policy and done:
            self.policy.load(_under("policy/", beside))
        loss_of: nn.Module = _Loss(net, self._loss)
        if self.parallel:
            loss_of = self.parallel(loss_of)
        end = self.steps if stop_after is None else min(self.steps, done + stop_after)
        saved, total, summed = time.monotonic(), torch.zeros((), device=self.device), 0
        for step in range(done, end):
            phase, first, last = self._phase(step)
            if step == first and step:
                optimizer.state.clear()  # another loss, another learning rate
            if teacher is None and phase == "align":
                kept = kept or net.state_dict_of(self.largest, net.calibrate(self.largest, self._plain_batches()))
                teacher = self._teacher(kept)
            warmup = max(1, round(self.recipe.warmup * (last - first)))
            for group in optimizer.param_groups:
                group["lr"] = self.phases[phase].lr * schedule(step - first, warmup, last - first)
            optimizer.zero_grad(set_to_none=True)
            rng = np.random.default_rng((self.rng_seed, step))  # of what all ranks do alike
            drawn = self.policy.draw(step, rng) if self.policy and phase == "mixed" else None
            route = self._route(phase, rng) if drawn is None else drawn.route
            with on_gpu.autocast(self.device, self.data.resolution_px):
                loss = loss_of(step, phase, route, teacher)
            loss.backward()
            optimizer.step()
            if drawn:
                self._learn(drawn, step)
            total += loss.detach()
            summed += 1
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 in (last, end):
                mean = total.item() / summed
                if not math.isfinite(mean):
                    raise ValueError(
                        f"the training of the shared weights diverged after {step + 1} updates; "
                        f"try a lower learning rate than {self.phases[phase].lr:g} (evaluator.shared.{phase}.lr)"
                    )
                total.zero_()
                summed = 0
                if on_step:
                    on_step(step + 1, phase, mean)
                if time.monotonic() - saved > self.every_s:
                    self._save(optimizer, step + 1, kept)
                    saved = time.monotonic()
        if end > done:
            self._save(optimizer, end, kept)
        return end == self.steps

    def _save(self, optimizer: torch.optim.Optimizer, step: int, kept: Mapping[str, Tensor]) -> None:
        if self.rank:
            return
        beside = {f"teacher/{name}": value for name, value in kept.items()}
        if self.policy:
            beside |= {f"policy/{name}": value for name, value in self.policy.tensors().items()}
        checkpoint.save(self.file, self.supernet, optimizer, step, self.identity, beside)
        if self.on_save:
            self.on_save()

    def _phase(self, step: int) -> tuple[str, int, int]:
        """The phase of an update, its first update, and the one after its last."""
        first = 0
        for name, last in self.ends.items():
            if step < last:
                return name, first, last
            first = last
        raise ValueError(f"the training has {self.steps} updates; there is no number {step}")

    def _route(self, phase: str, rng: np.random.Generator) -> Route:
        return self.largest if phase == "largest" else self.draw(rng)

    def _learn(self, drawn: Drawn, step: int) -> None:
        """Teaches the policy by the network that was just trained."""
        assert self.policy
        if self.rank == 0:
            rng = np.random.default_rng((self.rng_seed, step, 2))
            self.policy.learn(self.supernet, drawn, step, rng, self.device)
        if self.ranks > 1:
            self.policy.load(_of_the_first(self.policy.tensors()))

    def _loss(self, step: int, phase: str, route: Route, teacher: "Teacher | None") -> Tensor:
        rng = np.random.default_rng((self.rng_seed, step, 3, self.rank))
        x, y = self._batch(step, rng)
        if phase == "align":
            assert teacher is not None
            return unlike(self.supernet, route, x, teacher)
        with torch.random.fork_rng(devices=[]):  # dropout draws from torch's generator
            torch.manual_seed(int(rng.integers(2**62)))
            return F.cross_entropy(self.supernet(x, route), y, label_smoothing=self.recipe.label_smoothing)

    @property
    def _in_epoch(self) -> int:
        return max(1, len(self.data.train) // self.recipe.batch)

    def _batch(self, step: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        epoch, number = divmod(step, self._in_epoch)
        size = min(self.recipe.batch, len(self.data.train))
        order = np.random.default_rng((self.rng_seed, epoch, 1)).permutation(len(self.data.train))
        picked = order[number * size : (number + 1) * size][self.rank :: self.ranks]
        return augmented(self.data.train, picked, self.data, crop_px=self.recipe.crop_px, rng=rng, device=self.device)

    def _plain_batches(self) -> Iterator[Tensor]:
        images = drawn(self.data.train, _STATISTICS_IMAGES).images
        for chunk in np.array_split(images, -(-len(images) // 256)):
            yield normalise(torch.from_numpy(chunk), self.data, self.device)

    def _teacher(self, weights: Mapping[str, Tensor]) -> "Teacher":
        return Teacher(self.largest, weights, self._plain_batches(), self.device)


class _Loss(nn.Module):
    """A loss as a module with the weights that it depends on."""

    def __init__(self, net: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net, self._loss = net, loss

    def forward(self, *args: Any) -> Tensor:
        return self._loss(*args)


def _of_the_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of rank 0."""
    values = [tensors]
    torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class Teacher:
    """A network that stays as it is: its features after each layer of the space, and their variances."""

    def __init__(self, route: Route, weights: Mapping[str, Tensor], batches: Iterator[Tensor], device: str) -> None:
        self._layer_after = {stretch.last: stretch.layer for stretch in route.stretches}
        self._net = torch_net.build(route.arch)
        self._net.load_state_dict(weights)
        self._net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        features = [self.features(x) for x in batches]
        self.variances = {
            layer: torch.cat([f[layer].float().transpose(0, 1).flatten(1) for f in features], 1).var(1)
            for layer in self._layer_after.values()
        }

    @torch.no_grad()
    def features(self, x: Tensor) -> dict[int, Tensor]:
        """(N, C, H, W) after each layer, (N, classes) after the last."""
        features = {}
        for i, block in enumerate(self._net.blocks):
            x = block(x)
            if i in self._layer_after:
                features[self._layer_after[i]] = x
        return features


def unlike(net: Supernet, route: Route, x: Tensor, teacher: Teacher) -> Tensor:
    """How far the stretches of a network are from the teacher's, each on the teacher's input: the mean over stretches
    and channels of the squared difference, in variances of the teacher's feature. The last stretch, with the classes,
    does not count."""
    features = teacher.features(x)
    losses = []
    for stretch in route.stretches[:-1]:
        mine, x_next = net.stretch(x[:, : stretch.in_ch], stretch), features[stretch.layer]
        losses.append(_distance(mine, x_next, teacher.variances[stretch.layer]))
        x = x_next
    return torch.stack(losses).mean()


def _distance(mine: Tensor, feature: Tensor, variance: Tensor) -> Tensor:
    """Mean over channels of the squared difference, in variances; the teacher may have more channels."""
    channels = mine.shape[1]
    squares = (mine - feature[:, :channels]).square().mean((0, 2, 3))
    return (squares / variance[:channels].clamp(min=_LEAST_VARIANCE)).mean()
