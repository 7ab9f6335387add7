"""Chains, timed block by block with ONNX Runtime's profiler."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .graphs import BURST_RUNS, WARM_RUNS, Graph, Timed, time_graphs

_BLOCK = re.compile(r"block(\d+)\.")
_EVENT = re.compile(r'"dur" ?: ?(\d+), ?"ts" ?: ?(\d+), ?"ph" ?: ?"X", ?"name" ?: ?"([^"]+)"')
_PREPARES = ("ReorderInput", "QuantizeLinear", "VariadicSplit")  # an input, for the kernel behind them
_OPERATOR = re.compile(r'"op_name" ?: ?"([^"]+)"')


def profile_chains(
    chains: Sequence[tuple[Any, Sequence[int], int]], references: Sequence[Timed], *, threads: int, bursts: int
) -> tuple[list[dict[str, Any]], float]:
    """Times the blocks of some chains that take turns.

    Args:
        chains: for each its model, its input's shape (N, C, H, W) and its number of blocks. The nodes of block i are
            named ``block<i>.…``.
        references: graphs that take a turn in every round; they tell how fast the machine was meanwhile.

    Returns:
        for each chain ``ms`` (the sum of its kernels' fastest runs), ``spread`` (interquartile range / median of the
        runs) and ``kernels`` of every block and the number of ``runs``; and the geometric mean of the references' ms (0
        without any).
    """
    with tempfile.TemporaryDirectory() as folder:
        graphs = [
            Graph(model, in_shape, threads, os.path.join(folder, str(i)))
            for i, (model, in_shape, _) in enumerate(chains)
        ]
        _, reference_ms = time_graphs(graphs, references, bursts=bursts)
        results = []
        for graph, (_, _, blocks) in zip(graphs, chains):
            path = Path(graph.session.end_profiling())
            results.append(_summary(*kernel_times(events(path.read_text()), blocks), blocks))
            path.unlink()
    return results, reference_ms


def events(profile: str) -> list[dict[str, Any]]:
    """The runs and kernels in a profile of ONNX Runtime, which has one event a line and is long to parse as JSON."""
    found = []
    for line in profile.splitlines():
        if '"model_run"' in line or '_kernel_time"' in line:
            match = _EVENT.search(line)
            operator = _OPERATOR.search(line)
            if match is None:
                continue
            duration, start, name = match.groups()
            found.append(
                {
                    "name": name,
                    "ts": int(start),
                    "dur": int(duration),
                    "cat": "Node" if operator else "Session",
                    "args": {"op_name": operator.group(1) if operator else ""},
                }
            )
    return found


def _summary(ms: np.ndarray, owners: np.ndarray, blocks: int) -> dict[str, Any]:
    fastest = np.bincount(owners, weights=ms.min(axis=0), minlength=blocks)
    runs = np.stack([np.bincount(owners, weights=run, minlength=blocks) for run in ms])
    low, middle, high = np.quantile(runs, (0.25, 0.5, 0.75), axis=0)
    return {
        "ms": [round(float(v), 6) for v in fastest],
        "spread": [round(float(v), 4) for v in (high - low) / np.maximum(middle, 1e-9)],
        "kernels": [int(v) for v in np.bincount(owners, minlength=blocks)],
        "runs": len(ms),
    }


def kernel_times(events: list, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs, kernels) ms and (kernels,) each one's block, from ONNX Runtime's profile, without the first burst and
    warm-up runs.

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
    its = owners([(name, op) for name, _, op in per_run[kept[0]]], blocks)
    durations = np.array([[duration for _, duration, _ in per_run[i]] for i in kept])
    return (durations + 0.5) / 1e3, its  # whole microseconds, rounded down


def owners(kernels: Sequence[tuple[str, str]], blocks: int) -> np.ndarray:
    """(kernels,) the block of each kernel ``(name, operator)`` of one run, see `kernel_times`."""
    named = [_named_for(name, blocks) for name, _ in kernels]
    found = []
    for i, (owner, (_, op)) in enumerate(zip(named, kernels)):
        if owner is None:
            before = [o for o in named[:i] if o is not None]
            after = [o for o in named[i:] if o is not None]
            prepares = op in _PREPARES
            owner = after[0] if after and (prepares or not before) else before[-1] if before else 0
        found.append(min(owner, blocks - 1))
    return np.array(found)


def _named_for(kernel: str, blocks: int) -> int | None:
    """The block that a kernel is named for: also the last, whose last convolution the runtime calls as the output."""
    if match := _BLOCK.match(kernel):
        return int(match.group(1))
    return blocks - 1 if kernel.startswith("output") else None
