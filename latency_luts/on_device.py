"""Times ONNX graphs with ONNX Runtime on the machine it runs on.

This file is the measuring part of the package and, copied into a bundle by `latency_luts.bundle`, a program of its
own: it needs Python 3.9, numpy and onnxruntime, and nothing else.

Why it measures as it does. A block that is timed by itself, again and again, finds its weights in the fastest caches;
in a network the other blocks' weights have pushed many of them out. So blocks are timed inside
*chains*: networks through which every block passes several times beside different neighbours, with ONNX Runtime's
profiler, which gives every kernel's time to its block. And a machine's speed changes from moment to moment (other
tenants, clocks): long runs of one graph see one moment, so that graphs take turns in short bursts.

    python on_device.py [out=measured.jsonl] [core=3]      (in the folder of a bundle)
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WARM_RUNS = 1  # of a burst: they bring the graph's own weights as far back into the caches as a network's runs do
BURST_RUNS = 1
REFERENCE_BURSTS = 2  # of each reference in a round of bursts: its noise is in all that took turns with it
ENOUGH_S = 0.012  # graphs whose run takes longer take fewer turns
FORMAT = 1
WEIGHTS = "weights.bin"  # random numbers in sections: one of int8, then floats of ever smaller deviation
SECTIONS = 14
SECTION_BYTES = 256 << 20  # apart; the file has holes
_BLOCK = re.compile(r"block(\d+)\.")
_EVENT = re.compile(r'"dur" ?: ?(\d+), ?"ts" ?: ?(\d+), ?"ph" ?: ?"X", ?"name" ?: ?"([^"]+)"')
_OPERATOR = re.compile(r'"op_name" ?: ?"([^"]+)"')


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
        for _ in range(WARM_RUNS):
            self.run_s()
        return sorted(self.run_s() for _ in range(BURST_RUNS))[BURST_RUNS // 2]

    def run_s(self) -> float:
        """Seconds of one inference."""
        start = time.perf_counter()
        self.session.run(None, self.feed)
        return time.perf_counter() - start


def time_graphs(graphs: Sequence[Graph], references: Sequence[Graph], *, bursts: int) -> tuple[np.ndarray, float]:
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
    return ms, _middle(seen)


def _middle(ms: np.ndarray) -> float:
    """The geometric mean over the references (rows) of their medians; 0 without any."""
    return float(np.exp(np.log(np.median(ms, axis=1)).mean())) if ms.size else 0.0


def _enough(burst_s: float, bursts: int) -> int:
    """How many of `bursts` a graph needs: long runs vary less, since each of them sees more moments."""
    return max(min(bursts, 4), min(bursts, int(bursts * ENOUGH_S / burst_s)))


def profile_chains(
    chains: Sequence[tuple[Any, Sequence[int], int]], references: Sequence[Graph], *, threads: int, bursts: int
) -> tuple[list[dict[str, Any]], float]:
    """Times the blocks of some chains that take turns.

    Args:
        chains: for each its model, its input's shape (N, C, H, W) and its number of blocks. The nodes of block i are
            named ``block<i>.…``.
        references: graphs that take a turn in every round; they tell how fast the machine was meanwhile.

    Returns:
        for each chain ``ms`` (median over the runs), ``spread`` (interquartile range / median) and ``kernels`` of every
        block and the number of ``runs``; and the geometric mean of the references' ms (0 without any).
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
            results.append(_summary(*block_times(events(path.read_text()), blocks)))
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


def _summary(ms: np.ndarray, kernels: np.ndarray) -> dict[str, Any]:
    low, middle, high = np.quantile(ms, (0.25, 0.5, 0.75), axis=0)
    return {
        "ms": [round(float(v), 6) for v in middle],
        "spread": [round(float(v), 4) for v in (high - low) / np.maximum(middle, 1e-9)],
        "kernels": [int(v) for v in kernels],
        "runs": len(ms),
    }


def block_times(events: list, blocks: int) -> tuple[np.ndarray, np.ndarray]:
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
    named = [_named_for(name, blocks) for name, _ in kernels]
    owners = []
    for i, (owner, (_, op)) in enumerate(zip(named, kernels)):
        if owner is None:
            before = [o for o in named[:i] if o is not None]
            after = [o for o in named[i:] if o is not None]
            prepares = op in ("ReorderInput", "QuantizeLinear")
            owner = after[0] if after and (prepares or not before) else before[-1] if before else 0
        owners.append(min(owner, blocks - 1))
    return owners


def _named_for(kernel: str, blocks: int) -> int | None:
    """The block that a kernel is named for: also the last, whose last convolution the runtime calls as the output."""
    if match := _BLOCK.match(kernel):
        return int(match.group(1))
    return blocks - 1 if kernel.startswith("output") else None


def weights_section(dtype: str, deviation: float) -> int:
    """The section of the file of weights that holds constants of a type (float32 or int8) and a standard deviation."""
    if dtype == "int8":
        return 0
    halvings = round(-float(np.log2(max(deviation, 1e-9)))) + 2  # from a deviation of 4 on
    return 1 + min(max(halvings, 0), SECTIONS - 2)


