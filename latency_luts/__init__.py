"""Latency of networks on devices, from tables of measured or calibrated building blocks.

>>> import latency_luts
>>> latency_luts.load("pixel1").describe()
"""

from typing import TYPE_CHECKING

from nas_runtime.lazy import lazily

if TYPE_CHECKING:
    from latency_luts.at_most import AtMost
    from latency_luts.interpolated import InterpolatedModel
    from latency_luts.model import LatencyModel, MissingUnitsError
    from latency_luts.store import load, names
    from latency_luts.table import TableError

__all__ = ["AtMost", "InterpolatedModel", "LatencyModel", "MissingUnitsError", "TableError", "load", "names"]

__getattr__ = lazily(
    __name__,
    __all__,
    {
        "at_most": ("AtMost",),
        "interpolated": ("InterpolatedModel",),
        "model": ("LatencyModel", "MissingUnitsError"),
        "store": ("load", "names"),
        "table": ("TableError",),
    },
)
