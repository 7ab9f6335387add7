"""Simulated annealing (Kirkpatrick, Gelatt and Vecchi, Science 220, 1983), as a controller.

A network is changed in one choice. The new one is kept if it is better, and also with the probability exp(-loss / T) if
it is not; T falls with every network, so that the search wanders first and climbs in the end.

    python -m nas.search +target=pixel1_small controller=annealing
    python -m nas.search +target=pixel1_small controller=annealing controller.settings.cooling=0.99
    python -m nas.search +target=pixel1_small controller=simulated_annealing:Annealing      # in this folder
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.controllers.contract import Number, check_count, check_settings, check_state, setting, told
from search_spaces.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class AnnealingSettings:
    """Settings of the controller."""

    temperature: float = setting(
        0.02, Number(0, 1000, above=True), "at first: so large a loss of reward is taken with the probability 1 / e"
    )
    cooling: float = setting(0.97, Number(0, 1, above=True), "what it is multiplied with after each network")

    def __post_init__(self) -> None:
        check_settings("annealing", self)


class Annealing:
    """The controller; see the module's text."""

    def __init__(self, space: SearchSpace, settings: AnnealingSettings | None = None, *, rng_seed: int = 0) -> None:
        self._space = space
        self._settings = settings or AnnealingSettings()
        self._rng = np.random.default_rng(rng_seed)
        self._points = np.zeros((0, len(space.choices)), dtype=np.int64)  # where the search is, if it has begun
        self._reward = -math.inf
        self._steps = 0

    def propose(self, n: int) -> np.ndarray:
        """(n, C) changes of the network where the search is; random ones at first."""
        check_count(n)
        if not len(self._points):
            return self._space.sample(self._rng, n)
        return np.array([self._space.mutate(self._rng, self._points[0]) for _ in range(n)])

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Goes to each network of `indices` (n, C) that is better, or taken nevertheless; NaN rewards are left out."""
        for point, reward in zip(*told(self._space, indices, rewards), strict=True):
            if np.isnan(reward):
                continue
            temperature = self._settings.temperature * self._settings.cooling**self._steps
            self._steps += 1
            loss = self._reward - reward
            if loss <= 0 or self._rng.random() < math.exp(-loss / max(temperature, 1e-300)):
                self._points, self._reward = point[None].copy(), float(reward)

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "points": self._points.copy(),
            "reward": self._reward,
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        shape = {"points": (len(self._space.choices),)}
        check_state("annealing", state, ("rng", "points", "reward", "steps"), shapes=shape)
        self._rng.bit_generator.state = state["rng"]
        self._points, self._reward, self._steps = state["points"].copy(), state["reward"], state["steps"]
