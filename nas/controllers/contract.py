"""What every controller refuses: settings without sense; questions, rewards and states that are not of its space."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from nas_runtime.console import brief
from search_spaces.space import SearchSpace

__all__ = ["Number", "Whole", "check_count", "check_settings", "check_state", "setting", "told"]


@dataclass(frozen=True)
class Number:
    """Finite numbers from `low` to `high`; with `above`, without `low` itself, with `below`, without `high` itself."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def has(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not abs(value) < math.inf:
            return False
        inside = self.low < value if self.above else self.low <= value
        return bool(inside and (value < self.high if self.below else value <= self.high))

    def __str__(self) -> str:
        low, high = "above" if self.above else "from", "below " if self.below else ""
        return f"a number {low} {self.low:g} to {high}{self.high:g}"


@dataclass(frozen=True)
class Whole:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int

    def has(self, value: Any) -> bool:
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return whole and bool(self.low <= value <= self.high)

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


def setting(default: Any, allowed: Number | Whole, meaning: str) -> Any:
    """A field of the dataclass of a controller's settings; `meaning` is a line that ``--help`` prints.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class AnnealingSettings:
    ...     cooling: float = setting(0.97, Number(0, 1, above=True), "what a temperature is multiplied by")
    ...
    ...     def __post_init__(self) -> None:
    ...         check_settings("annealing", self)
    """
    return field(default=default, metadata={"allowed": allowed, "meaning": meaning})


def check_settings(controller: str, settings: Any) -> None:
    """Refuses values of the dataclass `settings` outside what each `setting` allows."""
    for each in fields(settings):
        value, allowed = getattr(settings, each.name), each.metadata.get("allowed")
        if allowed and not allowed.has(value):
            raise ValueError(f"controller {controller}: {each.name}={brief(repr(value))}; it must be {allowed}")


def check_count(n: Any) -> None:
    """Refuses what is no number of proposals."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"{n!r} proposals; it must be a whole number of at least 1")


def told(space: SearchSpace, indices: Any, rewards: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, C) as whole numbers and rewards (n,) as float64, NaN for what was not evaluated.

    Raises:
        ValueError: other shapes, indices that are not of the space, or a reward that is infinite or no number.
    """
    points = np.asarray(indices)
    try:
        values = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"rewards must be numbers, not {rewards!r}") from None
    count = len(space.choices)
    if points.ndim != 2 or points.shape[1] != count or values.shape != points.shape[:1]:
        raise ValueError(
            f"space {space.name!r} takes indices (n, {count}) and rewards (n,), not {points.shape} and {values.shape}"
        )
    sizes = np.array([len(choice.options) for choice in space.choices])
    if points.dtype.kind not in "iu" or ((points < 0) | (points >= sizes)).any():
        raise ValueError(f"space {space.name!r}: an index is no whole number, or outside its choice")
    if np.isinf(values).any():
        raise ValueError("a reward is infinite; rewards must be finite, or NaN for what was not evaluated")
    return points.astype(np.int64), values


def check_state(controller: str, state: Any, keys: Iterable[str], *, shapes: Mapping[str, Any] | None = None) -> None:
    """Refuses what is not the state of such a controller.

    Args:
        shapes: what the shapes of values must end with.
    """
    fits = isinstance(state, Mapping) and set(state) == set(keys)
    for key, shape in (shapes or {}).items() if fits else ():
        found = np.shape(state[key])
        fits = fits and found[len(found) - len(shape) :] == tuple(shape)
    if not fits:
        raise ValueError(f"controller {controller}: this is the state of another controller, or of another space")
