"""Searches whose best network is known: what `experiments.search_quality` lets methods do.

    soft            ACC x (LAT/51 ms)^-0.07, MobileNetV3-Large's place
    small           ACC x (LAT/30 ms)^-0.15, a small network
    absolute        ACC - 0.2 x |LAT/51 ms - 1|, TuNAS's reward, which has 0.1 in its code
    noisy           soft, but every evaluation is off at random by 0.5 points (deviation): what short trainings give
    cells_soft      ACC x (MAdds/100 M)^-0.07 of the 15,625 cells of NAS-Bench-201
    cells_absolute  ACC - 0.2 x |MAdds/100 M - 1| of these

The first four are of the space accel_nasbench with latencies of the pixel1 table; accuracies are those of
`nas.surrogate`, which stand for short trainings on ImageNet, and `Benchmark.error` says which differences
are within its error. The settings of `bayesian` were chosen on them.

The cells (arXiv:2001.00326) were trained on CIFAR-10, one by one. Their accuracies are read from a CSV file with the
columns `edge1` .. `edge6` (skip, none, conv3x3, conv1x1 or pool) and `top1_percent`; the package analog-nasbench 0.1.3
has such. Nothing was chosen on them. Multiply-adds stand for the latency: like it they are known beforehand.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np

import latency_luts
from nas.reward import Reward
from nas.surrogate import Surrogate
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.space import Choice, Indices, SearchSpace

__all__ = ["CELLS", "NAMES", "Answers", "Benchmark", "best_known", "get"]

_SOFT = Reward(name="soft", target_ms=51, w=-0.07)
_REWARDS = {
    "soft": _SOFT,
    "small": Reward(name="soft", target_ms=30, w=-0.15),
    "absolute": Reward(name="absolute", target_ms=51, beta=-0.2),
    "noisy": _SOFT,
    "cells_soft": Reward(name="soft", target_ms=100, w=-0.07),
    "cells_absolute": Reward(name="absolute", target_ms=100, beta=-0.2),
}
_NOISE = {"noisy": 0.005}
NAMES = tuple(_REWARDS)
CELLS = tuple(name for name in NAMES if name.startswith("cells"))  # which need a file
_OPERATIONS = ("skip", "none", "conv3x3", "conv1x1", "pool")
_FEW = 100_000  # points of which every one is looked at
_STARTS = 200  # local searches in a space of more


@dataclass(frozen=True)
class Answers:
    """For points (n, C): the top-1 that a method is told (n,), their cost and their true reward."""

    top1: np.ndarray
    cost: np.ndarray
    true: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A space, and what is known of its networks.

    Attributes:
        top1: the true accuracy of points (n, C), fractions (n,).
        cost: of points, known before they are evaluated: ms or millions of multiply-adds, as `unit` says.
        noise: deviation of the accuracies that a method is told.
        error: how far the difference in `top1` of two good networks is off in the mean; 0 where it is measured.
    """

    name: str
    space: SearchSpace
    reward: Reward
    top1: Callable[[np.ndarray], np.ndarray]
    cost: Callable[[np.ndarray], np.ndarray]
    unit: str
    noise: float = 0.0
    error: float = 0.0

    def ask(self, indices: np.ndarray, rng_seed: int) -> Answers:
        """A network always has the same answer in runs of one `rng_seed`, whichever method asks."""
        top1, cost = self.top1(indices), self.cost(indices)
        true = np.array([self.reward(a, c) for a, c in zip(top1, cost, strict=True)])
        if self.noise:
            top1 = top1 + [self.noise * np.random.default_rng([rng_seed, *row]).standard_normal() for row in indices]
        return Answers(top1, cost, true)

    def describe(self) -> str:
        return f"{self.name}: {self.reward.describe()}, target {self.reward.target_ms:g} {self.unit}"

    def error_percent(self, point: np.ndarray) -> float:
        """`error` in percent of the reward of `point` (C,)."""
        (top1,), (cost,) = self.top1(point[None]), self.cost(point[None])
        reward = self.reward(top1, cost)
        return 100 * (self.reward(top1 + self.error, cost) - reward) / reward


