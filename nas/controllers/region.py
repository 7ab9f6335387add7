"""`Region`: the points of a space that may be proposed; and `keep_within`, for controllers that propose no others."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.controllers import Controller

__all__ = ["Region", "keep_within"]


class Region:
    """Points of a space that may be proposed.

    Args:
        excess: of points (n, C), (n,) how far each is outside, 0 inside. Where it falls along changes of single
            choices, the region is found from anywhere.
    """

    def __init__(self, space: SearchSpace, excess: Callable[[np.ndarray], np.ndarray]) -> None:
        self._space, self.excess = space, excess

    def has(self, points: np.ndarray) -> np.ndarray:
        """(n,) bools."""
        return self.excess(points) <= 0

    def led_inside(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(n, C) `points` (n, C), those that are outside changed choice by choice, each time for the better, until they
        are inside. Where no single change leads nearer, a random point is led on instead.

        Raises:
            ValueError: none of some random points came inside.
        """
        found = self._space.canonical(points)
        for row in np.flatnonzero(~self.has(found)):
            found[row] = self._inside(found[row], rng)
        return found

    def _inside(self, point: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for other in (point, *self._space.canonical(self._space.sample(rng, _TRIES))):
            near = self.led(other, rng)
            if self.has(near[None])[0]:
                return near
        raise ValueError(f"no network within the limits was found from {_TRIES} random ones; raise a limit")

    def led(self, point: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(C,) where `point` comes to by single changes, each for the better."""
        excess = float(self.excess(point[None])[0])
        while excess > 0:
            near = self._space.canonical(self._space.neighbours(point))
            beyond = self.excess(near)
            inside = np.flatnonzero(beyond <= 0)
            best = int(rng.choice(inside)) if len(inside) else int(beyond.argmin())
            if beyond[best] >= excess:
                break
            point, excess = near[best], float(beyond[best])
        return point


_TRIES = 50  # random points that are led on


@runtime_checkable
class _Restricted(Protocol):
    def restrict(self, region: Region) -> None: ...


def keep_within(controller: "Controller", region: Region, *, rng_seed: int) -> "Controller":
    """A controller that proposes points of the region only. One with a method ``restrict(region)`` is told so, and
    stays what it is; the proposals of any other are led inside, and it learns what came of these."""
    if isinstance(controller, _Restricted):
        controller.restrict(region)
        return controller
    return (_InformedLed if hasattr(controller, "inform") else _Led)(controller, region, rng_seed)


class _Led:
    """A controller whose proposals are led into a region."""

    def __init__(self, controller: "Controller", region: Region, rng_seed: int) -> None:
        self._controller, self._region = controller, region
        self._rng = np.random.default_rng(rng_seed)

    def propose(self, n: int) -> np.ndarray:
        return self._region.led_inside(self._controller.propose(n), self._rng)

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        self._controller.observe(indices, rewards)

    def state_dict(self) -> dict[str, Any]:
        return {"controller": self._controller.state_dict(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._controller.load_state_dict(state["controller"])
        self._rng.bit_generator.state = state["rng"]


class _InformedLed(_Led):
    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]) -> None:
        self._controller.inform(latency_ms, reward)  # type: ignore[attr-defined]
