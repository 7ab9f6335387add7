"""What a search maximises: what a network costs, and what its accuracy is worth at these costs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from nas.controllers import Controller, inform
from nas.executor import cause
from nas.trial import Trial, has_reward, number
from search_spaces.arch import Arch

__all__ = ["Costs", "Objective", "RewardFunction", "rewarded", "valued"]

RewardFunction = Callable[[float, float], float]
"""(top1, latency_ms) to the number to maximise."""
R = TypeVar("R", bound=RewardFunction)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a network costs.

    Attributes:
        latency_ms: on the device that the search is for; above 0 and finite, NaN if it is not known.
        others: by name.
        note: why the costs are not known; "" if they are.
    """

    latency_ms: float = math.nan
    others: Mapping[str, float]
    note: str = ""


class Objective(Generic[R]):
    """The reward of networks, from the first sample of a search to its last.

    Args:
        latency_ms: of a network, on the device that the search is for.
        reward: begins to count. It and the costs are anyone's code: what they raise makes a trial fail.
        latency_ms_batch: milliseconds (n,) of points (n, C), for controllers that use what is known beforehand;
            `reward` must then be linear in the accuracy, and grow with it where it is to learn from.
        costs: what else is to be known of each network, like the latency on another device or its parameters.
        each: in a search for several targets the reward for each, of which its controllers are told
            (`nas.controllers.several`); `reward` is then what trials have.
        adjust_after, adjust: after so many good trials `adjust` is called with all trials, once, and what it returns
            is the reward from then on.

    Attributes:
        reward: the one that counts now; when the search has ended, for all its trials.
    """

    def __init__(
        self,
        *,
        latency_ms: Callable[[Arch], float],
        reward: R,
        latency_ms_batch: Callable[[np.ndarray], np.ndarray] | None = None,
        costs: Mapping[str, Callable[[Arch], float]] | None = None,
        each: Sequence[RewardFunction] = (),
        adjust_after: int | None = None,
        adjust: Callable[[Sequence[Trial]], R] | None = None,
    ) -> None:
        self.reward: R = reward
        self._latency_ms, self._latency_ms_batch = latency_ms, latency_ms_batch
        self._costs, self._each = dict(costs or {}), tuple(each)
        # nothing that is never called: other processes get a copy of the objective
        self._adjust_after, self._adjust = (math.inf, None) if adjust_after is None else (adjust_after, adjust)

    def costs(self, arch: Arch) -> Costs:
        """What `arch` costs; if its latency or another cost is not known, why."""
        try:
            latency_ms = number("latency_ms", self._latency_ms(arch))
        except Exception as e:
            return Costs(others={}, note=f"the latency is not known: {cause(e)}")
        if not 0 < latency_ms < math.inf:
            return Costs(others={}, note=f"the latency is {latency_ms:g} ms; it must be above 0 and finite")
        others: dict[str, float] = {}
        for name, of in self._costs.items():
            try:
                others[name] = number(name, of(arch))
            except Exception as e:
                return Costs(others={}, note=f"the cost {name} is not known: {cause(e)}")
        return Costs(latency_ms=latency_ms, others=others)

    @property
    def told(self) -> tuple[RewardFunction, ...]:
        """What controllers learn from: the reward that counts, or that for each of several targets."""
        return self._each or (self.reward,)

    def value(self, top1: float, latency_ms: float) -> tuple[float, str]:
        """The reward and "", or 0 and why there is none."""
        return valued(self.reward, top1, latency_ms)

    def rewarded(self, trial: Trial) -> Trial:
        """`trial` with its reward; failed if there is none."""
        return rewarded(trial, self.reward)

    def inform(self, controller: Controller) -> None:
        """Tells a controller that can use it the latencies of all points, and the reward."""
        if self._latency_ms_batch:
            inform(controller, self._latency_ms_batch, self.reward)

    def changed(self, trials: Sequence[Trial]) -> bool:
        """Whether the reward is another one from now on, since there are enough good ones among `trials`."""
        if sum(trial.status == "ok" for trial in trials) < self._adjust_after or self._adjust is None:
            return False
        self.reward, self._adjust_after = self._adjust(trials), math.inf
        return True


def valued(reward: RewardFunction, top1: float, latency_ms: float) -> tuple[float, str]:
    """The reward and "", or 0 and why there is none: it is anyone's code."""
    try:
        value = number("reward", reward(top1, latency_ms))
    except Exception as e:
        return 0.0, f"the reward is not known: {cause(e)}"
    return (value, "") if math.isfinite(value) else (0.0, f"the reward is {value}")


def rewarded(trial: Trial, reward: RewardFunction) -> Trial:
    """`trial` with its reward; failed if there is none."""
    if not has_reward(trial):
        return trial
    value, note = valued(reward, trial.top1, trial.latency_ms)
    return replace(trial, reward=value, status="failed" if note else trial.status, note=note or trial.note)
