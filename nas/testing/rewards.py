"""What is promised of every reward (`nas.reward.REWARDS`)."""

import math
from collections.abc import Callable

from nas.testing.promise import promise

__all__ = ["check_reward"]

_SHARES = (0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 10.0)  # of the target
_TOP1 = (0.0, 0.1, 0.5, 0.9, 1.0)


def check_reward(reward: Callable[..., float]) -> None:
    """Whether a reward is a finite number everywhere, never falls with the accuracy, is never better above the target
    than at it, and is a function of its arguments alone.

    Args:
        reward: called as ``reward(top1, latency_ms, target_ms=...)``.

    Raises:
        AssertionError: a promise that is not kept.
    """
    for target_ms in (0.5, 15.8, 2000.0):
        for share in _SHARES:
            ms = share * target_ms
            where = f"at {ms:g} ms with a target of {target_ms:g} ms"
            values = [reward(top1, ms, target_ms=target_ms) for top1 in _TOP1]
            promise(all(map(math.isfinite, values)), f"{where} the rewards of top-1 {_TOP1} are {values}: not finite")
            promise(values == sorted(values), f"{where} the rewards of top-1 {_TOP1} are {values}: they must not fall")
            again = [reward(top1, ms, target_ms=target_ms) for top1 in _TOP1]
            promise(values == again, f"{where} the rewards are {values}, and then {again}: they must not change")
            at_target = [reward(top1, target_ms, target_ms=target_ms) for top1 in _TOP1]
            slower = share <= 1 or all(late <= value for late, value in zip(values, at_target, strict=True))
            promise(slower, f"{where} the rewards of top-1 {_TOP1} are {values}, and {at_target} at the target")
