"""`LatencyModel`: from a table to the latency of any network."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from latency_luts import calibrated, prior, residence, table
from latency_luts.key import key
from latency_luts.last_layers import timing_of_other_classes
from latency_luts.missing import MissingUnitsError, measure_again
from latency_luts.origin import Corrected, Imported, Measured
from latency_luts.table import (
    CalibratedTable,
    Correction,
    Error,
    Identity,
    MeasuredTable,
    NetworkFit,
    Table,
    TableError,
)
from search_spaces.arch import Arch
from search_spaces.layer_tables import LayerTables
from search_spaces.lower import Unit, lower

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

__all__ = ["LatencyModel", "MissingUnitsError", "UnitPrices", "unit_prices"]

COVERED = 0.9  # of networks, by their interval
FEW = 5  # networks, of which those left out of a fit with a prior say less than other devices do
_CHUNK = 8192  # networks looked up at once: small enough for the caches


class UnitPrices(Protocol):
    """What a unit adds to the latency of its network, in ms; None: not known.

    It may be below 0, where a table's correction takes more off a unit than was measured.
    """

    def __call__(self, unit: Unit, /) -> float | None: ...


class LatencyModel:
    """Latency of networks on one device, from its table.

    Args:
        prices: of units; those of the table if None.

    Attributes:
        table: where the numbers come from: `device`, `kind`, `origin`, `provenance`.
        error: leave-one-out error on whole networks, or None if unknown.
        off: of measured units, the factor by which 90 % of further networks are off at most; None if not known.
    """

    def __init__(self, source: Table, *, prices: UnitPrices | None = None) -> None:
        self.table = source
        self.error: Error | None = table.error(source)
        self._correction = source.correction if isinstance(source, MeasuredTable) else Correction()
        self.off = _off(source.networks) if isinstance(source, MeasuredTable) else None
        self._dtype = source.identity.dtype if isinstance(source, MeasuredTable) else "fp32"
        self._prices = prices or unit_prices(source)
        self._cache: dict[tuple, float | None] = {}
        self._cache_mib: dict[tuple, float] = {}
        self._layers: tuple[SearchSpace, LayerTables, list[np.ndarray], list[np.ndarray]] | None = None

    @property
    def device(self) -> str:
        return self.table.device

    def unit_ms(self, unit: Unit) -> float | None:
        """Milliseconds that a unit takes in a network too heavy for the caches; None if the table does not have it."""
        ms = self._price(unit)
        return None if ms is None else max(0.0, ms)

    def _price(self, unit: Unit) -> float | None:
        place = (unit.block, unit.in_shape)
        if place not in self._cache:
            self._cache[place] = self._prices(unit)
        return self._cache[place]

    def latency_ms(self, arch: Arch) -> float:
        """Milliseconds of one inference of `arch`, batch 1: by the formula of `Correction`, to which it was fitted.

        Raises:
            MissingUnitsError: the table does not have all units of `arch`.
            TableError: the table gives no latency above 0 for it.
        """
        units = lower(arch)
        mib = sum(map(self._weights_mib, units)) if self._correction.saved_by_mib_ms else 0.0
        ms = float(self._correction.whole_ms(sum(self._units_ms(units)), mib))
        if not 0 < ms < math.inf:
            its = self.table
            remedy = (
                measure_again(its)
                if isinstance(its, MeasuredTable) and its.timed
                else "fit it to networks of this size with latency_luts.calibrate"
            )
            raise TableError(
                f"the table of {self.device!r} gives {ms:.3g} ms for {arch.name} at {arch.resolution_px} px: it was "
                f"fitted to slower networks; {remedy}"
            )
        return ms

    def latency_ms_batch(self, space: "SearchSpace", indices: np.ndarray) -> np.ndarray:
        """(n,) milliseconds of the networks that `indices` (n, C) stand for in `space`.

        A declared space is looked up in one table a layer, without Python code for each network: millions of networks
        a second after the first call.

        Raises:
            MissingUnitsError: the table does not have all units of one of them.
            ValueError: `indices` are not of this space.
        """
        indices = np.asarray(indices)
        if indices.ndim != 2 or indices.shape[1] != len(space.choices):
            raise ValueError(f"space {space.name!r} takes indices (n, {len(space.choices)}), not {indices.shape}")
        if space.declaration is None:
            return np.array([self.latency_ms(space.decode(row)) for row in indices])
        if self._layers is None or self._layers[0] is not space:
            self._layers = (space, *self._layer_tables(space))
        _, tables, tables_ms, tables_mib = self._layers
        sum_ms, mib = np.zeros(len(indices)), np.zeros(len(indices))
        for start in range(0, len(indices), _CHUNK):
            places = tables.places(indices[start : start + _CHUNK])
            for table_ms, column in zip(tables_ms, places, strict=True):
                sum_ms[start : start + _CHUNK] += table_ms[column]
            if tables_mib:
                for table_mib, column in zip(tables_mib, places, strict=True):
                    mib[start : start + _CHUNK] += table_mib[column]
        ms = self._correction.whole_ms(sum_ms, mib)
        if (wrong := ~(ms > 0)).any():  # NaN stands for a missing unit
            self.latency_ms(space.decode(indices[wrong][0]))  # raises
        return ms

    def _layer_tables(self, space: "SearchSpace") -> tuple[LayerTables, list[np.ndarray], list[np.ndarray]]:
        """The layers of a space, the ms of each (NaN stands for a missing unit), and the MiB, if they count."""

        def ms(units: Sequence[Unit]) -> float:
            prices = [self._price(unit) for unit in units]
            return math.nan if None in prices else math.fsum(filter(None, prices))

        tables = LayerTables(space)
        if not self._correction.saved_by_mib_ms:
            return tables, tables.of(ms), []
        return tables, tables.of(ms), tables.of(lambda units: math.fsum(map(self._weights_mib, units)))

    def _weights_mib(self, unit: Unit) -> float:
        place = (unit.block, unit.in_shape)
        if place not in self._cache_mib:
            self._cache_mib[place] = residence.weights_mib(unit, self._dtype)
        return self._cache_mib[place]

    def parts_ms(self, arch: Arch) -> list[float]:
        """Milliseconds of each unit of `arch`, which add up to its latency: what a table's correction has for a whole
        network is spread over them in proportion.

        Raises:
            MissingUnitsError: the table does not have all of them.
        """
        parts = [max(0.0, ms) for ms in self._units_ms(lower(arch))]
        factor = self.latency_ms(arch) / (sum(parts) or 1.0)
        return [part * factor for part in parts]

    def _units_ms(self, units: Sequence[Unit]) -> list[float]:
        parts = [self._price(unit) for unit in units]
        if missing := [unit for unit, ms in zip(units, parts, strict=True) if ms is None]:
            assert isinstance(self.table, MeasuredTable)  # a calibrated one prices any unit
            raise MissingUnitsError(self.table, missing)
        return [ms for ms in parts if ms is not None]

    @property
    def has_intervals(self) -> bool:
        """Whether `interval_ms` gives one of each network."""
        source = self.table
        return source.doubt is not None if isinstance(source, CalibratedTable) else self.off is not None

    def interval_ms(self, arch: Arch) -> tuple[float, float] | None:
        """Between how many milliseconds the latency of `arch` lies in 90 % of cases.

        Of a table with a prior that is on devices of the prior's kind. Of one with measured units it is as far as 90 %
        of the networks are off that its correction is fitted to, each left out of the fit (the jackknife: Barber et al.
        2021, arXiv:1905.02928): of networks like these, on a machine as fast as then. None where the table does not say
        how far it may be off.
        """
        source = self.table
        if isinstance(source, MeasuredTable):
            ms = self.latency_ms(arch)
            return None if self.off is None else (ms / self.off, ms * self.off)
        if not isinstance(source, CalibratedTable) or source.doubt is None or source.known is None:
            return None
        known = source.known
        (ms,), (deviation,) = known.predict(prior.network_features(arch)[None])
        wide = np.exp(source.doubt.deviations * deviation)
        return float(ms / wide), float(ms * wide)

    def describe(self) -> str:
        """One line: the device, where its numbers come from, whether they are in doubt, and the error."""
        return f"{self.device}: {_from(self.table)}; {_error(self.table, self.error)}"

    def check_error(self, most: float) -> None:
        """Refuses a table that is wrong by more than was accepted, as one measured beside heavy programs may be.

        Args:
            most: accepted mean error on whole networks, of the latest validation or else left out of the fit; 0.08 is
                8 %. Tables that were not measured by this project say their error, and are accepted.

        Raises:
            TableError: the error is larger; the message says what to do.
        """
        source = self.table
        if not isinstance(source, MeasuredTable) or source.timed is None or self.error is None:
            return
        error = source.validation.mape if source.validation else self.error.mape
        if error > most:
            raise TableError(
                f"the table of {self.device!r} is {error:.1%} off on whole networks, and table_error={most:g} is "
                f"accepted: {measure_again(source)}, or accept it with "
                f"table_error={math.ceil(100 * error) / 100:g}"
            )


def unit_prices(source: Table) -> UnitPrices:
    """What the units of a table add to a network."""
    if isinstance(source, CalibratedTable):
        form = prior if source.doubt else calibrated
        costs = np.array([source.costs[name] for name in form.FEATURES])
        return lambda unit: float(form.features(unit) @ costs)
    units, correction = source.units, source.correction

    def price(unit: Unit) -> float | None:
        timing = units.get(key(unit)) or timing_of_other_classes(unit, units)
        return None if timing is None else correction.unit_ms(timing.ms, timing.kernels)

    return price


def _off(networks: Sequence[NetworkFit]) -> float | None:
    """The factor by which 90 % of further networks are off at most; None of fewer networks than can say."""
    place = math.ceil(COVERED * (len(networks) + 1))
    if place > len(networks) or any(fit.left_out_ms <= 0 for fit in networks):
        return None
    return math.exp(sorted(abs(math.log(fit.left_out_ms / fit.ms)) for fit in networks)[place - 1])


def _from(source: Table) -> str:
    """Where the numbers of a table come from, in words."""
    if isinstance(source, CalibratedTable):
        return f"calibrated to {source.origin.fitted_to}, not measured"
    match source.origin:
        case Corrected(device=device, networks=networks, units=units):
            return f"corrected to {networks}; its units are those of {device}, {_units_from(units, source.identity)}"
        case units:
            return _units_from(units, source.identity)


def _units_from(units: Measured | Imported, identity: Identity) -> str:
    if isinstance(units, Imported):
        return f"imported from {units.source}"
    words = f"measured on {identity.cpu}, {identity.runtime}, {_how(identity)}"
    if not units.busy:
        return words
    return (
        f"{words}, while the machine was busy: its speed varied by {units.drift:.0%}, {units.noisy:.0%} of the units "
        "from chain to chain"
    )


def _error(source: Table, error: Error | None) -> str:
    if isinstance(source, MeasuredTable) and (validation := source.validation):
        worst = f"(worst {abs(validation.worst_error):.1%})"
        return f"error {validation.mape:.1%} on {validation.nets} other networks {worst}"
    if isinstance(source, CalibratedTable) and source.doubt and len(source.networks) < FEW:
        networks = f"{len(source.networks)} network{'s' * (len(source.networks) > 1)}"
        expected = f"error expected to be {source.doubt.expected_error:.1%}, as of such devices from {networks}"
        return expected if error is None else f"{expected}; {error.mape:.1%} with each of them left out"
    if error is None:
        return "error on whole networks unknown"
    words = f"leave-one-out error {error.mape:.1%} on {error.networks} networks (worst {error.worst:.1%})"
    if isinstance(source, MeasuredTable):
        return words
    if error.family is None:
        return f"{words}, not known with a network's whole family left out"
    of_them = "" if error.family.networks == error.networks else f" on {error.family.networks} of them"
    return (
        f"{words}, {error.family.mape:.1%}{of_them} with the network's whole family left out ({error.family.families} "
        "families)"
    )


def _how(identity: Identity) -> str:
    threads = f"{identity.threads} thread{'s' if identity.threads > 1 else ''}"
    return (
        threads
        + (f", batch {identity.batch}" if identity.batch > 1 else "")
        + (f", {identity.dtype}" if identity.dtype != "fp32" else "")
    )
