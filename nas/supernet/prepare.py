"""Shared weights for a search: trains them, or continues, or reads them where they are done."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from nas.controllers.reinforce import Reinforce
from nas.devices import Latency
from nas.reward import Reward
from nas.supernet.phases import PHASES, Joint, Phase
from nas.training.place import Workers
from nas.training.recipe import Recipe
from nas_runtime.console import in_ms
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.supernet.module import Supernet
    from nas.supernet.policy import JointPolicy, Learned
    from nas.supernet.train import Training
    from nas.training.trainer import Trainer
    from search_spaces.layout import Layout

__all__ = ["FILE", "Problem", "SharedPlan", "prepare", "within"]

FILE = "shared.safetensors"  # in a run's directory
_SAY_EVERY_S = 20.0
_LOOKS = 5  # at how busy other programs are
_DRAWN_AT_ONCE = 16
_MOST_DRAWS = 1000
_BYTES_A_WEIGHT = 28  # itself, its gradient, AdamW's two means, and a copy for the checkpoint


@dataclass(frozen=True, kw_only=True)
class SharedPlan:
    """How shared weights are trained and used.

    Attributes:
        recipe: of their training, all phases together.
        phases: see `nas.supernet.train.Training`.
        kernels: see `nas.supernet.phases.KERNELS`.
        band: random networks are drawn whose latency is within this share of the target, or of several targets from the
            shortest to the longest: 0.5 for half to one and a half
            times. With mode ``joint`` from the whole space, as TuNAS does.
        images: of the holdout, for one evaluation.
        bn_images: for batch norm's statistics.
        mode: see `nas.supernet.phases.MODES`.
        joint: with mode ``joint``.
        workers: of the Ray cluster that this process has joined, which train; None: this process does.
    """

    recipe: Recipe
    phases: Mapping[str, Phase]
    kernels: str
    band: float
    images: int
    bn_images: int
    mode: str = "two_stage"
    joint: Joint = field(default_factory=Joint)
    workers: Workers | None = None


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the weights are for.

    Attributes:
        longest_ms: the longest of several targets, of which `target_ms` is the shortest; None: there is one.
        reward: of the policy that learns with them; without it, or with mode ``two_stage``, there is none.
    """

    space: SearchSpace
    latency: Latency
    target_ms: float
    longest_ms: float | None = None
    reward: Reward | None = None


def prepare(
    run_dir: Path,
    shared: SharedPlan,
    problem: Problem,
    *,
    trainer: "Trainer",
    rng_seed: int,
    threads: int,
    console: Console,
) -> tuple[dict[str, np.ndarray], "Learned | None"]:
    """The trained weights by name, and the controller that learned with them, if one did.

    Raises:
        ValueError: they do not fit into memory, or no network is drawn within the band.
        nas.supernet.checkpoint.CheckpointError: the file in `run_dir` is damaged or of another search.
    """
    import torch

    from nas.supernet.module import Supernet
    from search_spaces.layout import Layout

    torch.set_num_threads(threads)
    data, space = trainer.data, problem.space
    sizes = {"in_ch": data.channels, "classes": data.classes, "kernels": shared.kernels}
    layout = Layout(space)
    _check_largest(layout)
    _check_memory(Supernet(layout, device="meta", **sizes), space)
    net = Supernet(layout, generator=torch.Generator().manual_seed(rng_seed), **sizes)
    if shared.mode != "joint":
        problem = replace(problem, reward=None)
    training = _training(net, shared, problem, trainer, rng_seed, run_dir / FILE)
    if shared.workers and training.done() < training.steps:
        from nas.supernet import parallel

        parallel.train(training, shared.workers, _Progress(console, training.steps, None))
    if trainer.device == "cpu" and training.done() < training.steps and (note := _busy(threads)):
        console.print(note)
    training.run(_Progress(console, training.steps, training.policy))
    weights = {name: weight.detach().cpu().contiguous().numpy() for name, weight in net.weights.items()}
    return weights, training.policy.learned() if training.policy else None


def _training(
    net: "Supernet",
    shared: SharedPlan,
    problem: Problem,
    trainer: "Trainer",
    rng_seed: int,
    file: Path,
) -> "Training":
    """The training of the weights of `net`, and with a reward of a policy, from where `file` ends."""
    from nas.supernet.mixed import Mixtures
    from nas.supernet.policy import JointPolicy
    from nas.supernet.train import Training

    space, latency, reward = problem.space, problem.latency, problem.reward

    def route(indices: np.ndarray):
        arch = space.decode(indices)
        return net.route(arch, trainer.small(arch))

    longest_ms = problem.longest_ms or problem.target_ms
    band_ms = None if reward else [problem.target_ms * (1 - shared.band), longest_ms * (1 + shared.band)]
    draw = within(space, latency, *band_ms) if band_ms else lambda rng: space.sample(rng, 1)[0]
    draw(np.random.default_rng(rng_seed))  # if there is nothing to draw, better now than after the first phase
    training = Training(
        supernet=net,
        data=trainer.data,
        recipe=shared.recipe,
        phases=shared.phases,
        largest=route(space.largest),
        draw=lambda rng: route(draw(rng)),
        rng_seed=rng_seed,
        identity=_identity(net, shared, problem, trainer, rng_seed) | {"band_ms": band_ms},
        file=file,
        device=trainer.device,
    )
    if reward is None:
        return training
    policy = JointPolicy(
        Reinforce(space, rng_seed=rng_seed),
        mixtures=Mixtures(space, route, shared.kernels),
        latency_ms=lambda points: latency.latency_ms_batch(space, points),
        reward=reward,
        data=trainer.data,
        batch=shared.recipe.batch,
        steps=training.steps,
        joint=shared.joint,
    )
    return replace(training, policy=policy)


