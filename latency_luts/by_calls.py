"""Timing with any runtime: by the times that it gives for blocks, or by plain calls."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from latency_luts.key import key
from latency_luts.measurements import REFERENCES, ChainTiming, NetworkTiming
from latency_luts.on_device import BURST_RUNS, WARM_RUNS, Timed, burst, call_times, clock, time_graphs
from latency_luts.runtime import BlockRuntime, Runtime
from search_spaces import zoo
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower

__all__ = ["CallBench", "alone"]


class CallBench:
    """Times networks by plain calls of a runtime; the units of a chain inside it if the runtime tells what each takes,
    else each as a network of its own.

    A unit by itself finds its weights in the caches, and a call has a time of its own: a table's correction takes both
    off, on the whole (`experiments.unit_timing`: 3.6 % off on networks, where units in chains are 1.7 %).
    """

    def __init__(self, runtime: Runtime, *, batch: int, threads: int = 1) -> None:
        self._runtime, self._batch = runtime, batch
        self._clock = clock(threads) if getattr(runtime, "in_this_thread", False) else time.perf_counter

    def time_chains(self, chains: Sequence[Arch], *, bursts: int) -> list[ChainTiming]:
        """Times the units of some chains; all take turns."""
        units = [lower(chain) for chain in chains]
        if isinstance(self._runtime, BlockRuntime):
            counted = [_Blocks(self._runtime.prepare_blocks(chain, batch=self._batch)) for chain in chains]
            _, reference_ms = time_graphs(counted, self._calls(_references()), bursts=bursts)
            return [_timing(its, blocks.ms(), reference_ms) for its, blocks in zip(units, counted, strict=True)]
        ms, reference_ms = self._times([alone(unit) for its in units for unit in its], bursts)
        rows = iter(ms)
        return [_timing(its, np.stack([next(rows) for _ in its]), reference_ms) for its in units]

    def time_networks(self, archs: Sequence[Arch], *, bursts: int) -> list[NetworkTiming]:
        """Times whole networks that take turns."""
        ms, reference_ms = self._times(archs, bursts)
        return [NetworkTiming(ms=float(np.nanmin(row)), reference_ms=reference_ms) for row in ms]

    def _times(self, archs: Sequence[Arch], bursts: int) -> tuple[np.ndarray, float]:
        """(archs, bursts) ms, and the references' ms; see `on_device.time_graphs`."""
        return time_graphs(self._calls(archs), self._calls(_references()), bursts=bursts)

    def _calls(self, archs: Sequence[Arch]) -> list[Timed]:
        return [_Call(self._runtime.prepare(arch, batch=self._batch), self._clock) for arch in archs]


def alone(unit: Unit) -> Arch:
    """The unit as a network of its own."""
    return Arch(name="unit", resolution_px=unit.in_shape[1], blocks=(unit.block,))


def _references() -> list[Arch]:
    return [zoo.get(name) for name in REFERENCES]


def _timing(units: Sequence[Unit], ms: np.ndarray, reference_ms: float) -> ChainTiming:
    """Of units that took `ms` (units, runs), NaN where there was no run."""
    found = call_times(ms)
    return ChainTiming(
        keys=tuple(map(key, units)),
        ms=tuple(found["ms"]),
        spread=tuple(found["spread"]),
        kernels=tuple(found["kernels"]),
        runs=found["runs"],
        reference_ms=round(reference_ms, 6),
    )


class _Call:
    """A function that takes turns."""

    def __init__(self, run: Callable[[], object], clock: Callable[[], float]) -> None:
        self._run, self._clock = run, clock

    def burst(self) -> float:
        """Seconds of one call; see `on_device.burst`."""
        return burst(self._run_s)

    def _run_s(self) -> float:
        start = self._clock()
        self._run()
        return self._clock() - start


class _Blocks:
    """A network that takes turns and whose blocks' times are kept."""

    def __init__(self, run: Callable[[], Sequence[float]]) -> None:
        self._run, self._runs = run, list[Sequence[float]]()

    def burst(self) -> float:
        """Seconds of one run; see `on_device.burst`."""
        return burst(self._run_s)

    def ms(self) -> np.ndarray:
        """(blocks, runs) without warm runs and the first burst, in which a graph is new to the machine."""
        each = WARM_RUNS + BURST_RUNS
        kept = [run for i, run in enumerate(self._runs) if i >= each and i % each >= WARM_RUNS]
        return 1e3 * np.array(kept).T

    def _run_s(self) -> float:
        self._runs.append(self._run())
        return sum(self._runs[-1])
