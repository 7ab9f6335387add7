"""Confidence intervals of means by Student's t, without SciPy."""

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["half_width", "t_quantile"]


def half_width(values: Sequence[float] | np.ndarray) -> float:
    """Half the width of the 95 % confidence interval of the mean of values (n,); infinite for n = 1."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return math.inf
    return float(t_quantile(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def t_quantile(p: float, degrees: int) -> float:
    """The quantile p, in [0.5, 1), of Student's t distribution with so many degrees of freedom.

    Raises:
        ValueError: p or the degrees are outside their range.
    """
    if not 0.5 <= p < 1 or degrees < 1:
        raise ValueError(f"quantile {p} with {degrees} degrees of freedom; allowed: 0.5 to below 1, and 1 or more")
    low, high = 0.0, 1.0
    while _within(high, degrees) < 2 * p - 1:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < 2 * p - 1 else (low, middle)
    return high


def _within(t: float, degrees: int) -> float:
    """The probability of a value between -t and t: Abramowitz & Stegun 26.7.3 and 26.7.4, exact for whole degrees."""
    theta = math.atan2(t, math.sqrt(degrees))
    cos = math.cos(theta)
    odd = degrees % 2
    term = cos if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees, 2):
        term *= (k - 1) / k * cos**2
        total += term
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total
