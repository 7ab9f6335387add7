"""How far the error of a calibrated table holds: the share of a network's time that none of its fit's networks had.

A table's error was measured on networks of the fit's kinds of work (`work`). Units of other kinds have a price, by
the same formula, and no error that was measured on this device. What is known of such prices is from other devices
(`experiments.unseen_kinds`): see `UNSEEN`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latency_luts.model import FEW, LatencyModel
from latency_luts.table import CalibratedTable
from latency_luts.work import kinds
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["UNSEEN", "Unseen", "described", "of_network", "of_networks", "unseen"]

UNSEEN = (1 / 3, 3 / 2)
"""What units of a kind that no network of the fit had take, as multiples of their price: the 5th and 95th percentiles
of 51 tables lie there (`experiments/results/unseen_kinds.csv`). With TensorFlow Lite on phones they are 0.77 and 1.12,
and 0.93 and 1.09 of units with k x k convolutions, whose multiply-add costs there what a 1 x 1 convolution's does. With
ncnn, whose convolutions by Winograd's method multiply less, they are 0.33 and 1.49; a table does not say how its
runtime computes."""

_NAMED = 3  # kinds, those with most time; more make no line


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """What a table's error says nothing of.

    Attributes:
        share: of the network's time that units with kinds of work have which no network of the fit had.
        kinds: these, those with most time first.
        low_ms, high_ms: the network's latency with such units at `UNSEEN` times their price, and the others off by the
            table's error.
    """

    share: float
    kinds: tuple[str, ...]
    low_ms: float
    high_ms: float


def unseen(model: LatencyModel, arch: Arch) -> Unseen | None:
    """What the error of `model` says nothing of in `arch`; None if its table does not say what its fit had.

    Raises:
        MissingUnitsError: the table does not have all units of `arch`.
    """
    table = model.table
    parts_ms = model.parts_ms(arch)
    total_ms = sum(parts_ms)
    if not isinstance(table, CalibratedTable):
        return Unseen(share=0.0, kinds=(), low_ms=total_ms, high_ms=total_ms)
    seen = table.origin.kinds
    if seen is None:
        return None
    its_ms, unseen_ms = Counter[str](), 0.0
    for unit, ms in zip(lower(arch), parts_ms, strict=True):
        if new := kinds(unit) - seen:
            unseen_ms += ms
            its_ms.update(dict.fromkeys(new, ms))
    error_ms = (total_ms - unseen_ms) * (_off(model))
    low, high = UNSEEN
    return Unseen(
        share=unseen_ms / total_ms,
        kinds=tuple(sorted(its_ms, key=lambda kind: (-its_ms[kind], kind))),
        low_ms=total_ms - (1 - low) * unseen_ms - error_ms,
        high_ms=total_ms + (high - 1) * unseen_ms + error_ms,
    )


def described(model: LatencyModel, arch: Arch) -> str:
    """One line: what `model` is and its error, and what there is to add for `arch`.

    Raises:
        MissingUnitsError: the table does not have all units of `arch`.
    """
    return "; ".join(filter(None, (model.describe(), _interval(model, arch), of_network(model, arch))))


def _interval(model: LatencyModel, arch: Arch) -> str:
    """Between how many milliseconds the network lies, in words, where the table says."""
    interval = model.interval_ms(arch)
    return f"90% interval {_ms(interval[0])} to {_ms(interval[1])} ms" if interval else ""


def of_network(model: LatencyModel, arch: Arch) -> str:
    """What there is to add where the latency of `arch` stands beside the table's error, in words; "" if nothing is.

    Raises:
        MissingUnitsError: the table does not have all units of `arch`.
    """
    if model.interval_ms(arch):
        return ""  # which holds for all kinds of units that the prior knows
    its = unseen(model, arch)
    if its is None:
        return _NOT_KNOWN
    if not its.share:
        return ""
    its_ms = f"{_percent(its.share)} of the network's {_ms(model.latency_ms(arch))} ms"
    return f"{its_ms} is in {_named(its.kinds)}: it may be {_ms(its.low_ms)} to {_ms(its.high_ms)} ms"


def of_networks(model: LatencyModel, archs: Sequence[Arch]) -> str:
    """As `of_network`, of random networks `archs`.

    Raises:
        MissingUnitsError: the table does not have all units of one of them.
    """
    if model.has_intervals:
        return ""
    them = [unseen(model, arch) for arch in archs]
    known = [its for its in them if its is not None]
    if not known:
        return _NOT_KNOWN if them else ""
    share = float(np.median([its.share for its in known]))
    if not share:
        return ""
    ms = [model.latency_ms(arch) for arch in archs]
    low, high = (
        float(np.median([bound / at for bound, at in zip(bounds, ms, strict=True)]))
        for bounds in ([its.low_ms for its in known], [its.high_ms for its in known])
    )
    count = Counter(kind for its in known for kind in its.kinds)
    often = sorted(count, key=lambda kind: (-count[kind], kind))
    its_time = f"{_percent(share)} of a random network's time (median)"
    return f"{its_time} is in {_named(often)}: it may take {1 - low:.0%} less or {high - 1:.0%} more"


_NOT_KNOWN = "which kinds of units its fit had is not known; calibrate it again to know"


def _off(model: LatencyModel) -> float:
    """The error of networks of the fit's kinds: of families left out, else of networks left out."""
    own = 0.0 if model.error is None else (model.error.family or model.error).mape
    if isinstance(model.table, CalibratedTable) and model.table.doubt and len(model.table.networks) < FEW:
        return max(own, model.table.doubt.expected_error)
    return own


def _named(kinds: Sequence[str]) -> str:
    some = kinds if len(kinds) <= _NAMED else [*kinds[: _NAMED - 1], f"{len(kinds) - _NAMED + 1} more"]
    words = " and ".join(filter(None, (", ".join(some[:-1]), some[-1])))
    return f"kinds of units that no network of the fit had ({words})"


def _ms(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:.3g}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "less than 1%"
