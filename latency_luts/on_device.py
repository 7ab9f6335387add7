"""Times ONNX graphs with ONNX Runtime on the machine it runs on.

This file is the measuring part of the package and, copied into a bundle by `latency_luts.bundle`, a program of its
own: it needs Python 3.9, numpy and onnxruntime, and nothing else.

Why it measures as it does. A block that is timed by itself, again and again, finds its weights in the fastest caches;
in a network the other blocks' weights have pushed many of them out. So blocks are timed inside
*chains*: networks through which every block passes several times beside different neighbours, with ONNX Runtime's
profiler, which gives every kernel's time to its block. And a machine's speed changes from moment to moment (other
tenants, clocks): long runs of one graph see one moment, so that graphs take turns in short bursts.

Other programs only ever add to a time, so that of several runs the fastest says what a graph takes by itself. Of a
chain that is each kernel's fastest run, since a program that takes the core away spoils one kernel and not the others.
A whole network may be interrupted in every run; its runs are timed by the CPU time of their thread, which stands still
then.

    python on_device.py [out=measured.jsonl] [core=3] [again=busy]      (in the folder of a bundle)

``again=busy`` measures once more what was measured while other programs slowed the machine down.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

try:
    import numpy as np
except ImportError as e:
    raise SystemExit(f"error: {e}; install it for this Python: {sys.executable} -m pip install numpy") from None

WARM_RUNS = 1  # of a burst: they bring the graph's own weights as far back into the caches as a network's runs do
BURST_RUNS = 1
REFERENCE_BURSTS = 2  # of each reference in a round of bursts: its noise is in all that took turns with it
ENOUGH_S = 0.012  # graphs whose run takes longer take fewer turns
BUSY = 0.15  # references that are slower by more than this say that other programs had the machine
FORMAT = 2  # of the file of measurements
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
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as e:  # the runtime's errors have no base of their own
            reason = " ".join(str(e).split())[:200]
            if isinstance(model, str) and not os.path.exists(model):
                raise FileNotFoundError(2, "it is missing", model) from None
            what = model if isinstance(model, str) else "a graph"
            remedy = "unzip the bundle again, and remove " + WEIGHTS if isinstance(model, str) else "it is damaged"
            raise OSError(5, f"the runtime cannot load it ({reason}); {remedy}", what) from None
        self.feed = {"input": np.random.default_rng(0).standard_normal(tuple(in_shape), dtype=np.float32)}
        self._clock = _clock(threads)

    def burst(self) -> float:
        """Seconds of one inference: the fastest of a short burst of runs."""
        for _ in range(WARM_RUNS):
            self.run_s()
        return min(self.run_s() for _ in range(BURST_RUNS))

    def run_s(self) -> float:
        """Seconds of one inference."""
        start = self._clock()
        self.session.run(None, self.feed)
        return self._clock() - start


def _clock(threads: int) -> Callable[[], float]:
    """A clock that stands still while other programs have the core of this thread. Of several threads' work, and where
    the system has no such clock or a coarse one, one that goes on."""
    try:
        exact = time.get_clock_info("thread_time").resolution < 1e-6
    except ValueError:
        exact = False
    return time.thread_time if threads == 1 and exact else time.perf_counter


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
    return ms, _fastest(seen)


def _fastest(ms: np.ndarray) -> float:
    """The geometric mean over the references (rows) of their fastest runs; 0 without any."""
    return float(np.exp(np.log(ms.min(axis=1)).mean())) if ms.size else 0.0


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
    owners = _owners([(name, op) for name, _, op in per_run[kept[0]]], blocks)
    durations = np.array([[duration for _, duration, _ in per_run[i]] for i in kept])
    return (durations + 0.5) / 1e3, np.array(owners)  # whole microseconds, rounded down


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


def write_weights(path: Path, sections: dict[int, int], section_bytes: int = SECTION_BYTES) -> None:
    """Writes random numbers into the first bytes of sections of the file of weights: ``{section: bytes}``.

    The file is complete or unchanged where there was none; else it grows.
    """
    values = np.random.default_rng(0).standard_normal(max(sections.values()) // 4 + 1, dtype=np.float32)
    partial = path if path.exists() else path.with_name(path.name + ".partial")
    with partial.open("r+b" if path.exists() else "wb") as file:
        for section, size_bytes in sections.items():
            file.seek(section * section_bytes)
            if section == 0:
                file.write((np.arange(size_bytes) % 251 - 125).astype(np.int8).tobytes())
            else:
                file.write((values * np.float32(2.0 ** (3 - section))).tobytes()[:size_bytes])
    if partial != path:
        partial.replace(path)


def main(arguments: Sequence[str]) -> None:
    """Measures the bundle in this file's folder.

    Raises:
        SystemExit: what is wrong, in one line. What was measured before stays, and the next start continues.
    """
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(options) < len(arguments) or set(options) - {"out", "core", "again"}:
        raise SystemExit("usage: python on_device.py [out=measured.jsonl] [core=3] [again=busy]")
    if options.get("again", "busy") != "busy":
        raise SystemExit(f"error: again={options['again']}: it must be again=busy")
    folder = Path(__file__).resolve().parent
    try:
        import onnxruntime

        manifest = json.loads((folder / "manifest.json").read_bytes())
        head = _head(manifest, f"onnxruntime {onnxruntime.__version__}")
        _measure(folder, manifest, head, options)
    except ImportError as e:
        pip = f"{sys.executable} -m pip install onnxruntime"
        raise SystemExit(f"error: {e}; install it for this Python: {pip}") from None
    except FileNotFoundError as e:
        raise SystemExit(f"error: there is no {e.filename}; unzip the bundle again: it continues then") from None
    except OSError as e:
        raise SystemExit(f"error: {e.filename or folder}: {e.strerror or e}") from None
    except (KeyError, TypeError, ValueError) as e:
        raise SystemExit(f"error: {folder} is no bundle of this program ({e!r}); unzip it again") from None


def _head(manifest: dict[str, Any], runtime: str) -> dict[str, Any]:
    """The first line of the file of measurements: what is measured, and on what."""
    how = {name: manifest[name] for name in ("threads", "batch", "dtype")}
    return {
        "format": FORMAT,
        "device": manifest["device"],
        "identity": {"cpu": cpu_name(), "runtime": runtime, **how},
        "chains": sum(map(len, manifest["chains"])),
        "networks": sum(map(len, manifest["networks"])) * manifest["network_turns"],
    }


def _measure(folder: Path, manifest: dict[str, Any], head: dict[str, Any], options: dict[str, str]) -> None:
    threads, groups = manifest["threads"], _schedule(manifest)
    _pin(threads, options.get("core"))
    with Lines(Path(options.get("out", "measured.jsonl")), head) as out:
        again = _busy(out.items) if "again" in options else set()
        due = [(turn, [e for e in group if (e["file"], turn) in again or (e["file"], turn) not in out.items])
               for turn, group in groups]  # fmt: skip
        total, finished, start = sum(len(group) for _, group in due), 0, time.monotonic()
        weights = {int(section): size_bytes for section, size_bytes in manifest["weights"].items()}
        if total and not (folder / WEIGHTS).exists():
            print("making random weights", flush=True)
            write_weights(folder / WEIGHTS, weights, manifest["section_bytes"])
        for turn, group in due:
            if not group:
                continue
            measure = _measure_chains if turn == 0 else _measure_networks
            # loaded anew each time: where a graph lies in memory changes its speed
            references = [Graph(str(folder / r["file"]), r["in_shape"], threads) for r in manifest["references"]]
            out.append([{**item, "turn": turn} for item in measure(folder, group, references, manifest)])
            finished += len(group)
            left_s = (time.monotonic() - start) / finished * (total - finished)
            print(f"{finished}/{total} graphs, about {left_s / 60:.1f} minutes left", flush=True)
    busy = len(_busy(out.items))
    if busy:
        print(f"{busy} of {len(out.items)} graphs were timed while other programs slowed the machine down;")
        print(f"when it is quiet, time these once more: python on_device.py out={out.path} again=busy")
    print(f"done: {out.path}. Copy it to where latency_luts is and run:")
    words = " ".join(filter(None, ("device=" + manifest["device"], manifest.get("options"))))
    print(f"python -m latency_luts.build {words} from={out.path.name}")


def _busy(items: dict[tuple[str, int], dict[str, Any]]) -> set[tuple[str, int]]:
    """Those of the measurements whose references were slower than at the machine's best moments."""
    references = {place: item.get("chain", item)["reference_ms"] for place, item in items.items()}
    limit = (1 + BUSY) * float(np.quantile(list(references.values()), 0.1)) if references else 0.0
    return {place for place, ms in references.items() if ms > limit}


