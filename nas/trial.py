"""`Evaluation` and `Trial`: what an evaluator answers, and the record of one sample."""

import math
import numbers
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.arch import Arch

__all__ = ["STATUSES", "Evaluation", "Trial", "has_reward", "number", "short"]

STATUSES = ("ok", "stopped", "diverged", "failed")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluator found out about a network.

    Attributes:
        top1: accuracy on the holdout in [0, 1]; 0 if the status is ``diverged`` or ``failed``.
        status: ``ok``; ``stopped``: a training was ended early, since others did better, so that its accuracy is that
            of a shorter one; ``diverged``: the training became NaN, which is a result; ``failed``: the evaluation
            itself broke, and `note` says why.
        seconds: how long it took.
        curve: top-1 after each epoch, as far as it was measured; the last is `top1`. What is stopped has one.
        state: what else the evaluator passes on, like trained weights; no journal keeps it.

    Raises:
        ValueError: a field is not what it must be. Numbers of numpy or torch become plain ones.
    """

    top1: float
    status: str = "ok"
    seconds: float = 0.0
    note: str = ""
    curve: tuple[float, ...] = ()
    state: Any = None

    def __post_init__(self) -> None:
        _check_status(self.status)
        _set(self, "top1", _top1(self.top1) if self.status in ("ok", "stopped") else 0.0)
        _set(self, "curve", _curve(self.curve, self.top1, self.status))
        _set(self, "seconds", _at_least_0("seconds", self.seconds))
        _set(self, "note", str(self.note))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One sample of a search.

    Attributes:
        sample: its number, from 0 in the order in which the controller proposed them.
        indices: the point of the search space.
        top1: in [0, 1]; what was found is kept if only the reward failed.
        latency_ms: on the device that the search is for, above 0; NaN for a failed trial whose latency is not known.
        costs: what else it costs, by name: latencies on other devices, ``params``, and so on.
        reward: of `top1`; 0 if the status is ``diverged`` or ``failed``.
        status, curve: as an `Evaluation` has them.
        reused: the sample whose evaluation this one shares, being the same network; None if evaluated itself.

    Raises:
        ValueError: a field is not what it must be. Numbers of numpy or torch become plain ones.
    """

    sample: int
    indices: tuple[int, ...]
    arch: Arch
    top1: float
    latency_ms: float
    reward: float
    status: str = "ok"
    seconds: float = 0.0
    note: str = ""
    reused: int | None = None
    curve: tuple[float, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_status(self.status)
        _set(self, "sample", _whole("sample", self.sample))
        _set(self, "indices", tuple(_whole("indices", index) for index in self.indices))
        _set(self, "top1", _top1(self.top1))
        _set(self, "curve", _curve(self.curve, self.top1, self.status))
        latency_ms = number("latency_ms", self.latency_ms)
        if not (0 < latency_ms < math.inf or (self.status == "failed" and math.isnan(latency_ms))):
            raise ValueError(f"latency_ms={latency_ms:g}: it must be above 0 and finite")
        _set(self, "latency_ms", latency_ms)
        reward = number("reward", self.reward)
        if not math.isfinite(reward):
            raise ValueError(f"reward={reward:g}: it must be finite")
        _set(self, "reward", reward)
        _set(self, "seconds", _at_least_0("seconds", self.seconds))
        _set(self, "note", str(self.note))
        if self.reused is not None:
            _set(self, "reused", _whole("reused", self.reused))
        _set(self, "costs", _costs(self.costs))


def has_reward(trial: Trial) -> bool:
    """Whether its accuracy counts."""
    return trial.status in ("ok", "stopped")


def number(name: str, value: Any) -> float:
    """`value` as a plain float: a number, or an array or tensor without axes.

    Raises:
        ValueError: it is something else, like None, a text, or an array of one number.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name}={short(value)}: it is too large") from None
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return number(name, value.item())
    raise ValueError(f"{name}={short(value)}: it must be a number")


def short(value: Any) -> str:
    """`value` in one short line, for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _set(holder: object, name: str, value: Any) -> None:
    object.__setattr__(holder, name, value)  # the dataclass is frozen


def _check_status(status: Any) -> None:
    if status not in STATUSES:
        raise ValueError(f"status={short(status)}: it must be one of {', '.join(STATUSES)}")


def _top1(value: Any) -> float:
    top1 = number("top1", value)
    if not 0 <= top1 <= 1:
        percent = "; it looks like percent" if 1 < top1 <= 100 else ""
        raise ValueError(f"top1={top1:g}: it must be in [0, 1]{percent}")
    return top1


def _curve(values: Any, top1: float, status: str) -> tuple[float, ...]:
    curve = tuple(map(_top1, values))
    if status not in ("ok", "stopped"):
        return curve if status == "failed" else ()  # what was found is kept if only the reward failed
    if (curve or status == "stopped") and curve[-1:] != (top1,):
        raise ValueError(f"status={status}, curve={short(curve)}: it must end with top1={top1:g}")
    return curve


def _costs(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise ValueError(f"costs={short(values)}: it must be names with numbers")
    return {str(name): number(str(name), value) for name, value in values.items()}


def _at_least_0(name: str, value: Any) -> float:
    value = number(name, value)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}={value:g}: it must be at least 0 and finite")
    return value


def _whole(name: str, value: Any) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}={short(value)}: it must be a whole number") from None
    if whole < 0:
        raise ValueError(f"{name}={whole}: it must be at least 0")
    return whole
