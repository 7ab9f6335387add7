"""Controllers: propose points of a search space, and learn from their rewards.

All have one ask/tell interface, know nothing of training, latency or Ray, and are deterministic for a seed:

>>> controller = controllers.make("rnn_ppo", space, rng_seed=0)
>>> indices = controller.propose(8)            # (8, C) ints
>>> controller.observe(indices, rewards)       # (8,) floats
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from search_spaces.space import SearchSpace

__all__ = ["Controller", "inform", "make", "names"]


class Controller(Protocol):
    """Ask and tell."""

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors to evaluate next."""
        ...

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Learns from the rewards (n,) of `indices` (n, C). A reward that is NaN is left out.

        Where the reward is another one from now on, all points are observed again, at once: `evolution` and `bayesian`
        forget the old rewards, the policies take it for one more batch.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what is proposed next, but what `inform` told, which is told anew."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class _Informed(Protocol):
    def inform(
        self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]
    ) -> None: ...


def inform(
    controller: Controller, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]
) -> None:
    """Tells a controller that can use it (`bayesian.Bayesian.inform`) what is known of points beforehand."""
    if isinstance(controller, _Informed):
        controller.inform(latency_ms, reward)


def names() -> tuple[str, ...]:
    return ("rnn_ppo", "reinforce", "evolution", "bayesian", "random")


def make(name: str, space: SearchSpace, *, rng_seed: int = 0, settings: Mapping[str, Any] | None = None) -> Controller:
    """The controller `name` for `space`.

    Args:
        settings: values for the controller's own settings (like `rnn_ppo.PPOSettings`); the rest have their defaults.

    Raises:
        ValueError: no such controller or setting.
    """
    settings = settings or {}
    if name == "rnn_ppo":
        from nas.controllers.rnn_ppo import RNNPPO, PPOSettings

        return RNNPPO(space, _settings(PPOSettings, name, settings), rng_seed=rng_seed)
    if name == "reinforce":
        from nas.controllers.reinforce import Reinforce, ReinforceSettings

        return Reinforce(space, _settings(ReinforceSettings, name, settings), rng_seed=rng_seed)
    if name == "evolution":
        from nas.controllers.evolution import Evolution, EvolutionSettings

        return Evolution(space, _settings(EvolutionSettings, name, settings), rng_seed=rng_seed)
    if name == "bayesian":
        from nas.controllers.bayesian import Bayesian, BayesianSettings

        return Bayesian(space, _settings(BayesianSettings, name, settings), rng_seed=rng_seed)
    if name == "random":
        from nas.controllers.random import Random

        if settings:
            raise ValueError(f"controller random has no setting {min(settings)!r}; it has none")
        return Random(space, rng_seed=rng_seed)
    raise ValueError(f"no controller {name!r}; there are: {', '.join(names())}")


def _settings(kind: Any, name: str, given: Mapping[str, Any]) -> Any:
    """The settings, an instance of the dataclass `kind`, with the `given` values."""
    known = [field.name for field in fields(kind)]
    if unknown := set(given) - set(known):
        raise ValueError(f"controller {name} has no setting {min(unknown)!r}; allowed: {', '.join(sorted(known))}")
    for field in fields(kind):
        value, whole = given.get(field.name, field.default), field.type in (int, "int")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
            raise ValueError(f"controller {name}: {field.name}={value}; it must be a {'whole ' if whole else ''}number")
    return kind(**given)