def write_weights(path: Path, sections: dict[int, int]) -> None:
    """Writes random numbers into the first bytes of sections of the file of weights: ``{section: bytes}``.

    The file is complete or unchanged where there was none; else it grows.
    """
    values = np.random.default_rng(0).standard_normal(max(sections.values()) // 4 + 1, dtype=np.float32)
    partial = path if path.exists() else path.with_name(path.name + ".partial")
    with partial.open("r+b" if path.exists() else "wb") as file:
        for section, size_bytes in sections.items():
            file.seek(section * SECTION_BYTES)
            if section == 0:
                file.write((np.arange(size_bytes) % 251 - 125).astype(np.int8).tobytes())
            else:
                file.write((values * np.float32(2.0 ** (3 - section))).tobytes()[:size_bytes])
    if partial != path:
        partial.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Measures the bundle in this file's folder."""
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(options) < len(arguments) or set(options) - {"out", "core"}:
        raise SystemExit("usage: python on_device.py [out=measured.jsonl] [core=3]")
    import onnxruntime

    folder = Path(__file__).resolve().parent
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as e:
        raise SystemExit(f"error: {folder} is no bundle: {e}; unzip it again") from None
    out = Path(options.get("out", "measured.jsonl"))
    threads = manifest["threads"]
    identity = {
        "cpu": cpu_name(),
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "threads": threads,
        "batch": manifest["batch"],
        "dtype": manifest["dtype"],
    }
    head = {
        "format": FORMAT,
        "device": manifest["device"],
        "identity": identity,
        "chains": sum(map(len, manifest["chains"])),
        "networks": sum(map(len, manifest["networks"])) * manifest["network_turns"],
    }
    done = _resume(out, head)
    _pin(threads, options.get("core"))
    if not (folder / WEIGHTS).exists():
        print("making random weights", flush=True)
        write_weights(folder / WEIGHTS, {int(s): n for s, n in manifest["weights"].items()})
    groups = _schedule(manifest)
    total, finished, start = sum(len(g) for _, g in groups), 0, time.monotonic()
    begun = 0
    with out.open("a") as file:
        for turn, group in groups:
            finished += len(group)
            due = [entry for entry in group if (entry["file"], turn) not in done]
            if not due:
                continue
            begun += len(due)
            measure = _measure_chains if turn == 0 else _measure_networks
            # loaded anew each time: where a graph lies in memory changes its speed
            references = [Graph(str(folder / r["file"]), r["in_shape"], threads) for r in manifest["references"]]
            for item in measure(folder, due, references, manifest):
                file.write(json.dumps({**item, "turn": turn}) + "\n")
            file.flush()
            os.fsync(file.fileno())
            left_s = (time.monotonic() - start) / begun * (total - finished)
            print(f"{finished}/{total} graphs, about {left_s / 60:.1f} minutes left", flush=True)
    print(f"done: {out}. Copy it to where latency_luts is and run:")
    options = " ".join(filter(None, ("device=" + manifest["device"], manifest.get("options"))))
    print(f"python -m latency_luts.build {options} from={out.name}")


def _schedule(manifest: dict) -> list:
    """Groups of graphs in order, ``(turn, group)``: chains are of turn 0; all networks come once in each further turn,
    between the chains, so that both see the machine at the same moments."""
    chains, turns = manifest["chains"], manifest["network_turns"]
    order, taken = [], 0
    for i, group in enumerate(chains, 1):
        order.append((0, group))
        while taken < round(i / len(chains) * turns):
            taken += 1
            order.extend((taken, networks) for networks in manifest["networks"])
    return order


def _measure_chains(folder: Path, group: list, references: list, manifest: dict) -> list:
    chains = [(str(folder / entry["file"]), entry["in_shape"], entry["blocks"]) for entry in group]
    results, reference_ms = profile_chains(chains, references, threads=manifest["threads"], bursts=manifest["bursts"])
    return [
        {"file": entry["file"], "chain": {"keys": entry["keys"], **result, "reference_ms": round(reference_ms, 6)}}
        for entry, result in zip(group, results)
    ]


def _measure_networks(folder: Path, group: list, references: list, manifest: dict) -> list:
    graphs = [Graph(str(folder / entry["file"]), entry["in_shape"], manifest["threads"]) for entry in group]
    ms, reference_ms = time_graphs(graphs, references, bursts=manifest["network_bursts"])
    return [
        {
            "file": entry["file"],
            "network": entry["name"],
            "ms": float(np.nanmedian(row)),
            "reference_ms": reference_ms,
        }
        for entry, row in zip(group, ms)
    ]


def _resume(out: Path, head: dict) -> set:
    """The files and turns that `out` has measurements of. Begins `out` with the line `head`; cuts off a half line."""
    if not out.exists() or not out.read_bytes().strip():
        out.write_text(json.dumps(head) + "\n")
        return set()
    content = out.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with out.open("r+b") as file:
            file.truncate(len(whole))
    try:
        lines = [json.loads(line) for line in whole.decode().splitlines()]
    except ValueError as e:
        raise SystemExit(
            f"error: {out} is damaged: {e}; remove it to measure again, or give out= another name"
        ) from None
    if not lines or lines[0] != head:
        raise SystemExit(
            f"error: {out} belongs to another bundle, machine or runtime; remove it, or give out= another name"
        )
    return {(line.get("file"), line.get("turn")) for line in lines[1:]}


def _pin(threads: int, core: str | None) -> None:
    """Keeps the process on as many cores as it has threads, from `core` on, or else the last that it may use, where the
    system can."""
    if core is not None and not core.isdecimal():
        raise SystemExit(f"core={core}: it must be the number of a core, 0 or more")
    if hasattr(os, "sched_setaffinity"):
        first = None if core is None else int(core)
        cores = sorted(os.sched_getaffinity(0))[-threads:] if first is None else list(range(first, first + threads))
        try:
            os.sched_setaffinity(0, cores)
        except OSError as e:
            print(f"not pinned to cores {cores}: {e}")


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


if __name__ == "__main__":
    import sys

    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("interrupted; run it again to continue")
