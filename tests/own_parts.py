"""Things of one's own, good and bad, that tests choose by a dotted name: ``tests.own_parts:Sleepy``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.random import Random
from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources import DataFacts, Source, Wanted, facts_of, holdout_of
from search_spaces import cost
from search_spaces.arch import Arch
from search_spaces.mnasnet import mnasnet
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from tests.nowhere import Unknown  # pyright: ignore[reportMissingImports]


@dataclass(frozen=True, kw_only=True)
class SleepySettings:
    nights: int = 7
    depth: float = 0.5

    def __post_init__(self) -> None:
        if self.nights < 0:
            raise ValueError(f"controller sleepy: nights={self.nights}; it must be at least 0")


class Sleepy(Random):
    """Has settings."""

    def __init__(self, space: SearchSpace, settings: SleepySettings | None = None, *, rng_seed: int = 0) -> None:
        super().__init__(space, rng_seed=rng_seed)
        self.settings = settings


class Plain(Random):
    """Has none."""


class NeedsMore(Random):
    def __init__(self, space: SearchSpace, friend: str, *, rng_seed: int = 0) -> None:
        super().__init__(space, rng_seed=rng_seed)


@dataclass
class Choosy:
    """Settings without a default."""

    nights: int


class WithChoosy(Random):
    def __init__(self, space: SearchSpace, settings: Choosy, *, rng_seed: int = 0) -> None:
        super().__init__(space, rng_seed=rng_seed)


class WithDict(Random):
    def __init__(self, space: SearchSpace, settings: dict, *, rng_seed: int = 0) -> None:
        super().__init__(space, rng_seed=rng_seed)


class WithUnknown(Random):
    def __init__(self, space: SearchSpace, settings: "Unknown", *, rng_seed: int = 0) -> None:
        super().__init__(space, rng_seed=rng_seed)


class Mute:
    """No controller."""

    def __init__(self, space: SearchSpace, *, rng_seed: int = 0) -> None:
        self.space = space

    def propose(self, n: int) -> np.ndarray:
        return self.space.sample(np.random.default_rng(0), n)


def slim(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    return mnasnet(base_width=0.35 * base_width, resolution_px=resolution_px, classes=classes)


def no_space(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> int:
    return 3


def needs_depth(depth: int, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> int:
    return depth


def linear(top1: float, latency_ms: float, target_ms: float) -> float:
    """A tenth for each target."""
    return top1 - 0.1 * latency_ms / target_ms


def squared(top1: float, latency_ms: float, target_ms: float) -> float:
    return top1**2 * target_ms / latency_ms


def endless(top1: float, latency_ms: float, target_ms: float) -> float:
    return float("inf")


def wordy(top1: float, latency_ms: float, target_ms: float) -> str:
    return "good"


def of_two(top1: float, latency_ms: float) -> float:
    return top1


def noise(wanted: Wanted) -> Dataset:
    rng = np.random.default_rng(0)
    both, test = (Split(rng.integers(0, 256, (n, 16, 16, 1), dtype=np.uint8), rng.integers(0, 3, n)) for n in (100, 30))
    train, holdout = cut_holdout(both, holdout_of(wanted, 100, 20), rng_seed=0)
    return make("noise", train=train, holdout=holdout, test=test, classes=3)


def stubborn(wanted: Wanted) -> Dataset:
    """Has its own holdout, whatever is asked for."""
    return noise(Wanted(name=wanted.name))


def no_data(wanted: Wanted) -> int:
    return 3


def look(wanted: Wanted) -> DataFacts:
    return facts_of(noise(wanted))


def read_too_early(wanted: Wanted) -> Dataset:
    raise AssertionError("read, though nothing but its facts was asked for")


LOOKED_AT = Source(look=look, load=read_too_early)


@dataclass(frozen=True, kw_only=True)
class ThriftySettings:
    weight: float = 1.0


class Thrifty:
    """An evaluator that likes networks of few parameters."""

    accuracy = "1 for a network without parameters"
    classes = 10

    def __init__(self, settings: ThriftySettings | None = None, *, rng_seed: int = 0) -> None:
        self.settings, self.rng_seed = settings or ThriftySettings(), rng_seed

    def evaluate(self, arch: Arch) -> float:
        noise = np.random.default_rng([self.rng_seed, cost.params(arch)]).random() / 100
        return 0.99 / (1 + self.settings.weight * cost.params(arch) / 1e6) + noise


class Undecided:
    """An evaluator that says other things each time."""

    def __init__(self, *, rng_seed: int = 0) -> None:
        self._rng = np.random.default_rng(rng_seed)

    def evaluate(self, arch: Arch) -> float:
        return self._rng.random()


class Speechless:
    """No evaluator."""

    def __init__(self, *, rng_seed: int = 0) -> None:
        self.rng_seed = rng_seed


READS: list[Wanted] = []


def slow(wanted: Wanted) -> Dataset:
    """Notes each time that it is read."""
    READS.append(wanted)
    return noise(wanted)