@cache
def get(name: str, path: str = "") -> Benchmark:
    """The benchmark `name`.

    Raises:
        ValueError: it needs the file of cells, and `path` is not it.
    """
    if name in CELLS:
        space, top1 = _cells(path)
        return Benchmark(
            name=name, space=space, reward=_REWARDS[name], top1=top1, cost=_million_madds, unit="M multiply-adds"
        )
    surrogate, space = Surrogate.load(), spaces.get("accel_nasbench")
    return Benchmark(
        name=name,
        space=space,
        reward=_REWARDS[name],
        top1=surrogate.top1,
        cost=partial(latency_luts.load("pixel1").latency_ms_batch, space),
        unit="ms",
        noise=_NOISE.get(name, 0.0),
        error=surrogate.difference,
    )


def _cells(path: str) -> tuple[SearchSpace, Callable[[np.ndarray], np.ndarray]]:
    if not path:
        raise ValueError(f"path= is missing: {' and '.join(CELLS)} need a file; see experiments/search_benchmarks.py")
    names = [f"edge{i}" for i in range(1, 7)]
    space = SearchSpace(
        name="nas_bench_201", choices=tuple(Choice(name, _OPERATIONS) for name in names), decode=_no_network
    )
    known = np.full([len(_OPERATIONS)] * len(names), np.nan)
    try:
        with Path(path).open(newline="") as file:
            for row in csv.DictReader(file):
                known[tuple(space.encode({name: row[name] for name in names}))] = float(row["top1_percent"]) / 100
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as e:
        raise ValueError(f"path={path}: no table of cells ({e}); see experiments/search_benchmarks.py") from None
    if missing := int(np.isnan(known).sum()):
        raise ValueError(f"path={path}: {missing} of {known.size} cells are missing")
    return space, lambda indices: known[tuple(np.asarray(indices).T)]


def _no_network(indices: Indices) -> Arch:
    raise ValueError("cells of NAS-Bench-201 are known by their accuracies only")


def _million_madds(indices: np.ndarray) -> np.ndarray:
    """(n,) of cells (n, 6): five in each of three stages of 16, 32 and 64 channels at 32, 16 and 8 px, with a stem, two
    residual blocks and a classifier, as NAS-Bench-201 counts them."""
    stages = ((16, 32), (32, 16), (64, 8))
    pointwise = sum(5 * ch**2 * px**2 for ch, px in stages)
    between = sum((9 * ch // 2 + 9 * ch + ch // 2) * ch * px**2 for ch, px in stages[1:])
    fixed = 3 * 16 * 9 * 32**2 + between + 64 * 10
    an_operation = np.array([0, 0, 9 * pointwise, pointwise, 0])
    return (fixed + an_operation[np.asarray(indices)].sum(axis=1)) / 1e6


def best_known(benchmark: Benchmark) -> np.ndarray:
    """(C,) the point of the best true reward: of all, or in a large space of what local searches find."""
    space = benchmark.space
    if space.size <= _FEW:
        points = np.array(list(product(*(range(len(choice.options)) for choice in space.choices))))
        return points[benchmark.ask(points, 0).true.argmax()]
    starts = space.sample(np.random.default_rng(0), _STARTS)
    ends = np.array([_local_search(benchmark, start) for start in starts])
    return ends[benchmark.ask(ends, 0).true.argmax()]


def _local_search(benchmark: Benchmark, point: np.ndarray) -> np.ndarray:
    best = benchmark.ask(point[None], 0).true[0]
    for changes in (1, 2, 1, 2):
        while True:
            near = _neighbours(benchmark.space, point, changes)
            rewards = benchmark.ask(near, 0).true
            if rewards.max() <= best:
                break
            best, point = rewards.max(), near[rewards.argmax()]
    return point


def _neighbours(space: SearchSpace, point: np.ndarray, changes: int) -> np.ndarray:
    """(n, C) all points that differ in exactly so many choices, 1 or 2."""
    sizes = [len(choice.options) for choice in space.choices]
    single = [((c, option),) for c, size in enumerate(sizes) for option in range(size) if option != point[c]]
    both = [(*a, *b) for a in single for b in single if a[0][0] < b[0][0]]
    near = np.repeat(point[None], len(single if changes == 1 else both), axis=0)
    for row, change in zip(near, single if changes == 1 else both, strict=True):
        for c, option in change:
            row[c] = option
    return near
