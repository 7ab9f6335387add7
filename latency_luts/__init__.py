"""Latency of networks on devices, from tables of measured or calibrated building blocks.

>>> import latency_luts
>>> latency_luts.load("pixel1").describe()
"""

from latency_luts.interpolated import InterpolatedModel
from latency_luts.model import LatencyModel, MissingUnitsError
from latency_luts.store import load, names
from latency_luts.table import TableError

__all__ = ["InterpolatedModel", "LatencyModel", "MissingUnitsError", "TableError", "load", "names"]
