"""`begin_with`: a controller whose first proposals are given."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nas.controllers import Controller

__all__ = ["begin_with"]


def begin_with(controller: "Controller", points: np.ndarray) -> "Controller":
    """A controller that proposes `points` (n, C), then what `controller` does, which is told of them, too; itself where
    there are none."""
    if not len(points):
        return controller
    return (_InformedFirst if hasattr(controller, "inform") else _First)(controller, points)


class _First:
    def __init__(self, controller: "Controller", points: np.ndarray) -> None:
        self._controller, self._points, self._proposed = controller, points, 0

    def propose(self, n: int) -> np.ndarray:
        own = self._points[self._proposed : self._proposed + n]
        self._proposed += len(own)
        return own if len(own) == n else np.concatenate([own, self._controller.propose(n - len(own))])

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        self._controller.observe(indices, rewards)

    def state_dict(self) -> dict[str, Any]:
        return {"controller": self._controller.state_dict(), "proposed": self._proposed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._controller.load_state_dict(state["controller"])
        self._proposed = state["proposed"]


class _InformedFirst(_First):
    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]) -> None:
        self._controller.inform(latency_ms, reward)  # type: ignore[attr-defined]
