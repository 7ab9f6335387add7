"""Timing ONNX graphs with ONNX Runtime on this machine.

One intra-op and one inter-op thread, no spinning, the process pinned to one core, and the lower quartile of many
runs: a busy neighbour makes a run slower, never faster, so that low quantiles move least.
"""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latency_luts.table import Identity, Timing

__all__ = ["Protocol", "cpu_name", "identity", "pinned_core", "time_model"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How long to time one graph: at least `min_runs`, then until `budget_s` has passed or `max_runs` are done."""

    warmup_runs: int = 3
    min_runs: int = 15
    max_runs: int = 200
    budget_s: float = 0.02


def identity() -> Identity:
    """This machine, and how it is measured."""
    import onnxruntime

    return Identity(cpu=cpu_name(), runtime=f"onnxruntime {onnxruntime.__version__}", threads=1, batch=1, dtype="fp32")


def time_model(model: bytes, in_shape: tuple[int, ...], protocol: Protocol) -> Timing:
    """Lower quartile of the wall-clock time of one inference, in ms.

    Args:
        model: a serialised ONNX model with one input named ``input``.
        in_shape: ``(C, H, W)`` of its input.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"input": np.random.default_rng(0).standard_normal((1, *in_shape), dtype=np.float32)}
    for _ in range(protocol.warmup_runs):
        session.run(None, feed)
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < protocol.max_runs:
        before = time.perf_counter()
        if len(times) >= protocol.min_runs and before - start > protocol.budget_s:
            break
        session.run(None, feed)
        times.append(time.perf_counter() - before)
    low, middle, high = np.quantile(times, (0.25, 0.5, 0.75))
    return Timing(ms=round(low * 1e3, 6), spread=round((high - low) / middle, 4), runs=len(times))


@contextlib.contextmanager
def pinned_core() -> Iterator[None]:
    """Keeps this process on one core (the last it may use) inside the block, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_name() -> str:
    """The CPU's name with what tells two kinds of one name apart (family and model on x86)."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        if name := fields.get("model name"):
            detail = "/".join(fields[k] for k in ("cpu family", "model", "stepping") if k in fields)
            return f"{name} ({detail})" if detail else name
        if part := fields.get("CPU part"):
            return f"{platform.machine()} {fields.get('CPU implementer', '?')}:{part}"
    return platform.processor() or platform.machine()
