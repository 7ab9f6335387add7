"""Latencies of units of any width, from a table that has some widths: `InterpolatedModel`.

NetAdapt narrows every layer to every width, and no table has them all. A unit that the table does not have is

- priced by costs that are fitted to the table's own units, with channels rounded up to the vector width (runtimes pad
  them, so that latency goes up in steps),
- and scaled by how far that price is off for the units that are most like it: same kind, kernel, stride and activation,
  near in channels and resolution.

What the table has is taken as it is. This is a model of its own, never a silent substitute: `latency_luts.load(name,
model="interpolated")`, and its error is its own (`left_out_errors`).
"""

from functools import cached_property
from math import prod

import numpy as np

from latency_luts.calibrated import non_negative_least_squares
from latency_luts.key import parse
from latency_luts.model import LatencyModel, unit_prices
from latency_luts.table import MeasuredTable, Table, TableError
from search_spaces.arch import Arch, Classifier
from search_spaces.lower import Unit
from search_spaces.ops import Conv, Dropout, Linear

__all__ = ["InterpolatedModel", "InterpolatedPrices"]

VECTOR_WIDTHS = (1, 4, 8, 16)
_NEIGHBOURS = 6
_OTHER_SETTING = 2.0  # how far apart another kernel, activation or shortcut is, in doublings of the channels
LEAST_UNITS = 30
_SMALLEST_MS = 0.001  # faster units were not timed well enough to scale others by


class InterpolatedModel(LatencyModel):
    """The latency model of a measured or imported table, for units of any width.

    Raises:
        TableError: the table has no units, or too few.
    """

    def __init__(self, source: Table) -> None:
        if not isinstance(source, MeasuredTable):
            raise TableError(f"the table of {source.device!r} is {source.kind}: it prices any unit, nothing is missing")
        self._interpolation = InterpolatedPrices(source)
        super().__init__(source, prices=self._interpolation)

    @property
    def left_out_errors(self) -> np.ndarray:
        """See `InterpolatedPrices.left_out_errors`."""
        return self._interpolation.left_out_errors

    @property
    def vector_width(self) -> int:
        """See `InterpolatedPrices`."""
        return self._interpolation.vector_width

    @property
    def has_intervals(self) -> bool:
        return False

    def interval_ms(self, arch: Arch) -> None:
        """None: what the table knows of its error is of networks whose units were all measured."""

    def describe(self) -> str:
        off = np.abs(self.left_out_errors)
        return (
            f"{super().describe()}; interpolated between widths (a unit of a width that the table lacks is "
            f"{np.median(off):.1%} off in the median, {np.quantile(off, 0.9):.1%} at the 90th percentile)"
        )


