"""Graphs that take turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from .weights import WEIGHTS

WARM_RUNS = 1  # of a burst: they bring the graph's own weights as far back into the caches as a network's runs do
BURST_RUNS = 1
REFERENCE_BURSTS = 2  # of each reference in a round of bursts: its noise is in all that took turns with it
ENOUGH_S = 0.012  # graphs whose run takes longer take fewer turns


class Timed(Protocol):
    """What takes turns."""

    def burst(self) -> float:
        """Seconds of one run; see `burst`."""
        ...


def burst(run_s: Callable[[], float]) -> float:
    """Seconds of one run: the fastest of a short burst of runs.

    Args:
        run_s: runs once and gives the seconds.
    """
    for _ in range(WARM_RUNS):
        run_s()
    return min(run_s() for _ in range(BURST_RUNS))


class Graph:
    """A graph that can be run: ``model`` is its bytes or its file, ``in_shape`` (N, C, H, W); None: one picture, as the
    graph takes it."""

    def __init__(self, model: Any, in_shape: Sequence[int] | None, threads: int, profile: str | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0" if threads == 1 else "1")
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as e:  # the runtime's errors have no base of their own
            reason = " ".join(str(e).split())[:200]
            if isinstance(model, str) and not os.path.exists(model):
                raise FileNotFoundError(2, "it is missing", model) from None
            what = model if isinstance(model, str) else "a graph"
            remedy = "unzip the bundle again, and remove " + WEIGHTS if isinstance(model, str) else "it is damaged"
            raise OSError(5, f"the runtime cannot load it ({reason}); {remedy}", what) from None
        source = self.session.get_inputs()[0]
        shape = tuple(in_shape or (n if isinstance(n, int) else 1 for n in source.shape))
        rng = np.random.default_rng(0)
        if source.type == "tensor(uint8)":
            self.feed = {source.name: rng.integers(0, 256, shape, dtype=np.uint8)}
        else:
            self.feed = {source.name: rng.standard_normal(shape, dtype=np.float32)}
        self._clock = clock(threads)

    def burst(self) -> float:
        """Seconds of one inference; see `burst`."""
        return burst(self.run_s)

    def run_s(self) -> float:
        """Seconds of one inference."""
        start = self._clock()
        self.session.run(None, self.feed)
        return self._clock() - start


def clock(threads: int) -> Callable[[], float]:
    """A clock that stands still while other programs have the core of this thread. Of several threads' work, and where
    the system has no such clock or a coarse one, one that goes on."""
    try:
        exact = time.get_clock_info("thread_time").resolution < 1e-6
    except ValueError:
        exact = False
    return time.thread_time if threads == 1 and exact else time.perf_counter


def time_graphs(graphs: Sequence[Timed], references: Sequence[Timed], *, bursts: int) -> tuple[np.ndarray, float]:
    """Times graphs that take turns, a burst each.

    Returns:
        (graphs, bursts) ms, NaN where a slow graph left a turn out; and the references' ms, see `profile_chains`.
    """
    ms = np.full((len(graphs), bursts), np.nan)
    seen = np.full((len(references), bursts * REFERENCE_BURSTS), np.nan)
    enough = [_enough(graph.burst(), bursts) for graph in graphs]
    for reference in references:
        reference.burst()
    for b in range(bursts):
        for g, graph in enumerate(graphs):
            if b * enough[g] // bursts != (b + 1) * enough[g] // bursts:  # `enough` of them, evenly spread
                ms[g, b] = graph.burst() * 1e3
        for r, reference in enumerate(references):
            for again in range(REFERENCE_BURSTS):
                seen[r, b * REFERENCE_BURSTS + again] = reference.burst() * 1e3
    return ms, _fastest(seen)


def call_times(ms: np.ndarray) -> dict[str, Any]:
    """What is known of blocks that took `ms` (blocks, runs) in plain calls, NaN where there was no run: ``ms`` (the
    fastest), ``spread`` (interquartile range / median), ``kernels`` (1) of each, and the number of ``runs``."""
    low, middle, high = np.nanquantile(ms, (0.25, 0.5, 0.75), axis=1)
    return {
        "ms": np.nanmin(ms, axis=1).round(6).tolist(),
        "spread": ((high - low) / np.maximum(middle, 1e-9)).round(4).tolist(),
        "kernels": [1] * len(ms),
        "runs": int(np.isfinite(ms).sum(axis=1).min()),
    }


def _fastest(ms: np.ndarray) -> float:
    """The geometric mean over the references (rows) of their fastest runs; 0 without any."""
    return float(np.exp(np.log(ms.min(axis=1)).mean())) if ms.size else 0.0


def _enough(burst_s: float, bursts: int) -> int:
    """How many of `bursts` a graph needs: long runs vary less, since each of them sees more moments."""
    return max(min(bursts, 4), min(bursts, int(bursts * ENOUGH_S / burst_s)))
