"""Random search: the yardstick of every other controller."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nas.controllers.contract import check_count, check_state, told
from search_spaces.space import SearchSpace

__all__ = ["Random"]


class Random:
    """Uniformly random points; learns nothing."""

    def __init__(self, space: SearchSpace, *, rng_seed: int = 0) -> None:
        self._space = space
        self._rng = np.random.default_rng(rng_seed)

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors."""
        check_count(n)
        return self._space.sample(self._rng, n)

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        told(self._space, indices, rewards)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state("random", state, ("rng",))
        self._rng.bit_generator.state = state["rng"]
