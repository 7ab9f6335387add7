"""Latencies of networks on phones by TensorFlow Lite, and on boards, phones and computers by ncnn: what
`experiments.fit_device_prior` and `experiments.published_tables` read.

A file has a line for each network and set-up: `device`, `threads`, `dtype`, `resolution_px`, and the network as
`zoo_name` with `width`, or as `arch_json`, the path of its JSON file from the file's folder; lines with neither are
left out. Phones have `core` and `mean_ms`; what ncnn ran on has `cores`, `gpu_name` and `min_ms` (the least of some
runs). Recorded results are of what github qed-usc/mobile-ml-benchmark and Tencent/ncnn publish.
"""

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts import prior
from search_spaces import text, zoo
from search_spaces.arch import Arch

__all__ = ["NCNN", "TFLITE", "Setup", "read_ncnn", "read_phones"]

TFLITE = "phones with TensorFlow Lite 2.10, qed-usc/mobile-ml-benchmark @40ba833a, MIT"
NCNN = "CPUs with ncnn, Tencent/ncnn @a4d2ea1d benchmark/README.md, BSD-3-Clause"
_FAMILIES = {
    "mobilenetv2": "mobilenet_v2",
    "mobilenetv3": "mobilenet_v3",
    "mobilenetb": "mobilenet_v1",
    "fdmobilenet": "mobilenet_v1",
    "squeeze": "squeezenet",
    "resnetbc": "resnet",
    "shufflenet": "shufflenet",
    "ncnnmobilenetv2": "mobilenet_v2",
    "ncnnmobilenetv3": "mobilenet_v3",
    "ncnnproxyless": "proxyless",
    "ncnnshufflenet": "shufflenet",
    "ncnnsqueezenet": "squeezenet",
}
_FEWEST = 7  # networks of a set-up by ncnn


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """A core, or two, and the latencies (n,) of networks there."""

    device: str
    core: str
    threads: str
    archs: tuple[Arch, ...]
    families: tuple[str, ...]
    ms: np.ndarray

    @cached_property
    def x(self) -> np.ndarray:
        """(n, 9) the networks' features."""
        return np.array([prior.network_features(arch) for arch in self.archs])


def read_phones(path: Path, dtype: str) -> list[Setup]:
    """The set-ups of phones with one thread or two.

    Raises:
        ValueError: it is no such file.
    """
    return _read(path, lambda row: row["dtype"] == dtype and row["threads"] in ("1", "2"), "core", "mean_ms")


def read_ncnn(path: Path) -> list[Setup]:
    """The set-ups of CPUs with one thread, in float, which is 16 bits where the CPU has them; without those that have
    few networks.

    Raises:
        ValueError: it is no such file.
    """

    def wanted(row: Mapping[str, Any]) -> bool:
        return row["dtype"] == "float" and row["threads"] == "1" and not row["gpu_name"]

    return [setup for setup in _read(path, wanted, "cores", "min_ms") if len(setup.ms) >= _FEWEST]


def _read(path: Path, wanted: Callable[[Mapping[str, Any]], bool], core: str, column: str) -> list[Setup]:
    """The set-ups of a file, each with the networks that are known here; of a network that stands several times the
    fastest."""
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    archs: dict[str, Arch] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if not wanted(row) or not (row["zoo_name"] or row["arch_json"]):
                    continue
                name = f"{row['arch_json'] or row['zoo_name']} {row['width']} {row['resolution_px']}"
                if name not in archs:
                    archs[name] = _network(row, path.parent)
                its, ms = found[row["device"], row[core], row["threads"]], float(row[column])
                its[name] = min(ms, its.get(name, ms))
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as e:
        raise ValueError(f"{path}: no such table ({e}); see experiments/published_latencies.py") from None
    if not found:
        raise ValueError(f"{path} has no such latency of a network that is known here")
    return [
        Setup(
            device=device,
            core=which,
            threads=threads,
            archs=tuple(archs[name] for name in its),
            families=tuple(family(archs[name].name) for name in its),
            ms=np.array(list(its.values())),
        )
        for (device, which, threads), its in found.items()
    ]


def family(name: str) -> str:
    """What a network is a variant of, by its name in these files."""
    for beginning, its in _FAMILIES.items():
        if name.replace("_", "").startswith(beginning):
            return its
    return zoo.family(name)


def _network(row: Mapping[str, Any], folder: Path) -> Arch:
    if row["arch_json"]:
        return text.from_file(folder / row["arch_json"])
    return zoo.get(row["zoo_name"], width=float(row["width"] or 1), resolution_px=int(row["resolution_px"]))