class InterpolatedPrices:
    """What units of any width add to a network, in ms; those that the table has add what the table says.

    Attributes:
        vector_width: the number of channels to which the costs round up: the one of 1, 4, 8 and 16 that predicts the
            table's units best.

    Raises:
        TableError: the table has too few units.
    """

    def __init__(self, source: MeasuredTable) -> None:
        self._measured_ms = unit_prices(source)
        units = [parse(name) for name in source.units]
        self._units = [unit for unit in units if (self._measured_ms(unit) or 0) > _SMALLEST_MS]
        if len(self._units) < LEAST_UNITS:
            raise TableError(
                f"the table of {source.device!r} has {len(self._units)} units above {_SMALLEST_MS:g} ms; interpolation "
                f"needs {LEAST_UNITS}"
            )
        self._ms = np.array([self._measured_ms(unit) for unit in self._units])
        self._settings = np.array([_settings(unit) for unit in self._units])
        self._sizes = np.array([_sizes(unit) for unit in self._units])

    def __call__(self, unit: Unit) -> float:
        known = self._measured_ms(unit)
        if known is not None:
            return known
        width, costs, off = self._fitted
        price = float(_price(_features(unit, width), costs))
        return price * float(np.exp(self._correction_of(unit, off, np.arange(len(self._units)))))

    @cached_property
    def left_out_errors(self) -> np.ndarray:
        """(n,) relative errors for some of the table's own units, each predicted without the units of its width.

        A tenth of the widths (in, expanded and output channels together), at most 400 units, are left out at a time.
        """
        return self._left_out(self._fitted[0])

    @property
    def vector_width(self) -> int:
        return self._fitted[0]

    @cached_property
    def _features(self) -> dict[int, np.ndarray]:
        """Vector width to the features (n, k) of all units."""
        return {width: np.stack([_features(unit, width) for unit in self._units]) for width in VECTOR_WIDTHS}

    @cached_property
    def _fitted(self) -> tuple[int, np.ndarray, np.ndarray]:
        """The vector width, the costs, and the log of each unit's ms over its price."""
        errors = {width: float(np.mean(np.abs(self._left_out(width)))) for width in VECTOR_WIDTHS}
        width = min(errors, key=errors.__getitem__)
        costs, features = self._costs(width, np.arange(len(self._units)))
        return width, costs, np.log(self._ms / _price(features, costs))

    def _costs(self, width: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Costs (k,) fitted to the units `rows`, and the features (n, k) of all units."""
        features = self._features[width]
        scale = np.maximum(features[rows].max(axis=0), 1e-12)
        x = features[rows] / scale / self._ms[rows, None]
        return non_negative_least_squares(x, np.ones(len(rows))) / scale, features

    def _correction_of(self, unit: Unit, off: np.ndarray, rows: np.ndarray) -> float:
        """The mean of `off` (of the units `rows`) over those most like `unit`, near ones weighing more."""
        other = (self._settings[rows] != _settings(unit)).sum(axis=1)
        apart = np.abs(self._sizes[rows] - _sizes(unit)).sum(axis=1) + _OTHER_SETTING * other
        nearest = np.argpartition(apart, min(_NEIGHBOURS, len(rows) - 1))[:_NEIGHBOURS]
        weights = 1 / (0.1 + apart[nearest]) ** 2
        return float(weights @ off[nearest] / weights.sum())

    def _left_out(self, width: int) -> np.ndarray:
        rng = np.random.default_rng(0)
        widths = np.array([hash(_widths(unit)) for unit in self._units])
        kinds = rng.permutation(np.unique(widths))
        errors = []
        for fold in np.array_split(kinds, 10):
            out = np.flatnonzero(np.isin(widths, fold))
            rest = np.setdiff1d(np.arange(len(self._units)), out)
            costs, features = self._costs(width, rest)
            off = np.log(self._ms[rest] / _price(features[rest], costs))
            for i in rng.permutation(out)[:40]:
                ms = _price(features[i], costs) * np.exp(self._correction_of(self._units[i], off, rest))
                errors.append(ms / self._ms[i] - 1)
        return np.array(errors)


def _features(unit: Unit, vector_width: int) -> np.ndarray:
    """(6,) dense and depthwise multiply-adds, weights, activations, rows and operators, with channels padded."""

    def padded(channels: int) -> int:
        return -(-channels // vector_width) * vector_width

    dense = depthwise = weights = activations = rows = operators = 0
    for node in unit.nodes:
        if isinstance(node.op, Dropout):
            continue
        out_ch, height, width = node.out_shape
        op = node.op
        if isinstance(op, Conv) and op.depthwise:
            depthwise += padded(out_ch) * height * width * prod(op.size)
            rows += padded(out_ch) * height
        elif isinstance(op, Conv):
            in_ch = op.in_ch // op.groups
            in_ch = in_ch if in_ch < 4 else padded(in_ch)
            dense += in_ch * padded(out_ch) * height * width * prod(op.size)
            weights += in_ch * padded(out_ch) * prod(op.size)
        elif isinstance(op, Linear):
            weights += op.in_ch * op.out_ch
        activations += padded(out_ch) * height * width + sum(map(prod, node.in_shapes))
        operators += 1
    return np.array([dense, depthwise, weights, activations, rows, operators], dtype=np.float64)


def _price(features: np.ndarray, costs: np.ndarray) -> np.ndarray:
    return np.maximum(features @ costs, 1e-6)


def _widths(unit: Unit) -> tuple[int, ...]:
    block = unit.block
    return (block.in_ch, getattr(block, "mid_ch", 0), block.out_ch)


def _settings(unit: Unit) -> np.ndarray:
    """What a neighbour should have in common, as whole numbers."""
    block = unit.block
    names = (type(block).__name__, getattr(block, "act", ""), getattr(block, "skip", ""))
    kernel, stride = getattr(block, "kernel", 1), getattr(block, "stride", 1)
    gated = getattr(block, "se_ch", 0) > 0
    kinds = tuple(sum(map(ord, name)) * 3 for name in names)  # the kind counts thrice, since its costs differ most
    return np.array([kinds[0], kinds[0] + 1, kinds[0] + 2, kinds[1], kinds[2], kernel, stride, gated])


def _sizes(unit: Unit) -> np.ndarray:
    """log2 of channels and resolution."""
    block = unit.block
    hidden = block.hidden_ch if isinstance(block, Classifier) else getattr(block, "mid_ch", block.in_ch)
    return np.log2([block.in_ch, max(hidden, 1), block.out_ch, unit.in_shape[1] ** 2])
