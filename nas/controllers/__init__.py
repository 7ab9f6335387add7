"""Controllers: propose points of a search space, and learn from their rewards.

All have one ask/tell interface, know nothing of training, latency or Ray, and are deterministic for a seed:

>>> controller = controllers.make("rnn_ppo", space, rng_seed=0)
>>> indices = controller.propose(8)            # (8, C) ints
>>> controller.observe(indices, rewards)       # (8,) floats
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import numpy as np

from nas.controllers.contract import Whole
from nas_runtime.console import brief, did_you_mean
from search_spaces.space import SearchSpace

__all__ = ["Controller", "inform", "make", "names"]


class Controller(Protocol):
    """Ask and tell."""

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors to evaluate next; n is at least 1."""
        ...

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Learns from the rewards (n,) of `indices` (n, C). A reward that is NaN is left out, an infinite one refused.

        Where the reward is another one from now on, all points are observed again, at once: `evolution` and `bayesian`
        forget the old rewards, the policies take it for one more batch.

        Raises:
            ValueError: other shapes, indices that are not of the space, or an infinite reward.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what is proposed next, but what `inform` told, which is told anew."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what another one's `state_dict` gave.

        Raises:
            ValueError: the state is of another controller or space.
        """
        ...


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
        ValueError: no such controller or setting, a value that a setting cannot have, or a space that is too large for
            the controller.
    """
    if name not in names():
        hint = did_you_mean(str(name), names())
        raise ValueError(f"no controller {brief(name)!r}{hint}; there are: {', '.join(names())}")
    if not Whole(0, 2**63 - 1).has(rng_seed):
        raise ValueError(f"controller {name}: rng_seed={brief(repr(rng_seed))}; it must be {Whole(0, 2**63 - 1)}")
    settings = {} if settings is None else settings
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
    from nas.controllers.random import Random, RandomSettings

    _settings(RandomSettings, name, settings)
    return Random(space, rng_seed=rng_seed)


def _settings(kind: Any, name: str, given: Any) -> Any:
    """The settings, an instance of the dataclass `kind`, with the `given` values."""
    known = sorted(field.name for field in fields(kind))
    allowed = ", ".join(known) or "none, it has no settings"
    if not isinstance(given, Mapping):
        raise ValueError(f"controller {name}: settings={brief(given)}; give {{name: value}}, allowed: {allowed}")
    for setting in given:
        if setting not in known:
            hint = did_you_mean(str(setting), known)
            raise ValueError(f"controller {name} has no setting {brief(setting)!r}{hint}; allowed: {allowed}")
    return kind(**given)
