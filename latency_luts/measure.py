"""Timing chains and whole networks on this machine: `on_device` with the project's networks."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from latency_luts.key import key
from latency_luts.on_device import Graph, cpu_name, halves, profile_chains, time_graphs
from latency_luts.table import Identity
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["ChainTiming", "NetworkTiming", "identity", "pinned_core", "reference_graph", "time_chains", "time_networks"]

REFERENCE = "mobilenet_v3_small"


@dataclass(frozen=True, kw_only=True)
class ChainTiming:
    """The units of one chain: keys, ms, spread of the runs and kernels, in order.

    `reference_ms` is what the reference network took meanwhile.
    """

    keys: tuple[str, ...]
    ms: tuple[float, ...]
    spread: tuple[float, ...]
    kernels: tuple[int, ...]
    runs: int
    reference_ms: float


@dataclass(frozen=True, kw_only=True)
class NetworkTiming:
    """A network as one graph: the median of its bursts, that of every second one and of the others, and the reference's
    meanwhile."""

    ms: float
    halves_ms: tuple[float, float]
    reference_ms: float


def identity(*, threads: int = 1, batch: int = 1, dtype: str = "fp32") -> Identity:
    """This machine, and how it is measured."""
    import onnxruntime

    runtime = f"onnxruntime {onnxruntime.__version__}"
    return Identity(cpu=cpu_name(), runtime=runtime, threads=threads, batch=batch, dtype=dtype)


def reference_graph(how: Identity) -> Graph:
    """The network that takes turns with everything that is timed, to tell how fast the machine is meanwhile."""
    from search_spaces import zoo

    return _graph(zoo.get(REFERENCE), how)


def time_chains(chains: Sequence[Arch], how: Identity, reference: Graph, *, bursts: int) -> list[ChainTiming]:
    """Times the units of some chains that take turns."""
    prepared = [(_model(arch, how), (how.batch, *lower(arch)[0].in_shape), len(arch.blocks)) for arch in chains]
    results, reference_ms = profile_chains(prepared, reference, threads=how.threads, bursts=bursts)
    return [
        ChainTiming(
            keys=tuple(key(unit) for unit in lower(arch)),
            ms=tuple(result["ms"]),
            spread=tuple(result["spread"]),
            kernels=tuple(result["kernels"]),
            runs=result["runs"],
            reference_ms=round(reference_ms, 6),
        )
        for arch, result in zip(chains, results, strict=True)
    ]


def time_networks(archs: Sequence[Arch], how: Identity, reference: Graph, *, bursts: int) -> list[NetworkTiming]:
    """Times whole networks that take turns."""
    graphs = [_graph(arch, how) for arch in archs]
    ms = time_graphs([reference, *graphs], bursts)
    reference_ms = float(np.nanmedian(ms[0]))
    return [
        NetworkTiming(
            ms=float(np.nanmedian(row)),
            halves_ms=tuple(halves(row)),  # type: ignore[arg-type]  (two values)
            reference_ms=reference_ms,
        )
        for row in ms[1:]
    ]


@contextlib.contextmanager
def pinned_core(threads: int = 1) -> Iterator[None]:
    """Keeps this process on as many cores as it has threads (the last it may use), where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _graph(arch: Arch, how: Identity) -> Graph:
    return Graph(_model(arch, how), (how.batch, *lower(arch)[0].in_shape), how.threads)


def _model(arch: Arch, how: Identity) -> bytes:
    from search_spaces import onnx_net

    return onnx_net.model(arch, batch=how.batch, int8=how.dtype == "int8").SerializeToString()
