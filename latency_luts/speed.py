"""Networks that a table was fitted to, timed again beside others: how fast is the machine now, by the table?

Two references alone do not tell: other programs may slow them down more or less than other networks, for minutes. The
table's own networks, of all sizes, are what its latencies mean.
"""

from collections.abc import Mapping

import numpy as np

from latency_luts.key import parse
from latency_luts.table import MeasuredTable
from search_spaces.arch import Arch

__all__ = ["known_networks", "slowness"]

KNOWN = 16  # networks of a table that are timed beside others
LEAST = 8  # fewer say less than the references


def known_networks(table: MeasuredTable) -> dict[str, Arch]:
    """Some of the networks that `table` was fitted to, from fast to slow; none where it knows too few."""
    fits = sorted((n for n in table.networks if n.units), key=lambda n: n.ms)
    if len(fits) < LEAST:
        return {}
    found = {}
    for i in np.linspace(0, len(fits) - 1, min(KNOWN, len(fits))).round().astype(int):
        units = [parse(name) for name in fits[i].units]
        blocks = tuple(unit.block for unit in units)
        found[fits[i].name] = Arch(name=fits[i].name, resolution_px=units[0].in_shape[1], blocks=blocks)
    return found


def slowness(table: MeasuredTable, known_ms: Mapping[str, float], reference_ms: float) -> float:
    """How slow the machine is now: 1 is the table's speed, 1.1 is 10 % slower.

    Args:
        known_ms: what networks that the table was fitted to take now, by name; the median of their ratios says it.
        reference_ms: what the references take now, which say it where fewer than 8 are known.
    """
    at_table_ms = {n.name: n.ms for n in table.networks}
    ratios = [ms / at_table_ms[name] for name, ms in known_ms.items()]
    return float(np.median(ratios)) if len(ratios) >= LEAST else reference_ms / table.reference_ms