def encode(record: dict[str, Any]) -> str:
    """The line of the file of measurements that holds `record`, with a checksum."""
    return json.dumps({"crc32": _checksum(record), "record": record})


def decode(line: bytes) -> dict[str, Any]:
    """The record that a line holds.

    Raises:
        ValueError, KeyError, TypeError: the line is damaged.
    """
    item = json.loads(line.decode())
    if "record" not in item:  # of format 1, which had no checksums
        return item
    if item["crc32"] != _checksum(item["record"]):
        raise ValueError("its checksum is wrong")
    return item["record"]


def _checksum(record: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(record).encode()):08x}"


class Lines:
    """The file of measurements: a line that says what is measured, then one for each measurement.

    Attributes:
        items: the measurements by file and turn; of several the one of the fastest moment.

    Raises:
        SystemExit: the file is damaged, of something else, or in use.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        try:
            self._handle = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as e:
            raise SystemExit(f"error: out={path} cannot be written: {e.strerror}; give another name") from None
        try:
            import fcntl

            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"error: {path} is being written by another start of this program; wait for it") from None
        except (ImportError, OSError):
            pass  # no such locks here
        *lines, rest = path.read_bytes().split(b"\n")
        self._end = sum(len(line) + 1 for line in lines)
        if rest:  # the program was killed while it wrote this
            os.ftruncate(self._handle, self._end)
        if not lines:
            self._write(encode(head))
        for number, line in enumerate(lines, 1):
            self._take(number, line, head)

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def append(self, items: list[dict[str, Any]]) -> None:
        """Writes measurements; all of them are on the disk then, or none."""
        self._write("\n".join(map(encode, items)))
        for item in items:
            self._keep(item)

    def _write(self, text: str) -> None:
        content, written = (text + "\n").encode(), 0
        try:
            while written < len(content):
                written += os.write(self._handle, content[written:])
            os.fsync(self._handle)
        except OSError as e:
            os.ftruncate(self._handle, self._end)
            raise OSError(e.errno, f"{e.strerror}; make room and start again: it continues", str(self.path)) from None
        self._end += written

    def _take(self, number: int, line: bytes, head: dict[str, Any]) -> None:
        try:
            item = decode(line)
            if number > 1:
                self._keep(item)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SystemExit(
                f"error: line {number} of {self.path} is damaged; remove the file to measure again, or give out= "
                "another name"
            ) from None
        if number == 1 and item != head:
            raise SystemExit(
                f"error: {self.path} belongs to another bundle, machine or runtime; remove it, or give out= another "
                "name"
            )

    def _keep(self, item: dict[str, Any]) -> None:
        place = (item["file"], item["turn"])
        reference_ms = float(item.get("chain", item)["reference_ms"])
        kept = self.items.get(place)
        if kept is None or reference_ms < kept.get("chain", kept)["reference_ms"]:
            self.items[place] = item


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
            "ms": float(np.nanmin(row)),
            "reference_ms": reference_ms,
        }
        for entry, row in zip(group, ms)
    ]


def _pin(threads: int, core: str | None) -> None:
    """Keeps the process on as many cores as it has threads, from `core` on, or else the last that it may use, where the
    system can.

    Raises:
        SystemExit: there is no such core.
    """
    if not hasattr(os, "sched_setaffinity"):
        if core is not None:
            raise SystemExit(f"error: core={core}: this system lets no program choose its core; leave it out")
        return
    usable = sorted(os.sched_getaffinity(0))
    cores = usable[-threads:]
    if core is not None:
        if len(usable) < threads:
            raise SystemExit(f"error: core={core}: here are {len(usable)} cores for {threads} threads; leave it out")
        cores = list(range(int(core), int(core) + threads)) if core.isdecimal() else []
        if not cores or set(cores) - set(usable):
            raise SystemExit(
                f"error: core={core}: it must be one of {', '.join(map(str, usable[: len(usable) - threads + 1]))}"
            )
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
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("interrupted; run it again to continue")
