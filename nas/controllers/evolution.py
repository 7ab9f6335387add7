"""Regularized evolution (arXiv:1802.01548): the best of a few of the youngest networks has a child, the oldest dies.

Death by age, not by rank, is the regularization: a network that was lucky once is forgotten, and what stays is what
does well again and again.

What differs from the paper's algorithm 1, as its authors' code has it (google-research,
evolution/regularized_evolution_algorithm):

- a tournament is of different networks; the code draws with replacement, so that its 25 of 100 are 22 in the mean;
- 50 networks live, not 100, since many searches have not many more samples than that;
- a child is never a network that was proposed before, whose result would be known; the paper's may be its parent again;
- a child differs in one choice of the space, whatever it is; the paper's mutations are those of NASNet's cells;
- networks come in batches, and a batch's children have parents of earlier batches; the paper's workers go on each by
  itself. A network without a reward (it failed) is no member.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.controllers.contract import Number, Whole, check_count, check_settings, check_state, setting, told
from search_spaces.space import SearchSpace

__all__ = ["Evolution", "EvolutionSettings"]

_TRIES = 100  # at a child that is new


@dataclass(frozen=True, kw_only=True)
class EvolutionSettings:
    """Settings of the controller."""

    population: int = setting(50, Whole(1, 100_000), "how many of the youngest networks live and may have children")
    tournament: int = setting(
        25, Whole(1, 100_000), "of how many of them, drawn without replacement, the best is the parent"
    )
    again: float = setting(
        0.0, Number(0, 0.99), "a child has one choice changed, with this probability another one, and so on"
    )

    def __post_init__(self) -> None:
        check_settings("evolution", self)
        if self.tournament > self.population:
            raise ValueError(
                f"controller evolution: tournament={self.tournament}, population={self.population}; "
                "allowed: 1 <= tournament <= population"
            )


class Evolution:
    """The controller; see the module's text."""

    def __init__(self, space: SearchSpace, settings: EvolutionSettings | None = None, *, rng_seed: int = 0) -> None:
        self._space = space
        self._settings = settings or EvolutionSettings()
        self._rng = np.random.default_rng(rng_seed)
        self._population: list[tuple[float, tuple[int, ...]]] = []  # reward and point, the oldest first
        self._known: set[tuple[int, ...]] = set()  # canonical points that were proposed or observed

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors: random ones until a population was proposed, then children."""
        check_count(n)
        return np.array([self._new() for _ in range(n)])

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Adds the networks `indices` (n, C) with `rewards` (n,) to the population; NaN rewards are left out."""
        for point, reward in zip(*told(self._space, indices, rewards), strict=True):
            self._known.add(self._canonical(point))
            if not np.isnan(reward):
                member = tuple(point.tolist())
                self._population = [old for old in self._population if old[1] != member]
                self._population.append((float(reward), member))
        del self._population[: -self._settings.population]

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "population": [(reward, list(point)) for reward, point in self._population],
            "known": sorted(map(list, self._known)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state("evolution", state, ("rng", "population", "known"))
        population = [(reward, tuple(point)) for reward, point in state["population"]]
        if any(len(point) != len(self._space.choices) for point in [*state["known"], *(p for _, p in population)]):
            raise ValueError("controller evolution: this is the state of another space")
        self._rng.bit_generator.state = state["rng"]
        self._population, self._known = population, set(map(tuple, state["known"]))

    def _new(self) -> np.ndarray:
        """A point that was not proposed before, unless `_TRIES` did not find one."""
        young = len(self._known) < self._settings.population or not self._population

        def draw() -> np.ndarray:
            return self._space.sample(self._rng, 1)[0] if young else self._child()

        point, tries = draw(), 1
        while self._canonical(point) in self._known and tries < _TRIES:
            point, tries = draw(), tries + 1
        self._known.add(self._canonical(point))
        return point

    def _child(self) -> np.ndarray:
        size = min(self._settings.tournament, len(self._population))
        drawn = self._rng.choice(len(self._population), size=size, replace=False)
        _, parent = max((self._population[i] for i in drawn), key=lambda member: member[0])
        child = self._space.mutate(self._rng, parent)
        while self._rng.random() < self._settings.again:
            child = self._space.mutate(self._rng, child)
        return child

    def _canonical(self, point: np.ndarray) -> tuple[int, ...]:
        return tuple(self._space.canonical(point[None])[0].tolist())
