"""Last layers with another number of classes than was measured.

A last layer's time lies on a line over its outputs, so that two numbers of classes in a table stand for all others.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

import numpy as np

from latency_luts.key import key
from latency_luts.table import Timing
from search_spaces import lower
from search_spaces.arch import Classifier
from search_spaces.lower import Unit

__all__ = ["MEASURED", "as_of_older_bundles", "for_measuring", "timing_of_other_classes"]

MEASURED = (10, 1000)
"""The numbers of classes that tables have."""


def for_measuring(units: Iterable[Unit]) -> set[Unit]:
    """`units` with each last layer in all `MEASURED` numbers of classes, instead of its own."""
    return {made for unit in units for made in (_of_classes(unit, MEASURED) if _is_last(unit) else (unit,))}


def as_of_older_bundles(units: Iterable[Unit], timed: Container[str]) -> set[Unit]:
    """`units` without those last layers of the fewest classes that are not among the keys `timed`: bundles of older
    versions have none, and make tables for 1000 classes."""
    return {u for u in units if not (_is_last(u) and u.block.out_ch == MEASURED[0] and key(u) not in timed)}


def timing_of_other_classes(unit: Unit, timings: Mapping[str, Timing]) -> Timing | None:
    """What the last layer `unit` takes by the same layer with the `MEASURED` numbers of classes; None if it is no last
    layer, or these are not among `timings`."""
    if not _is_last(unit):
        return None
    known = [timings.get(key(other)) for other in _of_classes(unit, MEASURED)]
    few, many = known
    if few is None or many is None:
        return None
    share = (unit.block.out_ch - MEASURED[0]) / (MEASURED[1] - MEASURED[0])
    ms = few.ms + max(0.0, share) * max(0.0, many.ms - few.ms)
    return replace(many if share > 0.5 else few, ms=ms, spread=float(np.mean([few.spread, many.spread])))


def _is_last(unit: Unit) -> bool:
    return isinstance(unit.block, Classifier)


def _of_classes(unit: Unit, numbers: Iterable[int]) -> list[Unit]:
    _, height, width = unit.in_shape
    return [lower.unit(replace(unit.block, out_ch=n), height, width) for n in numbers]