def _identity(
    net: "Supernet", shared: SharedPlan, problem: Problem, trainer: "Trainer", rng_seed: int
) -> dict[str, Any]:
    """What the weights depend on, besides the band that networks are drawn from."""
    data = trainer.data
    return {
        "space": problem.space.name,
        "networks": f"{problem.space.size:.6g}",
        "weights": sum(weight.numel() for weight in net.weights.values()),
        "min_px": trainer.min_px,
        "data": f"{data.name}, {len(data.train)} images of {data.resolution_px} px, {data.classes} classes",
        "recipe": shared.recipe.identity(),
        "phases": {name: asdict(phase) for name, phase in shared.phases.items()},
        "kernels": shared.kernels,
        "rng_seed": rng_seed,
        "policy": {**asdict(problem.reward), **asdict(shared.joint)} if problem.reward else None,
    }


def within(
    space: SearchSpace, latency: Latency, low_ms: float, high_ms: float
) -> Callable[[np.random.Generator], np.ndarray]:
    """Draws points (C,) of `space`, uniformly among those with a latency from `low_ms` to `high_ms`."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        for _ in range(_MOST_DRAWS):
            rows = space.sample(rng, _DRAWN_AT_ONCE)
            ms = latency.latency_ms_batch(space, rows)
            if ((low_ms <= ms) & (ms <= high_ms)).any():
                return rows[((low_ms <= ms) & (ms <= high_ms)).argmax()]
        raise ValueError(
            f"none of {_MOST_DRAWS * _DRAWN_AT_ONCE} random networks takes {in_ms(low_ms)} to {in_ms(high_ms)} ms; "
            "change space.base_width, or raise evaluator.shared.band"
        )

    return draw


def _check_largest(layout: "Layout") -> None:
    """Refuses a space whose largest network lacks a layer that others have: its weights would not be trained first."""
    space = layout.space
    there = {layer for layer, blocks in enumerate(space.declared().blocks(space.largest)) if blocks}
    if lacking := {layer for layer, _ in layout.blocks} - there:
        raise ValueError(
            f"space {space.name!r}: its largest network lacks layer {min(lacking) + 1}, which others have; say which "
            "option it has with OneOf(..., largest=...)"
        )


def _check_memory(shapes: "Supernet", space: SearchSpace) -> None:
    needed = _BYTES_A_WEIGHT * sum(weight.numel() for weight in shapes.weights.values())
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > 0.8 * available:
        raise ValueError(
            f"training the shared weights of space {space.name} takes {needed / 2**30:.1f} GiB, and this machine has "
            f"{available / 2**30:.1f}; lower space.base_width, or take away options"
        )


def _busy(threads: int) -> str:
    """What to do about other programs on the cores that `threads` threads will wait for; "" if there are too few.

    Counted while this program sleeps, and several times: the load average has what it did itself a moment ago, as
    measuring a table, and Ray's workers may still be starting.
    """
    if threads == 1:
        return ""
    cores = os.cpu_count() or 1
    taken = float(cores)
    for _ in range(_LOOKS):
        taken = min(taken, _busy_cores(cores))
        if taken < cores - threads + 0.7:  # the rest of the last core is not worth a word
            return ""
    return (
        f"note: other programs keep {taken:.1f} of {cores} cores busy, and {threads} threads that train one "
        "network wait for the slowest of them; if it stays so, stop (nothing is lost) and go on with workers=1"
    )


def _busy_cores(cores: int, seconds: float = 0.5) -> float:
    """How many of `cores` were busy in the next `seconds`, in which this program sleeps; 0 where the system does not
    tell."""
    try:
        before = _ticks()
        time.sleep(seconds)
        busy, whole = (now - then for now, then in zip(_ticks(), before, strict=True))
    except OSError:  # not Linux
        return 0.0
    return cores * busy / max(1, whole)


def _ticks() -> tuple[int, int]:
    """Ticks of all processors together: those in which they were busy, and all."""
    user, nice, system, idle, disks, *rest = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    busy = user + nice + system + sum(rest)
    return busy, busy + idle + disks


class _Progress:
    """Says now and then how far the training is."""

    def __init__(self, console: Console, steps: int, policy: "JointPolicy | None") -> None:
        self._console, self._steps, self._policy = console, steps, policy
        self._start: tuple[int, float] | None = None
        self._said, self._phase = 0.0, ""

    def __call__(self, step: int, phase: str, loss: float) -> None:
        now = time.monotonic()
        first, began = self._start = self._start or (step, now)
        if now - self._said < _SAY_EVERY_S and phase == self._phase and step < self._steps:
            return
        self._said, self._phase = now, phase
        left = (now - began) / max(1, step - first) * (self._steps - step) if step > first else 0.0
        where = f"phase {PHASES.index(phase) + 1} of {len(PHASES)} ({phase})"
        self._console.print(
            f"shared weights: {step}/{self._steps} updates, {where}, loss {loss:.3f}"
            + (f"; policy: {self._policy.describe()}" if self._policy and phase == "mixed" else "")
            + (f", {left:.0f} s left" if left else "")
        )
