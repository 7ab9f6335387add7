"""The program of a bundle: measures what its manifest says."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .graphs import Timed
from .lines import FORMAT, Lines, busy
from .runners import Runner, make


def main(arguments: Sequence[str], folder: Path) -> None:
    """Measures the bundle in `folder`.

    Raises:
        SystemExit: what is wrong, in one line. What was measured before stays, and the next start continues.
        ImportError: the runtime is missing.
    """
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if len(options) < len(arguments) or set(options) - {"out", "core", "again", "adb"}:
        raise SystemExit("usage: python on_device.py [out=measured.jsonl] [core=3] [again=busy] [adb=benchmark_model]")
    if options.get("again", "busy") != "busy":
        raise SystemExit(f"error: again={options['again']}: it must be again=busy")
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        runner = make(folder, manifest, core=options.get("core"), adb=options.get("adb"))
        with Lines(Path(options.get("out", "measured.jsonl")), _head(manifest, runner)) as out:
            _measure(manifest, runner, out, again="again" in options)
            same = [f"{name}={options[name]}" for name in ("core", "adb") if name in options]
            _say_what_next(manifest, out, " ".join([f"out={out.path}", *same]))
    except FileNotFoundError as e:
        raise SystemExit(f"error: there is no {e.filename}; unzip the bundle again: it continues then") from None
    except OSError as e:
        raise SystemExit(f"error: {e.filename or folder}: {e.strerror or e}") from None
    except (KeyError, TypeError, ValueError) as e:
        raise SystemExit(f"error: {folder} is no bundle of this program ({e!r}); unzip it again") from None


def _head(manifest: dict[str, Any], runner: Runner) -> dict[str, Any]:
    """The first line of the file of measurements: what is measured, and on what."""
    how = {name: manifest[name] for name in ("threads", "batch", "dtype")}
    return {
        "format": FORMAT,
        "device": manifest["device"],
        "identity": {"cpu": runner.cpu, "runtime": runner.runtime, **how},
        "chains": sum(map(len, manifest["chains"])) * manifest.get("chain_turns", 1),
        "networks": sum(map(len, manifest["networks"])) * manifest["network_turns"],
    }


def _measure(manifest: dict[str, Any], runner: Runner, out: Lines, *, again: bool) -> None:
    """Measures what `out` does not have yet, and with `again` also what was disturbed."""
    due = _due(manifest, out.items.keys() - (busy(out.items) if again else set()))
    total, finished, start = sum(len(group) for _, group in due), 0, time.monotonic()
    if total:
        runner.begin()
    for turn, group in due:
        # loaded anew each time: where a graph lies in memory changes its speed
        references = [runner.graph(entry) for entry in manifest["references"]]
        if turn <= 0:
            items = _measure_chains(runner, group, references)
        else:
            items = _measure_networks(runner, group, references)
        out.append([{**item, "turn": turn} for item in items])
        finished += len(group)
        left_s = (time.monotonic() - start) / finished * (total - finished)
        print(f"{finished}/{total} graphs, about {left_s / 60:.1f} minutes left", flush=True)


def _due(manifest: dict[str, Any], done: Collection[tuple[str, int]]) -> list[tuple[int, list[dict[str, Any]]]]:
    """Groups of graphs in order, ``(turn, group)``, without those `done` (file and turn): chains are of turn 0, and of
    -1, -2, ... where they are timed several times; all networks come once in each further turn, between the chains, so
    that both see the machine at the same moments."""
    chains = [(-turn, group) for turn in range(manifest.get("chain_turns", 1)) for group in manifest["chains"]]
    turns = manifest["network_turns"]
    order, taken = [], 0
    for i, (chain_turn, group) in enumerate(chains, 1):
        order.append((chain_turn, group))
        while taken < round(i / len(chains) * turns):
            taken += 1
            order.extend((taken, networks) for networks in manifest["networks"])
    left = [(turn, [entry for entry in group if (entry["file"], turn) not in done]) for turn, group in order]
    return [(turn, group) for turn, group in left if group]


def _measure_chains(runner: Runner, group: list[dict[str, Any]], references: list[Timed]) -> list[dict[str, Any]]:
    results, reference_ms = runner.chains(group, references)
    return [
        {"file": entry["file"], "chain": {"keys": entry["keys"], **result, "reference_ms": round(reference_ms, 6)}}
        for entry, result in zip(group, results)
    ]


def _measure_networks(runner: Runner, group: list[dict[str, Any]], references: list[Timed]) -> list[dict[str, Any]]:
    ms, reference_ms = runner.networks(group, references)
    return [
        {"file": entry["file"], "network": entry["name"], "ms": float(np.nanmin(row)), "reference_ms": reference_ms}
        for entry, row in zip(group, ms)
    ]


def _say_what_next(manifest: dict[str, Any], out: Lines, options: str) -> None:
    if disturbed := len(busy(out.items)):
        print(f"{disturbed} of {len(out.items)} graphs were timed while other programs slowed the machine down;")
        print(f"when it is quiet, time these once more: python on_device.py {options} again=busy")
    print(f"done: {out.path}. Copy it to where latency_luts is and run:")
    words = " ".join(filter(None, ("device=" + manifest["device"], manifest.get("options"))))
    print(f"python -m latency_luts.build {words} from={out.path.name}")
