"""Rewards: pure functions of accuracy and latency.

MnasNet (arXiv:1807.11626, equations 2 and 3): ``ACC * (LAT / TAR) ** w`` with w = alpha where LAT <= TAR, else beta.
TuNAS (arXiv:2008.06120, equation 2): ``ACC + beta * |LAT / TAR - 1|``; beta is -0.10 in its code, -0.2 by default here.
Any other function of ``(top1, latency_ms, target_ms)`` can be named instead (`REWARDS`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nas_runtime.console import brief
from nas_runtime.declared import check_call
from nas_runtime.registry import Registry

__all__ = ["REWARDS", "Reward", "absolute", "adjusted", "hard", "is_linear", "names", "soft"]

REWARDS = Registry(
    "reward",
    "platform_aware_nas.rewards",
    {"soft": "nas.reward:soft", "hard": "nas.reward:hard", "absolute": "nas.reward:absolute"},
)
"""Functions by name: ``f(top1, latency_ms, target_ms) -> float``, a finite number for accuracies in [0, 1] and
milliseconds above 0; a ValueError says that a network has none. One that is linear in the accuracy lets controllers use
the latencies that are known beforehand (`is_linear`). `nas.testing.check_reward` says whether a reward is one.
"""

_NEAR = 0.03
_BENT = -0.3


def names() -> tuple[str, ...]:
    """Those that are shipped, and those that installed packages declare."""
    return REWARDS.names()


@dataclass(frozen=True, kw_only=True)
class Reward:
    """A reward of `REWARDS` with its parameters: a function of (top1, latency_ms).

    Attributes:
        name: one of `names`, or ``package.module:function``.
        w: of ``soft``.
        w_above: of ``soft``, above the target; None: also w.
        beta: of ``absolute``.

    Raises:
        ValueError: there is no such reward.
    """

    name: str
    target_ms: float
    w: float = -0.07
    w_above: float | None = None
    beta: float = -0.2

    def __post_init__(self) -> None:
        check_call(self._function, f"reward {self.name}", "top1", "latency_ms", target_ms=self.target_ms)

    @cached_property
    def _function(self) -> Callable[..., float]:
        return REWARDS.get(self.name)

    @property
    def _parameters(self) -> dict[str, float | None]:
        return {"soft": {"w": self.w, "w_above": self.w_above}, "absolute": {"beta": self.beta}}.get(self.name, {})

    def __call__(self, top1: float, latency_ms: float) -> float:
        value = self._function(top1, latency_ms, target_ms=self.target_ms, **self._parameters)
        if isinstance(value, int | float | np.number) and math.isfinite(value):
            return float(value)
        raise ValueError(
            f"reward {self.name} of top-1 {top1:g} at {latency_ms:g} ms is {brief(repr(value))}; it must be a finite "
            "number"
        )

    def describe(self) -> str:
        """The formula, in words."""
        if self.name == "hard":
            return "ACC below the target, ACC × (LAT/TAR)^-1 above it"
        if self.name == "absolute":
            return f"ACC - {-self.beta:g} × |LAT/TAR - 1|"
        if self.name == "soft":
            above = "" if self.w_above is None else f", ^{self.w_above:g} above the target"
            return f"ACC × (LAT/TAR)^{self.w:g}{above}"
        said = (self._function.__doc__ or "").strip().partition("\n")[0]
        return f"{self.name}: {brief(said)}" if said else self.name


def is_linear(reward: Callable[[float, float], float]) -> bool:
    """Whether `reward` of (top1, latency_ms) is linear in top-1 at every latency: two values then tell all of them.

    Tried at 11 accuracies and 25 latencies from 0.01 ms to 10 s; where it raises, it tells nothing.
    """
    told = False
    for latency_ms in np.geomspace(0.01, 10_000, 25).tolist():
        try:
            values = [float(reward(top1, latency_ms)) for top1 in _TOP1]
        except Exception:  # anyone's code
            continue
        line = [values[0] + top1 * (values[-1] - values[0]) for top1 in _TOP1]
        if not np.allclose(values, line, rtol=1e-9, atol=1e-9 * max(map(abs, values))):
            return False
        told = True
    return told


_TOP1 = [i / 10 for i in range(11)]


def soft(top1: float, latency_ms: float, *, target_ms: float, w: float = -0.07, w_above: float | None = None) -> float:
    """The target is a rate of exchange: doubling the latency multiplies the reward by ``2 ** w`` on either side of it.

    MnasNet uses alpha = beta = w = -0.07 (0.953 for a doubling); MobileNetV3-Small w = -0.15 (0.901).

    Args:
        top1: accuracy in [0, 1].
        w: at most 0; the paper's alpha.
        w_above: the same above the target, the paper's beta; None: w.

    Raises:
        ValueError: a latency or target that is not positive, w > 0, or a reward that is not finite.
    """
    return _mnasnet(top1, latency_ms, target_ms, alpha=w, beta=w if w_above is None else w_above)


def hard(top1: float, latency_ms: float, *, target_ms: float, beta: float = -1.0) -> float:
    """The target is a limit: below it only accuracy counts (alpha = 0), above it latency costs in proportion.

    Raises:
        ValueError: a latency or target that is not positive, beta > 0, or a reward that is not finite.
    """
    return _mnasnet(top1, latency_ms, target_ms, alpha=0.0, beta=beta)


def absolute(top1: float, latency_ms: float, *, target_ms: float, beta: float = -0.2) -> float:
    """The target is met: being 10 % faster costs as much as being 10 % slower, so that a search lands on it.

    It does as long as |beta| is more than networks gain by being slower or faster: the accuracy for a doubling or a
    halving of the latency, times 1.44. With less, searches end beside their target. TuNAS's code has -0.10
    (``rl_cost_model_exponent`` in tunas/mobile_architecture_search.py), for weights trained on ImageNet. -0.2 by
    default is our choice: the shorter trainings are, the more networks differ
    (experiments/results/proxy_validation_fashion_mnist_mini.csv).

    Raises:
        ValueError: a latency or target that is not positive, beta >= 0, or a reward that is not finite.
    """
    _check_ms(latency_ms, target_ms)
    if not -math.inf < beta < 0:
        raise ValueError(f"beta={beta}: it must be a number below 0, or missing the target would be rewarded")
    return _finite(top1 + beta * abs(latency_ms / target_ms - 1), top1, latency_ms, target_ms, f"beta={beta:g}")


def adjusted(reward: Reward, top1: Sequence[float], latency_ms: Sequence[float]) -> Reward:
    """`soft` bent at the target, if a search with it misses the target; else `reward` itself.

    The best latency of `soft` does not depend on the target, only on w: it is where a percent of latency is worth w
    percent of accuracy. So where the best networks (n,) so far, a fiftieth and at least 5, are more than 3 % off, being
    fast gains nothing any more, and being slow costs (LAT/TAR)^-0.3 or what it did cost, if that is more. As long as a
    percent of latency is worth less than 0.3 % of accuracy, the best reward is then at the target.

    Raises:
        ValueError: the reward is not `soft`, or no network is known.
    """
    rewards = np.array([reward(a, ms) for a, ms in zip(top1, latency_ms, strict=True)])
    if reward.name != "soft" or not len(rewards):
        raise ValueError(f"reward={reward.name} with {len(rewards)} networks cannot be adjusted")
    best = np.argsort(-rewards, kind="stable")[: max(5, len(rewards) // 50)]
    if abs(np.median(np.asarray(latency_ms)[best]) / reward.target_ms - 1) <= _NEAR:
        return reward
    return replace(reward, w=0.0, w_above=min(_BENT, reward.w if reward.w_above is None else reward.w_above))


def _mnasnet(top1: float, latency_ms: float, target_ms: float, *, alpha: float, beta: float) -> float:
    _check_ms(latency_ms, target_ms)
    for w in (alpha, beta):
        if not -math.inf < w <= 0:
            raise ValueError(f"w={w}: it must be a number, at most 0, or slower networks would be rewarded")
    w = alpha if latency_ms <= target_ms else beta
    try:
        value = top1 * (latency_ms / target_ms) ** w
    except (OverflowError, ZeroDivisionError):
        value = math.inf
    return _finite(value, top1, latency_ms, target_ms, f"w={w:g}")


def _check_ms(latency_ms: float, target_ms: float) -> None:
    if not (0 < latency_ms < math.inf and 0 < target_ms < math.inf):
        raise ValueError(f"latency {latency_ms} ms, target {target_ms} ms: both must be above 0 and finite")


def _finite(value: float, top1: float, latency_ms: float, target_ms: float, of: str) -> float:
    if not math.isfinite(value):
        raise ValueError(
            f"{of}: the reward of top-1 {top1:g} at {latency_ms:g} ms is not finite (target {target_ms:g} ms); choose "
            "a value nearer to 0"
        )
    return value
