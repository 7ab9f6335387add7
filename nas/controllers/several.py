"""`Several`: a search for several targets, with a controller for each of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.controllers.contract import check_count, check_state, told
from nas.controllers.region import Region, keep_within
from nas.goals import Nearest
from nas.seeds import controller_seed
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.controllers import Controller

__all__ = ["Several"]

_AGAIN = 4  # times that a controller is asked for something new, where another has proposed the same

RewardFunction = Callable[[float, float], float]


class Several:
    """Controllers that propose in turn, each for a reward of its own.

    Those with a model learn from every network, since what is known of an accuracy counts for all targets alike; a
    policy or a population learns from its own proposals.

    Args:
        make: gives a controller by its seed.
        targets: how many there are, each with a controller.
        rng_seed: from which each has a seed of its own.
    """

    def __init__(
        self,
        space: SearchSpace,
        make: "Callable[[int], Controller]",
        targets: int,
        *,
        rng_seed: int,
    ) -> None:
        self._space = space
        self._seeds = [controller_seed(rng_seed, i) for i in range(targets)]
        self._controllers = [make(seed) for seed in self._seeds]
        self._turn = 0
        self._proposed: dict[tuple[int, ...], int] = {}  # points to the controller that proposed them, since `observe`

    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: RewardFunction) -> None:
        """See `nas.controllers.model.Model.inform`; of a `Nearest` each is told the reward for its own target."""
        from nas.controllers import inform

        rewards = reward.rewards if isinstance(reward, Nearest) else [reward] * len(self._controllers)
        for controller, own in zip(self._controllers, rewards, strict=True):
            inform(controller, latency_ms, own)

    def restrict(self, region: Region) -> None:
        """See `nas.controllers.region.keep_within`."""
        pairs = zip(self._controllers, self._seeds, strict=True)
        self._controllers = [keep_within(controller, region, rng_seed=seed) for controller, seed in pairs]

    def recall(self, searches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """See `nas.controllers.recall`."""
        from nas.controllers import recall

        for controller in self._controllers:
            recall(controller, searches)

    def propose(self, n: int) -> np.ndarray:
        """(n, C): from each controller every so many, beginning with the one whose turn it is."""
        check_count(n)
        count = len(self._controllers)
        turns = [(self._turn + i) % count for i in range(n)]
        self._turn = (self._turn + n) % count
        found = np.zeros((n, len(self._space.choices)), dtype=np.int64)
        for k in dict.fromkeys(turns):
            rows = [i for i, turn in enumerate(turns) if turn == k]
            found[rows] = self._new(self._controllers[k], len(rows))
            for point in self._points(found[rows]):
                self._proposed.setdefault(point, k)
        return found

    def _new(self, controller: "Controller", n: int) -> np.ndarray:
        """(n, C) proposals; instead of what another has just proposed, if possible, something else."""
        found = controller.propose(n)
        for _ in range(_AGAIN):
            again = [i for i, point in enumerate(self._points(found)) if point in self._proposed]
            if not again:
                break
            found[again] = controller.propose(len(again))
        return found

    def _points(self, indices: np.ndarray) -> list[tuple[int, ...]]:
        return list(map(tuple, self._space.canonical(indices).tolist()))

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Tells each controller what it learns from.

        Args:
            rewards: (n, targets) by the reward for each; NaN is left out.
        """
        columns = np.asarray(rewards)
        if columns.ndim != 2 or columns.shape[1] != len(self._controllers):
            raise ValueError(f"rewards must be (n, {len(self._controllers)}), one for each target, not {columns.shape}")
        for k, controller in enumerate(self._controllers):
            points, values = told(self._space, indices, columns[:, k])
            mine = [self._proposed.get(point, k) == k for point in self._points(points)]
            rows = np.arange(len(points)) if getattr(controller, "has_model", False) else np.flatnonzero(mine)
            if len(rows):
                controller.observe(points[rows], values[rows])
        self._proposed = {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "controllers": [each.state_dict() for each in self._controllers],
            "turn": self._turn,
            "proposed": dict(self._proposed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state("for several targets", state, ("controllers", "turn", "proposed"))
        if len(state["controllers"]) != len(self._controllers):
            raise ValueError("this is the state of a search for another number of targets")
        for controller, own in zip(self._controllers, state["controllers"], strict=True):
            controller.load_state_dict(own)
        self._turn, self._proposed = state["turn"], dict(state["proposed"])
