"""Where the numbers of a table come from: `Measured | Corrected | Imported | Calibrated`.

A table's file holds this as ``provenance``, a mapping that is for people too. What behaviour depends on is read from it
here, and nowhere else.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Calibrated", "Corrected", "Imported", "Measured", "of_costs", "of_units"]

_BUSY_DRIFT = 0.3
_BUSY_NOISY = 0.25


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Units timed on a device.

    Attributes:
        reference_ms: what the reference networks took then: the table's speed. None: not measured by this project, so
            that nothing can be added to it.
        drift: by how much the machine's speed varied meanwhile; 0.1 is 10 %.
        noisy: the share of units whose times differ much from chain to chain.
        log: the measurements that the table was made of last.
    """

    reference_ms: float | None = None
    drift: float = 0.0
    noisy: float = 0.0
    log: str = ""

    @property
    def busy(self) -> bool:
        """Whether something else ran on the machine, so that the table is in doubt."""
        return self.drift > _BUSY_DRIFT or self.noisy > _BUSY_NOISY


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Units of another project's table, the file `source`."""

    source: str


@dataclass(frozen=True, kw_only=True)
class Corrected:
    """Units of the table of `device`, which were `units`, with a scale and an offset fitted to `networks` (in words)
    that were timed on another device, or at another time."""

    device: str
    units: Measured | Imported
    networks: str


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """Costs fitted to latencies of whole networks; `fitted_to` says which.

    Attributes:
        kinds: of work that these networks have (`latency_luts.work`); None: not known, in tables of older versions.
    """

    fitted_to: str
    kinds: frozenset[str] | None = None


def of_units(provenance: Mapping[str, Any], units: int) -> Measured | Corrected | Imported:
    """The origin of a table with `units` units.

    Raises:
        ValueError: a value that cannot be.
    """
    origin: Measured | Imported
    if source := _text(provenance, "imported_from"):
        origin = Imported(source=source)
    else:
        reference_ms = _number(provenance, "reference_ms")
        if reference_ms == 0:
            raise ValueError("reference_ms is 0; it must be above 0")
        origin = Measured(
            reference_ms=reference_ms,
            drift=_number(provenance, "drift") or 0.0,
            noisy=(_number(provenance, "noisy_units") or 0.0) / max(1, units),
            log=_text(provenance, "log"),
        )
    if device := _text(provenance, "corrected_from"):
        return Corrected(device=device, units=origin, networks=_text(provenance, "corrected_to"))
    return origin


def of_costs(provenance: Mapping[str, Any]) -> Calibrated:
    """The origin of a calibrated table.

    Raises:
        ValueError: a value that cannot be.
    """
    return Calibrated(fitted_to=_text(provenance, "fitted_to") or "published latencies", kinds=_kinds(provenance))


def _text(provenance: Mapping[str, Any], name: str) -> str:
    value = provenance.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"{name} is {str(value)[:80]}; it must be a text")
    return value


def _kinds(provenance: Mapping[str, Any]) -> frozenset[str] | None:
    value = provenance.get("kinds")
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(kind, str) for kind in value):
        raise ValueError(f"kinds is {str(value)[:80]}; it must be a list of texts")
    return frozenset(value)


def _number(provenance: Mapping[str, Any], name: str) -> float | None:
    value = provenance.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {str(value)[:80]}; it must be a number of at least 0")
    return value
