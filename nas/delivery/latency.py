"""How long delivered graphs take on this machine, beside what a table has promised for their network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latency_luts import LatencyModel, MissingUnitsError
from latency_luts.on_device import Graph, cpu_name, time_graphs
from latency_luts.table import ONNXRUNTIME, Error, MeasuredTable
from search_spaces.arch import Arch

__all__ = ["Promise", "is_of_this_machine", "measured_ms", "promised", "threads_of"]

_BURSTS = 30


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a table says of a delivered network.

    Attributes:
        ms: of the network as delivered, without what its graph does with pixels; None: the table has not all of it.
        searched_ms: of the network as it was searched; None: it is the same, or the table has not all of it.
        dtype: of the graph that is priced.
        runtime: that runs it there, of a measured table; None: not known.
        table: the device, where its numbers come from, and how wrong they are, in words.
        mean_error, worst_error: on whole networks, as a share; None: not known.
    """

    device: str
    ms: float | None
    searched_ms: float | None
    dtype: str
    runtime: str | None
    table: str
    mean_error: float | None
    worst_error: float | None

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def promised(latency: LatencyModel, delivered: Arch, searched: Arch) -> Promise:
    """What `latency` says of a network as it is delivered, and as it was searched."""
    source = latency.table
    mean, worst = None, None
    if isinstance(source, MeasuredTable) and source.validation:
        mean, worst = source.validation.mape, abs(source.validation.worst_error)
    elif isinstance(latency.error, Error):
        mean, worst = latency.error.mape, latency.error.worst
    return Promise(
        device=latency.device,
        ms=_ms(latency, delivered),
        searched_ms=None if delivered == searched else _ms(latency, searched),
        dtype=source.identity.dtype if isinstance(source, MeasuredTable) else source.dtype,
        runtime=source.identity.runtime_name if isinstance(source, MeasuredTable) and source.timed else None,
        table=latency.describe(),
        mean_error=mean,
        worst_error=worst,
    )


def _ms(latency: LatencyModel, arch: Arch) -> float | None:
    try:
        return latency.latency_ms(arch)
    except MissingUnitsError:
        return None


def is_of_this_machine(latency: LatencyModel) -> bool:
    """Whether `latency` is of single pictures on this machine with this runtime, so that it can be compared."""
    source = latency.table
    return (
        isinstance(source, MeasuredTable)
        and source.timed is not None
        and source.identity.cpu == cpu_name()
        and source.identity.runtime_name == ONNXRUNTIME
        and source.identity.batch == 1
    )


def threads_of(latency: LatencyModel | None) -> int:
    """Of the latencies that a table has; 1 without one."""
    source = latency.table if latency else None
    return source.identity.threads if isinstance(source, MeasuredTable) else 1


def measured_ms(graphs: Mapping[str, bytes], *, threads: int = 1) -> dict[str, float]:
    """Milliseconds of each graph by its name, for one picture, on this machine, where they take turns."""
    from latency_luts.measure import pinned_core

    with pinned_core(threads):
        timed = [Graph(content, None, threads) for content in graphs.values()]
        ms, _ = time_graphs(timed, [], bursts=_BURSTS)
    return {name: float(np.nanmin(row)) for name, row in zip(graphs, ms, strict=True)}
