"""`Several`: a search for several targets, with a controller for each of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.controllers.contract import check_count, check_state, told
from nas.controllers.region import Region, keep_within
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.controllers import Controller

__all__ = ["Several"]

_AGAIN = 4  # times that a controller is asked for something new, where another has proposed the same

RewardFunction = Callable[[float, float], float]


class Several:
    """Controllers that propose in turn, each for a reward of its own, and that all learn from every network: what is
    known of a network's accuracy counts for all targets alike.

    Args:
        controllers: one for each of the rewards.
        rewards: of (top1, latency_ms), linear in top-1.
    """

    def __init__(
        self, space: SearchSpace, controllers: "Sequence[Controller]", rewards: Sequence[RewardFunction]
    ) -> None:
        self._space, self._controllers, self._rewards = space, tuple(controllers), tuple(rewards)
        self._turn = 0
        self._told: tuple[Callable[[np.ndarray], np.ndarray], RewardFunction] | None = None

    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: RewardFunction) -> None:
        """See `nas.controllers.model.Model.inform`; to be told before the first `observe`."""
        from nas.controllers import inform

        self._told = latency_ms, reward
        for controller, own in zip(self._controllers, self._rewards, strict=True):
            inform(controller, latency_ms, own)

    def restrict(self, region: Region) -> None:
        """See `nas.controllers.region.keep_within`."""
        self._controllers = tuple(keep_within(c, region, rng_seed=i) for i, c in enumerate(self._controllers))

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
        taken: set[tuple[int, ...]] = set()
        for k in dict.fromkeys(turns):
            rows = [i for i, turn in enumerate(turns) if turn == k]
            found[rows] = self._new(self._controllers[k], len(rows), taken)
            taken |= set(map(tuple, self._space.canonical(found[rows]).tolist()))
        return found

    def _new(self, controller: "Controller", n: int, taken: set[tuple[int, ...]]) -> np.ndarray:
        """(n, C) proposals; instead of what another has just proposed, if possible, something else."""
        found = controller.propose(n)
        for _ in range(_AGAIN):
            again = [i for i, p in enumerate(self._space.canonical(found).tolist()) if tuple(p) in taken]
            if not again:
                break
            found[again] = controller.propose(len(again))
        return found

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Tells each controller what the networks are worth by its own reward.

        Args:
            rewards: (n,) by the reward of `inform`; NaN is left out.
        """
        indices, rewards = told(self._space, indices, rewards)
        if self._told is None:
            raise ValueError("a search for several targets takes a reward that is linear in the accuracy")
        latency_ms, reward = self._told
        ms = latency_ms(self._space.canonical(indices)).tolist()
        top1 = [_top1(reward, value, its_ms) for value, its_ms in zip(rewards.tolist(), ms, strict=True)]
        for controller, own in zip(self._controllers, self._rewards, strict=True):
            controller.observe(indices, np.array([_at(own, a, its_ms) for a, its_ms in zip(top1, ms, strict=True)]))

    def state_dict(self) -> dict[str, Any]:
        return {"controllers": [each.state_dict() for each in self._controllers], "turn": self._turn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state("for several targets", state, ("controllers", "turn"))
        if len(state["controllers"]) != len(self._controllers):
            raise ValueError("this is the state of a search for another number of targets")
        for controller, own in zip(self._controllers, state["controllers"], strict=True):
            controller.load_state_dict(own)
        self._turn = state["turn"]


def _top1(reward: RewardFunction, value: float, ms: float) -> float:
    """The accuracy that has this reward; NaN where the reward says nothing of it."""
    without, gain = reward(0.0, ms), reward(1.0, ms) - reward(0.0, ms)
    return (value - without) / gain if gain else np.nan


def _at(reward: RewardFunction, top1: float, ms: float) -> float:
    """The reward of an accuracy, also of what a diverged training is told as, which may be below 0."""
    without = reward(0.0, ms)
    return without + top1 * (reward(1.0, ms) - without)
