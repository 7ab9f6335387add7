"""What runs a bundle's graphs: ONNX Runtime or LiteRT in this process, or LiteRT's ``benchmark_model`` on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .graphs import Graph, Timed, call_times, time_graphs
from .litert import LiteGraph, litert
from .machine import cpu_name, pin, runtime
from .phone import Phone
from .profiles import profile_chains
from .weights import WEIGHTS, write_weights

Entry = dict[str, Any]  # of a graph in the manifest
_BETWEEN = 8  # graphs on a phone, between two looks at the references


class Runner(Protocol):
    """Runs the graphs of a bundle.

    Attributes:
        cpu: that they run on.
        runtime: with its version.
    """

    cpu: str
    runtime: str

    def begin(self) -> None:
        """Makes ready what all graphs need."""
        ...

    def graph(self, entry: Entry) -> Timed:
        """A graph, which takes turns."""
        ...

    def chains(self, group: Sequence[Entry], references: Sequence[Timed]) -> tuple[list[dict[str, Any]], float]:
        """Times the blocks of chains that take turns, see `profiles.profile_chains`."""
        ...

    def networks(self, group: Sequence[Entry], references: Sequence[Timed]) -> tuple[np.ndarray, float]:
        """Times whole networks that take turns, see `graphs.time_graphs`."""
        ...


def make(folder: Path, manifest: dict[str, Any], *, core: str | None, adb: str | None) -> Runner:
    """What runs the bundle in `folder`.

    Args:
        core: the first core that it stays on; None: the last ones.
        adb: the program ``benchmark_model``, with which a phone is measured that ``adb`` reaches; None: this machine
            is measured.

    Raises:
        SystemExit: there is no such core, or no phone.
    """
    if manifest.get("runtime") != "litert":
        if adb is not None:
            raise SystemExit("error: adb= is for a bundle of runtime=litert; leave it out, or make such a bundle")
        pin(manifest["threads"], core)
        return _Onnx(folder, manifest)
    if adb is not None:
        return _OnPhone(manifest, Phone(folder, adb, core=core, threads=manifest["threads"]))
    pin(manifest["threads"], core)
    return _LiteRT(folder, manifest)


class _Onnx:
    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._folder, self._manifest = folder, manifest
        self.cpu, self.runtime = cpu_name(), runtime()

    def begin(self) -> None:
        if not (self._folder / WEIGHTS).exists():
            print("making random weights", flush=True)
            sections = {int(section): size_bytes for section, size_bytes in self._manifest["weights"].items()}
            write_weights(self._folder / WEIGHTS, sections, self._manifest["section_bytes"])

    def graph(self, entry: Entry) -> Graph:
        return Graph(str(self._folder / entry["file"]), entry["in_shape"], self._manifest["threads"])

    def chains(self, group: Sequence[Entry], references: Sequence[Timed]) -> tuple[list[dict[str, Any]], float]:
        chains = [(str(self._folder / entry["file"]), entry["in_shape"], entry["blocks"]) for entry in group]
        return profile_chains(chains, references, threads=self._manifest["threads"], bursts=self._manifest["bursts"])

    def networks(self, group: Sequence[Entry], references: Sequence[Timed]) -> tuple[np.ndarray, float]:
        graphs = [self.graph(entry) for entry in group]
        return time_graphs(graphs, references, bursts=self._manifest["network_bursts"])


class _LiteRT:
    """Chains are of one block, which is timed by plain calls."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self._folder, self._manifest = folder, manifest
        self.cpu, self.runtime = cpu_name(), litert()

    def begin(self) -> None:
        pass

    def graph(self, entry: Entry) -> Timed:
        return LiteGraph(self._folder / entry["file"], self._manifest["threads"])

    def chains(self, group: Sequence[Entry], references: Sequence[Timed]) -> tuple[list[dict[str, Any]], float]:
        ms, reference_ms = self._times(group, references, self._manifest["bursts"])
        return [call_times(row[None]) for row in ms], reference_ms

    def networks(self, group: Sequence[Entry], references: Sequence[Timed]) -> tuple[np.ndarray, float]:
        return self._times(group, references, self._manifest["network_bursts"])

    def _times(self, group: Sequence[Entry], references: Sequence[Timed], bursts: int) -> tuple[np.ndarray, float]:
        return time_graphs([self.graph(entry) for entry in group], references, bursts=bursts)


class _OnPhone(_LiteRT):
    """Each graph is started once in a turn, and runs often then."""

    def __init__(self, manifest: dict[str, Any], phone: Phone) -> None:
        self._manifest, self._phone = manifest, phone
        self.cpu, self.runtime = phone.cpu, phone.runtime

    def begin(self) -> None:
        self._phone.push()

    def graph(self, entry: Entry) -> Timed:
        return self._phone.graph(entry["file"])

    def _times(self, group: Sequence[Entry], references: Sequence[Timed], bursts: int) -> tuple[np.ndarray, float]:
        seen, ms = [[reference.burst() for reference in references]], []
        for i, entry in enumerate(group, 1):
            ms.append([1e3 * self.graph(entry).burst()])
            if i % _BETWEEN == 0 or i == len(group):
                seen.append([reference.burst() for reference in references])
        return np.array(ms), float(np.exp(np.log(1e3 * np.array(seen)).mean()))  # of all moments: a phone grows hot
