"""What a latency table is made of: plain values that refuse what cannot be."""

import math
from dataclasses import dataclass
from typing import Any

__all__ = [
    "ONNXRUNTIME",
    "Doubt",
    "Error",
    "FamilyError",
    "Identity",
    "NetworkFit",
    "Timing",
    "Validation",
    "check_above_0",
    "check_number",
    "short",
]

LONGEST = 200  # characters of a value in a message
ONNXRUNTIME = "onnxruntime"
"""The runtime of tables that name no other."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a latency depends on besides the network. Tables of different identities are never mixed.

    Attributes:
        runtime: its name (see `latency_luts.runtime`) and version: ``onnxruntime 1.20.1``, ``my_runtime:Runtime 2.0``.
    """

    cpu: str
    runtime: str
    threads: int
    batch: int
    dtype: str

    def __post_init__(self) -> None:
        for name in ("cpu", "runtime", "dtype"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name} is {short(value)}; it must be a text")
        for name in ("threads", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {short(value)}; it must be a whole number of at least 1")

    @property
    def runtime_name(self) -> str:
        """Of the runtime, without its version."""
        return self.runtime.rpartition(" ")[0] or self.runtime

    def options(self) -> dict[str, str]:
        """Those of `latency_luts.build` that are not as usual."""
        its = {"threads": self.threads, "batch": self.batch, "dtype": self.dtype, "runtime": self.runtime_name}
        usual = {"threads": 1, "batch": 1, "dtype": "fp32", "runtime": ONNXRUNTIME}
        return {name: str(value) for name, value in its.items() if value != usual[name]}


@dataclass(frozen=True)
class Timing:
    """One unit.

    Attributes:
        ms: milliseconds, the middle of those in the networks that it was timed in, as if all weights came from memory.
        spread: of its runs, interquartile range / median.
        runs: how many.
        kernels: how many kernels the runtime runs for it, or calls if it was timed by itself; 0 if unknown.
    """

    ms: float
    spread: float
    runs: int
    kernels: int = 0

    def __post_init__(self) -> None:
        for name in ("ms", "spread", "runs", "kernels"):
            check_number(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class NetworkFit:
    """A whole network that a table was fitted to: its latency, the model's, and the model's when fitted without it.

    `source_set` names the set-up of a published latency; the model's latencies are in that set-up. `family` names the
    networks that it is one of, and `family_out_ms` is the model's latency when fitted without all of them; None: not
    known, as no other family was measured in that set-up. `sum_ms` (less what is saved, see `Correction`) and `kernels`
    are those of its units, where it was fitted by them; `units` are their keys, in order.
    """

    name: str
    ms: float
    fitted_ms: float
    left_out_ms: float
    source_set: str = ""
    family: str = ""
    family_out_ms: float | None = None
    sum_ms: float = 0.0
    kernels: int = 0
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_above_0("ms", self.ms)
        for name in ("fitted_ms", "left_out_ms", "family_out_ms", "sum_ms", "kernels"):
            if getattr(self, name) is not None or name != "family_out_ms":
                check_number(name, getattr(self, name), low=-math.inf)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What is not known of costs that were fitted with a prior (`latency_luts.prior`).

    Attributes:
        prior: its name.
        covariance: (9, 9) of the logarithms of the costs.
        noise: the scale of the logarithm of a network's latency about the formula.
        expected_error: the mean error of tables fitted to so many networks, of devices that no prior had seen.
        deviations: that hold 90 % of latencies.
    """

    prior: str
    covariance: tuple[tuple[float, ...], ...]
    noise: float
    expected_error: float
    deviations: float

    def __post_init__(self) -> None:
        for name in ("noise", "expected_error", "deviations"):
            check_number(name, getattr(self, name))
        rows = tuple(tuple(row) for row in self.covariance)
        for value in (value for row in rows for value in row):
            check_number("covariance", value, low=-math.inf)
        if any(len(row) != len(rows) for row in rows):
            raise ValueError("covariance is not square")
        object.__setattr__(self, "covariance", rows)


@dataclass(frozen=True, kw_only=True)
class FamilyError:
    """The error of `networks` of `families` families, each with its whole family left out of the fit: mean of
    \\|family_out_ms / ms - 1\\|."""

    families: int
    networks: int
    mape: float


@dataclass(frozen=True, kw_only=True)
class Error:
    """Leave-one-out error over `networks` whole networks: mean and largest of \\|left_out_ms / ms - 1\\|.

    Attributes:
        networks: how many different ones; one that was measured in several set-ups is one.
        family: with whole families left out; None: not known.
    """

    networks: int
    mape: float
    worst: float
    family: FamilyError | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A table against networks that took no part in any fit; errors are fractions of the measured latency.

    Attributes:
        nets: how many networks.
        mape: mean absolute error; `bias`: mean error; `within_5pct`, `within_10pct`: shares of networks.
        kendall_tau: rank correlation of predicted and measured latencies.
        worst, worst_error: the network that is farthest off.
        noise: how much a network's measured latency itself varies: how far a turn is from the median one, on average.
        date, networks: when, and which kinds of networks.
    """

    nets: int
    mape: float
    within_5pct: float
    within_10pct: float
    kendall_tau: float
    bias: float
    worst: str
    worst_error: float
    noise: float
    date: str
    networks: str


def check_number(name: str, value: Any, *, low: float = 0) -> None:
    """Refuses what is no finite number of at least `low`.

    Raises:
        ValueError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low:
        allowed = "a number of at least 0" if low == 0 else "a finite number"
        raise ValueError(f"{name} is {short(value)}; it must be {allowed}")


def check_above_0(name: str, value: Any) -> None:
    """Refuses what is no finite number above 0.

    Raises:
        ValueError: it is not.
    """
    check_number(name, value)
    if value == 0:
        raise ValueError(f"{name} is 0; it must be above 0")


def short(value: object, *, quoted: bool = True) -> str:
    """`value` for a message, cut where it is long."""
    words = repr(value) if quoted else str(value)
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}..."
