"""`AtMost`: what networks take at most, as far as their table can say."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from latency_luts import prior
from latency_luts.model import LatencyModel
from latency_luts.table import CalibratedTable
from search_spaces.arch import Arch
from search_spaces.layer_tables import LayerTables
from search_spaces.lower import Unit

if TYPE_CHECKING:
    from search_spaces.space import SearchSpace

__all__ = ["AtMost"]


class AtMost(LatencyModel):
    """The upper ends of a model's 90 % intervals as latencies: 95 % of networks are below, if as many are above their
    interval as below. The winner of a search is one that the table may flatter.

    Attributes:
        expected: the model.

    Raises:
        ValueError: the model's table does not say how far it may be off.
    """

    def __init__(self, model: LatencyModel) -> None:
        if not model.has_intervals:
            raise ValueError(
                f"the table of {model.device!r} does not say how far off it may be for a network; sure=true is for "
                "tables that were measured with 9 whole networks or more, and for those of latency_luts.calibrate with "
                "a prior"
            )
        super().__init__(model.table)
        self.expected = model
        self._works: tuple[SearchSpace, LayerTables, list[list[np.ndarray]]] | None = None

    def latency_ms(self, arch: Arch) -> float:
        """Milliseconds at the upper end of the interval of `arch`."""
        interval = self.expected.interval_ms(arch)
        assert interval is not None
        return interval[1]

    def latency_ms_batch(self, space: "SearchSpace", indices: np.ndarray) -> np.ndarray:
        """(n,) the same of points (n, C)."""
        source, ms = self.table, self.expected.latency_ms_batch(space, indices)
        if not isinstance(source, CalibratedTable):
            return ms * self.expected.off
        assert source.known is not None
        assert source.doubt is not None
        _, deviations = source.known.predict(self._features(space, np.asarray(indices)))
        return ms * np.exp(source.doubt.deviations * deviations)

    def interval_ms(self, arch: Arch) -> tuple[float, float] | None:
        return self.expected.interval_ms(arch)

    def describe(self) -> str:
        return f"{super().describe()}; what counts is the upper end of a network's 90% interval"

    def _features(self, space: "SearchSpace", indices: np.ndarray) -> np.ndarray:
        """(n, 9) `prior.FEATURES` of points; of a declared space they are looked up layer by layer."""
        if space.declaration is None:
            return np.array([prior.network_features(space.decode(row)) for row in indices])
        if self._works is None or self._works[0] is not space:
            tables = LayerTables(space)
            each = [tables.of(partial(_amount, k)) for k in range(len(prior.FEATURES))]
            self._works = (space, tables, each)
        _, tables, each = self._works
        places = tables.places(indices)
        amounts = [np.sum([own[place] for own, place in zip(its, places, strict=True)], axis=0) for its in each]
        return np.stack(amounts, axis=1)


def _amount(kind: int, units: Sequence[Unit]) -> float:
    """Of one of `prior.FEATURES`, by its place."""
    return sum(float(prior.features(unit)[kind]) for unit in units)
