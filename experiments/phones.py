"""Latencies of networks on phones, by TensorFlow Lite: what `experiments.fit_device_prior` and `phone_tables` read.

The file has a line for each network and set-up: `device`, `core`, `threads`, `dtype`, `mean_ms`, `resolution_px`, and
the network as `zoo_name` with `width`, or as `arch_json`, the path of its JSON file from the file's folder; lines with
neither are left out. Recorded results are of the latencies that github qed-usc/mobile-ml-benchmark publishes.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts import prior
from search_spaces import text, zoo
from search_spaces.arch import Arch

__all__ = ["SOURCE", "THREADS", "Setup", "read"]

SOURCE = "phones with TensorFlow Lite 2.10, qed-usc/mobile-ml-benchmark @40ba833a, MIT"
THREADS = ("1", "2")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A core of a phone, or two, and the latencies (n,) of networks there."""

    device: str
    core: str
    threads: str
    archs: tuple[Arch, ...]
    ms: np.ndarray

    @cached_property
    def x(self) -> np.ndarray:
        """(n, 9) the networks' features."""
        return np.array([prior.network_features(arch) for arch in self.archs])


def read(path: Path, dtype: str) -> list[Setup]:
    """The set-ups of the file with one thread or two, each with the networks that are known here.

    Raises:
        ValueError: it is no such file.
    """
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    archs: dict[str, Arch] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["dtype"] != dtype or row["threads"] not in THREADS or not (row["zoo_name"] or row["arch_json"]):
                    continue
                name = f"{row['arch_json'] or row['zoo_name']} {row['width']} {row['resolution_px']}"
                if name not in archs:
                    archs[name] = _network(row, path.parent)
                found[row["device"], row["core"], row["threads"]][name] = float(row["mean_ms"])
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as e:
        raise ValueError(f"path={path}: no table of phones ({e}); see experiments/phones.py") from None
    if not found:
        raise ValueError(f"path={path} has no latency in {dtype} of a network that is known here")
    return [
        Setup(
            device=device,
            core=core,
            threads=threads,
            archs=tuple(archs[name] for name in its),
            ms=np.array(list(its.values())),
        )
        for (device, core, threads), its in found.items()
    ]


def _network(row: Mapping[str, Any], folder: Path) -> Arch:
    if row["arch_json"]:
        return text.from_file(folder / row["arch_json"])
    return zoo.get(row["zoo_name"], width=float(row["width"] or 1), resolution_px=int(row["resolution_px"]))
