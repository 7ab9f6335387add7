"""`LatencyModel`: from a table to the latency of any network."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from latency_luts import calibrated, table
from latency_luts.key import key
from latency_luts.table import CalibratedTable, Correction, Error, MeasuredTable, Table, TableError
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

__all__ = ["LatencyModel", "MissingUnitsError"]


class MissingUnitsError(TableError):
    """Units that a table does not have.

    Attributes:
        units: all of them.
    """

    def __init__(self, device: str, units: Sequence[Unit]) -> None:
        self.units = tuple(units)
        more = f" and {len(units) - 1} more" if len(units) > 1 else ""
        super().__init__(
            f"the table of {device!r} has no unit {key(units[0])}{more}; "
            f"measure them on the device with: python -m latency_luts.build device={device}"
        )


class LatencyModel:
    """Latency of networks on one device, from its table.

    Attributes:
        table: where the numbers come from: `device`, `kind`, `provenance`.
        error: leave-one-out error on whole networks, or None if unknown.
    """

    def __init__(self, source: Table) -> None:
        self.table = source
        self.error: Error | None = table.error(source)
        self._correction = source.correction if isinstance(source, MeasuredTable) else Correction()
        self._unit_ms = _measured(source) if isinstance(source, MeasuredTable) else _calibrated(source)
        self._cache: dict[tuple, float | None] = {}

    @property
    def device(self) -> str:
        return self.table.device

    def unit_ms(self, unit: Unit) -> float | None:
        """Milliseconds of one unit by itself; None if the table does not have it."""
        place = (unit.block, unit.in_shape)
        if place not in self._cache:
            self._cache[place] = self._unit_ms(unit)
        return self._cache[place]

    def latency_ms(self, arch: Arch) -> float:
        """Milliseconds of one inference of `arch`, batch 1.

        Raises:
            MissingUnitsError: the table does not have all units of `arch`.
        """
        return self._network_ms(sum(self.parts_ms(arch)))

    def latency_ms_batch(self, space: "SearchSpace", indices: np.ndarray) -> np.ndarray:
        """(n,) milliseconds of the networks that `indices` (n, C) stand for in `space`."""
        return np.array([self.latency_ms(space.decode(row)) for row in indices])

    def parts_ms(self, arch: Arch) -> list[float]:
        """Milliseconds of each unit of `arch`, before the correction for running as one graph.

        Raises:
            MissingUnitsError: the table does not have all of them.
        """
        units = lower(arch)
        parts = [self.unit_ms(unit) for unit in units]
        if missing := [unit for unit, ms in zip(units, parts, strict=True) if ms is None]:
            raise MissingUnitsError(self.device, missing)
        return [ms for ms in parts if ms is not None]

    def describe(self) -> str:
        """One line: device, whether measured or calibrated, and the error."""
        source = self.table
        if isinstance(source, MeasuredTable):
            identity = source.identity
            origin = f"measured on {identity.cpu}, {identity.runtime}, {identity.threads} thread"
        else:
            origin = f"calibrated to {source.provenance.get('fitted_to', 'published latencies')}, not measured"
        if self.error is None:
            return f"{self.device}: {origin}; error on whole networks unknown"
        return (
            f"{self.device}: {origin}; leave-one-out error {self.error.mape:.1%} on {self.error.networks} networks "
            f"(worst {self.error.worst:.1%})"
        )

    def _network_ms(self, sum_ms: float) -> float:
        return max(0.0, self._correction.scale * sum_ms + self._correction.offset_ms)


def _measured(source: MeasuredTable) -> Callable[[Unit], float | None]:
    def unit_ms(unit: Unit) -> float | None:
        timing = source.units.get(key(unit))
        return None if timing is None else timing.ms

    return unit_ms


def _calibrated(source: CalibratedTable) -> Callable[[Unit], float]:
    costs = calibrated.cost_vector(source.costs)

    def unit_ms(unit: Unit) -> float:
        return float(calibrated.features(unit) @ costs)

    return unit_ms
