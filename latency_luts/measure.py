"""Timing chains and whole networks on this machine: `on_device` with the project's networks."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from latency_luts import runtime as runtimes
from latency_luts.by_calls import CallBench
from latency_luts.key import key
from latency_luts.measurements import REFERENCES, ChainTiming, NetworkTiming
from latency_luts.on_device import (
    SECTION_BYTES,
    WEIGHTS,
    Graph,
    cpu_name,
    profile_chains,
    time_graphs,
    weights_section,
    write_weights,
)
from latency_luts.table import ONNXRUNTIME, Identity
from nas_runtime.scratch import private_folder
from search_spaces import cost, zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["Bench", "OnnxBench", "WeightsFile", "bench", "identity", "largest_bytes", "onnx_bench", "pinned_core"]


class Bench(Protocol):
    """Times networks; made by `bench`, or on another machine by `remote.remote_bench`."""

    def time_chains(self, chains: Sequence[Arch], *, bursts: int) -> list[ChainTiming]:
        """Times the units of some chains that take turns."""
        ...

    def time_networks(self, archs: Sequence[Arch], *, bursts: int) -> list[NetworkTiming]:
        """Times whole networks that take turns."""
        ...


def identity(*, threads: int = 1, batch: int = 1, dtype: str = "fp32", runtime: str = ONNXRUNTIME) -> Identity:
    """This machine, and how it is measured.

    Raises:
        ValueError: there is no such runtime, it is not installed, or it does not run networks in this way.
    """
    its = runtimes.get(runtime, threads=threads, dtype=dtype)
    if batch > 1 and not getattr(its, "batches", True):
        raise ValueError(f"batch={batch}: runtime {runtime} runs one image at a time; give batch=1")
    return Identity(cpu=cpu_name(), runtime=f"{runtime} {its.version}", threads=threads, batch=batch, dtype=dtype)


@contextlib.contextmanager
def bench(how: Identity) -> Iterator[Bench]:
    """What times networks on the machine `how`, pinned to as many cores as it has threads."""
    if how.runtime_name == ONNXRUNTIME:
        with onnx_bench(how) as machine:
            yield machine
    else:
        with pinned_core(how.threads):
            yield CallBench(
                runtimes.get(how.runtime_name, threads=how.threads, dtype=how.dtype),
                batch=how.batch,
                threads=how.threads,
            )


class WeightsFile:
    """Where in the file of weights constants lie, and how much of its sections is needed.

    Args:
        section_bytes: how far apart its sections begin, so the most bytes of a constant.

    Attributes:
        sections: bytes of each section that is needed.
    """

    def __init__(self, section_bytes: int = SECTION_BYTES) -> None:
        self.section_bytes = section_bytes
        self.sections: dict[int, int] = {}

    def place(self, dtype: str, deviation: float, size_bytes: int) -> tuple[str, int]:
        """File and offset of `size_bytes` of constants of a type and standard deviation; see `onnx_net.model`."""
        if size_bytes > self.section_bytes:
            raise ValueError(f"a layer has {size_bytes} bytes of weights; at most {self.section_bytes} can be timed")
        section = weights_section(dtype, deviation)
        self.sections[section] = max(self.sections.get(section, 0), size_bytes)
        return WEIGHTS, section * self.section_bytes


def largest_bytes(arch: Arch) -> int:
    """Bytes of the largest layer's weights."""
    return 4 * max(cost.node_params(node) for unit in lower(arch) for node in unit.nodes)


class OnnxBench:
    """Times networks with ONNX Runtime, chains with its profiler; made by `onnx_bench`."""

    def __init__(self, how: Identity, folder: Path, *, plain_hard_swish: bool = False) -> None:
        self.how, self._folder, self._plain_hard_swish = how, folder, False
        self._weights, self._written = WeightsFile(), dict[int, int]()
        references = [zoo.get(name) for name in REFERENCES]
        self._reference_files = [
            (str(Path(file).rename(folder / f"reference-{file.name}")), self._in_shape(arch))
            for file, arch in zip(map(Path, self._files(references)), references, strict=True)
        ]  # the same whatever is timed
        self._plain_hard_swish = plain_hard_swish

    def time_chains(self, chains: Sequence[Arch], *, bursts: int) -> list[ChainTiming]:
        """Times the units of some chains that take turns."""
        files = self._files(chains)
        prepared = [(file, self._in_shape(arch), len(arch.blocks)) for file, arch in zip(files, chains, strict=True)]
        results, reference_ms = profile_chains(prepared, self._references(), threads=self.how.threads, bursts=bursts)
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

    def time_networks(self, archs: Sequence[Arch], *, bursts: int) -> list[NetworkTiming]:
        """Times whole networks that take turns."""
        ms, reference_ms = time_graphs(self.graphs(archs), self._references(), bursts=bursts)
        return [NetworkTiming(ms=float(np.nanmin(row)), reference_ms=reference_ms) for row in ms]

    def graphs(self, archs: Sequence[Arch], *, profile: str | None = None) -> list[Graph]:
        """The graphs of `archs`; with profiles in the folder `profile` if one is given."""
        prefixes = [profile and os.path.join(profile, str(i)) for i in range(len(archs))]
        return [
            Graph(file, self._in_shape(arch), self.how.threads, prefix)
            for file, arch, prefix in zip(self._files(archs), archs, prefixes, strict=True)
        ]

    def _references(self) -> list[Graph]:
        """Loaded anew each time: where a graph lies in memory changes its speed."""
        return [Graph(file, in_shape, self.how.threads) for file, in_shape in self._reference_files]

    def _in_shape(self, arch: Arch) -> tuple[int, ...]:
        return (self.how.batch, *lower(arch)[0].in_shape)

    def _files(self, archs: Sequence[Arch]) -> list[str]:
        """Model files of `archs`, with the weights that they need beside them."""
        from search_spaces import onnx_net

        files = []
        for i, arch in enumerate(archs):
            file = self._folder / f"{i}.onnx"
            stored = self._weights.place if largest_bytes(arch) <= SECTION_BYTES else None  # VGG's lie in the model
            model = onnx_net.model(
                arch,
                batch=self.how.batch,
                int8=self.how.dtype == "int8",
                plain_hard_swish=self._plain_hard_swish,
                stored=stored,
            )
            file.write_bytes(model.SerializeToString())
            files.append(str(file))
        grown = {s: n for s, n in self._weights.sections.items() if n > self._written.get(s, 0)}
        if grown:
            write_weights(self._folder / WEIGHTS, grown)
            self._written |= grown
        return files


@contextlib.contextmanager
def onnx_bench(how: Identity, *, plain_hard_swish: bool = False) -> Iterator[OnnxBench]:
    """An `OnnxBench` for the machine `how`, pinned to as many cores as it has threads.

    Args:
        plain_hard_swish: see `onnx_net.model`.
    """
    with private_folder("nas-bench-") as folder, pinned_core(how.threads):  # gigabytes: also those of killed builds go
        yield OnnxBench(how, folder, plain_hard_swish=plain_hard_swish)


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
