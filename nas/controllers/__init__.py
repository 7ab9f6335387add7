"""Controllers: propose points of a search space, and learn from their rewards.

All have one ask/tell interface, know nothing of training, latency or Ray, and are deterministic for a seed:

>>> controller = controllers.make("rnn_ppo", space, rng_seed=0)
>>> indices = controller.propose(8)            # (8, C) ints
>>> controller.observe(indices, rewards)       # (8,) floats
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nas.controllers.contract import Whole
from nas.reward import is_linear
from nas_runtime.console import brief
from nas_runtime.declared import build
from nas_runtime.registry import Registry
from search_spaces.space import SearchSpace

__all__ = ["CONTROLLERS", "Controller", "inform", "make", "names", "recall"]

CONTROLLERS = Registry(
    "controller",
    "platform_aware_nas.controllers",
    {
        "rnn_ppo": "nas.controllers.rnn_ppo:RNNPPO",
        "reinforce": "nas.controllers.reinforce:Reinforce",
        "evolution": "nas.controllers.evolution:Evolution",
        "bayesian": "nas.controllers.bayesian:Bayesian",
        "random": "nas.controllers.random:Random",
    },
)
"""Classes of controllers by name. One is made as ``Mine(space, rng_seed=0)``, or, where it has something to set (see
`nas_runtime.declared`), as ``Mine(space, settings, rng_seed=0)``. `nas.testing.check_controller` says whether it keeps
what `Controller` promises.
"""

_METHODS = ("propose", "observe", "state_dict", "load_state_dict")


class Controller(Protocol):
    """Ask and tell."""

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors to evaluate next; n is at least 1."""
        ...

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Learns from the rewards (n,) of `indices` (n, C). A reward that is NaN is left out, an infinite one refused.

        Where the reward is another one from now on, all points are observed again, at once: `evolution` and
        controllers with a model forget the old rewards, the policies take it for one more batch.

        Raises:
            ValueError: other shapes, indices that are not of the space, or an infinite reward.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what is proposed next, but what `inform` and `recall` told, which is told anew."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what another one's `state_dict` gave.

        Raises:
            ValueError: the state is of another controller or space.
        """
        ...


@runtime_checkable
class _Recalling(Protocol):
    def recall(self, searches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None: ...


@runtime_checkable
class _Informed(Protocol):
    def inform(
        self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]
    ) -> None: ...


def inform(
    controller: Controller, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]
) -> bool:
    """Tells a controller that can use it (`nas.controllers.model.Model.inform`) what is known of points beforehand.

    Returns:
        Whether it did. A reward that is not linear in the accuracy tells nothing: the controller then learns from the
        rewards alone.
    """
    if not (isinstance(controller, _Informed) and is_linear(reward)):
        return False
    controller.inform(latency_ms, reward)
    return True


def recall(controller: Controller, searches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Tells a controller with a model what other searches have found (see `nas.controllers.model.Model.recall`).

    Raises:
        ValueError: it has no model.
    """
    if not isinstance(controller, _Recalling):
        raise ValueError(f"a {type(controller).__name__} has no model that other searches could be told to")
    controller.recall(searches)


def names() -> tuple[str, ...]:
    """Those that are shipped, and those that installed packages declare."""
    return CONTROLLERS.names()


def make(name: str, space: SearchSpace, *, rng_seed: int = 0, settings: Mapping[str, Any] | None = None) -> Controller:
    """The controller `name` for `space`.

    Args:
        name: one of `names`, or ``package.module:Class``.
        settings: values for the controller's own settings (like `rnn_ppo.PPOSettings`); the rest have their defaults.

    Raises:
        ValueError: no such controller or setting, a value that a setting cannot have, a space that is too large for
            the controller, or one of somebody else that is no controller.
    """
    kind, what = CONTROLLERS.get(name), f"controller {name}"
    if not Whole(0, 2**63 - 1).has(rng_seed):
        raise ValueError(f"{what}: rng_seed={brief(repr(rng_seed))}; it must be {Whole(0, 2**63 - 1)}")
    made = build(kind, what, space, rng_seed=rng_seed, settings=settings)
    if absent := [method for method in _METHODS if not callable(getattr(made, method, None))]:
        raise ValueError(f"{what} has no method {absent[0]}; a controller has {', '.join(_METHODS)}")
    return made
