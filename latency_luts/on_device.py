"""Times ONNX graphs with ONNX Runtime on the machine it runs on.

This file is the measuring part of the package and, copied into a bundle by `latency_luts.bundle`, a program of its
own: it needs Python 3.9, numpy and onnxruntime, and nothing else.

Why it measures as it does. A block that is timed by itself, again and again, finds its weights in the fast caches; in
a network they have to come from memory, since the other blocks' weights pushed them out. So blocks are timed inside
*chains*: networks through which every block passes several times beside different neighbours, with ONNX Runtime's
profiler, which gives every kernel's time to its block. And a machine's speed changes from moment to moment (other
tenants, clocks): long runs of one graph see one moment, so that graphs take turns in short bursts.

    python on_device.py [threads=1] [out=measured.jsonl]      (in the folder of a bundle)
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_RUNS = 1  # of a burst: they bring the graph's own weights as far back into the caches as a network's runs do
BURST_RUNS = 3
_BLOCK = re.compile(r"block(\d+)\.")


class Graph:
    """A graph that can be run: ``model`` is its bytes or its file, ``in_shape`` (N, C, H, W)."""

    def __init__(self, model: Any, in_shape: Sequence[int], threads: int, profile: str | None = None) -> None:
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
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.feed = {"input": np.random.default_rng(0).standard_normal(tuple(in_shape), dtype=np.float32)}

    def burst(self) -> float:
        """Seconds of one inference: the median of a short burst of runs."""
        times = []
        for i in range(WARM_RUNS + BURST_RUNS):
            start = time.perf_counter()
            self.session.run(None, self.feed)
            if i >= WARM_RUNS:
                times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]


def time_graphs(graphs: Sequence[Graph], bursts: int, after_round: Callable[[], None] = lambda: None) -> np.ndarray:
    """(graphs, bursts) ms: the graphs take turns, a burst each."""
    ms = np.zeros((len(graphs), bursts))
    for graph in graphs:
        graph.burst()
    for b in range(bursts):
        for g, graph in enumerate(graphs):
            ms[g, b] = graph.burst() * 1e3
        after_round()
    return ms


def profile_chains(
    chains: Sequence[tuple[Any, Sequence[int], int]],
    reference: Graph | None = None,
    *,
    threads: int,
    bursts: int,
) -> tuple[list[dict[str, list]], float]:
    """Times the blocks of some chains that take turns.

    Args:
        chains: for each its model, its input's shape (N, C, H, W) and its number of blocks. The nodes of block i are
            named ``block<i>.…``.
        reference: a graph that takes a turn in every round; its median tells how fast the machine was meanwhile.

    Returns:
        for each chain ``ms`` (median over the runs), ``spread`` (interquartile range / median) and ``kernels`` of every
        block and the number of ``runs``; and the reference's ms (0 without one).
    """
    with tempfile.TemporaryDirectory() as folder:
        graphs = [
            Graph(model, in_shape, threads, os.path.join(folder, str(i)))
            for i, (model, in_shape, _) in enumerate(chains)
        ]
        seen = []
        for _ in range(bursts + 1):
            for graph in graphs:
                graph.burst()
            if reference is not None:
                seen.extend((reference.burst(), reference.burst()))
        results = []
        for graph, (_, _, blocks) in zip(graphs, chains):
            path = Path(graph.session.end_profiling())
            results.append(_summary(*_block_times(json.loads(path.read_text()), blocks)))
            path.unlink()
    return results, float(np.median(seen[2:])) * 1e3 if seen else 0.0


def _summary(ms: np.ndarray, kernels: np.ndarray) -> dict[str, list]:
    low, middle, high = np.quantile(ms, (0.25, 0.5, 0.75), axis=0)
    return {
        "ms": [round(float(v), 6) for v in middle],
        "spread": [round(float(v), 4) for v in (high - low) / np.maximum(middle, 1e-9)],
        "kernels": [int(v) for v in kernels],
        "runs": len(ms),
    }


def _block_times(events: list, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs, blocks) ms and (blocks,) kernels, from ONNX Runtime's profile, without the first burst and warm-up runs.

    A kernel belongs to the block that it is named for. Kernels that the runtime put in between (changes of the memory
    layout) belong to the block that needs them: those that prepare an input to the next, others to the one before.
    """
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run")
    nodes = sorted(
        (e["ts"], e["dur"], e["name"], e["args"].get("op_name", ""))
        for e in events
        if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")
    )
    burst = WARM_RUNS + BURST_RUNS
    kept = [i for i in range(burst, len(runs)) if i % burst >= WARM_RUNS]
    per_run: list = [[] for _ in runs]
    r = 0
    for start, duration, name, op in nodes:
        while r + 1 < len(runs) and start >= runs[r + 1][0]:
            r += 1
        per_run[r].append((name, duration, op))
    owners = _owners([(name, op) for name, _, op in per_run[kept[0]]], blocks)
    ms = np.zeros((len(kept), blocks))
    for row, i in enumerate(kept):
        for owner, (_, duration, _) in zip(owners, per_run[i]):
            ms[row, owner] += (duration + 0.5) / 1e3  # whole microseconds, rounded down
    return ms, np.bincount(owners, minlength=blocks)


def _owners(kernels: Sequence[tuple[str, str]], blocks: int) -> list[int]:
    """The block of each kernel ``(name, operator)`` of one run."""
    named = [int(match.group(1)) if (match := _BLOCK.match(name)) else None for name, _ in kernels]
    owners = []
    for i, (owner, (_, op)) in enumerate(zip(named, kernels)):
        if owner is None:
            before = [o for o in named[:i] if o is not None]
            after = [o for o in named[i:] if o is not None]
            prepares = op in ("ReorderInput", "QuantizeLinear")
            owner = after[0] if after and (prepares or not before) else before[-1] if before else 0
        owners.append(min(owner, blocks - 1))
    return owners


def cpu_name() -> str:
    """The CPU's name with what tells two kinds of one name apart (family and model on x86)."""
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if fields.get("model name"):
        detail = "/".join(fields[k] for k in ("cpu family", "model", "stepping") if k in fields)
        return "{} ({})".format(fields["model name"], detail) if detail else fields["model name"]
    if fields.get("CPU part"):
        return "{} {}:{}".format(platform.machine(), fields.get("CPU implementer", "?"), fields["CPU part"])
    return platform.processor() or platform.machine()
