"""`python -m latency_luts.bundle device=rpi4 space=mnasnet out=rpi4.zip`: a device's table, without this project on it.

The bundle is a zip file of a folder: chains of the space's units and some whole networks as ONNX graphs, and
``on_device.py``, a plain program that needs Python 3.9, numpy and onnxruntime. On the device:

    python on_device.py

measures everything (it can be interrupted and started again) and writes ``measured.jsonl``. Then, here:

    python -m latency_luts.build device=rpi4 from=measured.jsonl

The graphs' weights are random numbers, which the program makes on the device: a bundle is small.
"""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from latency_luts import on_device, store
from latency_luts.chains import cover
from latency_luts.fold import CONTEXTS
from latency_luts.key import key, parse
from latency_luts.measure import WeightsFile, largest_bytes
from latency_luts.measurements import REFERENCES, ChainTiming, NetworkTiming
from latency_luts.options import BundleOptions
from latency_luts.schedule import (
    BURSTS,
    CHAINS_TOGETHER,
    NETWORK_BURSTS,
    NETWORK_TURNS,
    NETWORKS_TOGETHER,
    space_of,
    together,
    units_and_samples,
)
from latency_luts.table import Identity, TableError
from latency_luts.values import short
from nas_runtime.command import run
from nas_runtime.files import FileError, complete
from nas_runtime.lines import LineFile
from search_spaces import zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower
from search_spaces.space import SearchSpace

__all__ = ["bundle", "read_measured"]

_FORMATS = (1, on_device.FORMAT)  # of what was measured; in the first, times are medians
_SECTION_STEP = 4096  # bytes; sections of the file of weights begin at multiples of it
_PROGRAM = Path(on_device.__file__).parent
_USUAL = {"space": "mnasnet", "space.base_width": 1.0, "space.resolution_px": 224}  # conf/space


def bundle(
    device: str,
    space: SearchSpace,
    path: str | os.PathLike[str],
    *,
    threads: int,
    batch: int,
    dtype: str,
    options: str = "",
) -> int:
    """Writes the bundle of `space` to `path`; gives the number of graphs in it. The file is complete or not there.

    Args:
        options: of the command line that stand for `space`, for the command that the device's program tells at its end.
    """
    store.check_elsewhere(device, "a bundle")
    units, samples = units_and_samples(space)
    rng = np.random.default_rng(0)
    found = cover(units, rng, contexts=CONTEXTS)
    chains = [found[i] for i in rng.permutation(len(found))]
    references = [zoo.get(name) for name in REFERENCES]
    largest = max(map(largest_bytes, (*references, *chains, *samples.values())))
    weights = WeightsFile(-(-largest // _SECTION_STEP) * _SECTION_STEP)
    with complete(Path(path)) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as file:
        content = _Content(file, f"{device}_bundle", weights, batch=batch, dtype=dtype)
        manifest = {
            "format": on_device.FORMAT,
            "device": device,
            "options": options,
            "threads": threads,
            "batch": batch,
            "dtype": dtype,
            "bursts": BURSTS,
            "network_bursts": NETWORK_BURSTS,
            "network_turns": NETWORK_TURNS,
            "references": [content.graph(f"{arch.name}.onnx", arch) for arch in references],
            "chains": content.chains(chains),
            "networks": content.networks(samples),  # every turn of them, see `on_device`
            "weights": weights.sections,
            "section_bytes": weights.section_bytes,
        }
        content.text("manifest.json", json.dumps(manifest))
        for source in sorted(_PROGRAM.glob("*.py")):
            content.text(
                "on_device.py" if source.name == "start.py" else f"on_device/{source.name}", source.read_text()
            )
    return len(references) + len(chains) + len(samples)


class _Content:
    """What is written into the folder `folder` of a bundle's file.

    Args:
        weights: is told which weights the graphs need.
    """

    def __init__(self, file: zipfile.ZipFile, folder: str, weights: WeightsFile, *, batch: int, dtype: str) -> None:
        self._file, self._folder, self._weights = file, folder, weights
        self._batch, self._dtype = batch, dtype

    def text(self, name: str, content: str | bytes) -> None:
        self._file.writestr(f"{self._folder}/{name}", content)

    def graph(self, name: str, arch: Arch) -> dict[str, Any]:
        """Writes the graph of `arch`; gives its entry in the manifest."""
        from search_spaces import onnx_net

        model = onnx_net.model(arch, batch=self._batch, int8=self._dtype == "int8", stored=self._weights.place)
        self.text(name, model.SerializeToString())
        return {"file": name, "in_shape": [self._batch, *lower(arch)[0].in_shape], "blocks": len(arch.blocks)}

    def chains(self, chains: Sequence[Arch]) -> list[list[dict[str, Any]]]:
        """Groups of chains that take turns."""
        return [
            [
                {**self.graph(f"chain{g:03d}_{i:02d}.onnx", arch), "keys": [key(unit) for unit in lower(arch)]}
                for i, arch in enumerate(group)
            ]
            for g, group in enumerate(together(chains, CHAINS_TOGETHER))
        ]

    def networks(self, networks: Mapping[str, Arch]) -> list[list[dict[str, Any]]]:
        """Groups of whole networks that take turns."""
        names = iter(networks)
        return [
            [
                {**self.graph(f"{name}.onnx", arch), "name": name}
                for name, arch in zip(islice(names, len(group)), group, strict=True)
            ]
            for group in together(list(networks.values()), NETWORKS_TOGETHER)
        ]


def read_measured(
    path: str | os.PathLike[str],
) -> tuple[str, Identity, list[ChainTiming], dict[str, list[NetworkTiming]]]:
    """The device's name, what it is, its chains and networks, from the file that ``on_device.py`` wrote.

    Raises:
        TableError: no such file, not such a file, or an unfinished one.
    """
    file = LineFile(Path(path))
    try:
        head, *items = _records(file)
    except FileError as e:
        raise TableError(f"from={e}") from None
    if head.get("format") not in _FORMATS:
        known = " or ".join(map(str, _FORMATS))
        raise TableError(f"from={path} is not a file of on_device.py; expected format {known} in its first line")
    try:
        chains: list[ChainTiming] = []
        networks: dict[str, list[NetworkTiming]] = {}
        undisturbed: dict[tuple[str, int], dict[str, Any]] = {}
        for item in items:
            on_device.keep(undisturbed, item)
        for item in undisturbed.values():
            if "chain" in item:
                chains.append(_chain(item["chain"]))
            else:
                networks.setdefault(item["network"], []).append(_network(item))
        identity, device = Identity(**head["identity"]), store.check_device(head["device"])
        due = int(head["chains"]), int(head["networks"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
        raise TableError(f"from={path} is damaged: {short(e, quoted=False)}; copy it again from the device") from None
    turns = sum(map(len, networks.values()))
    if len(chains) < due[0] or turns < due[1]:
        raise TableError(
            f"from={path} is unfinished: {len(chains)} of {due[0]} chains and {turns} of {due[1]} "
            f"turns of networks; run on_device.py on the device again, it continues"
        )
    return device, identity, chains, networks


def _records(file: LineFile) -> list[dict[str, Any]]:
    """What the lines of a file of measurements hold.

    Raises:
        FileError: there is no such file, or a line is damaged.
    """
    if not file.path.exists():
        raise FileError(f"{file.path} cannot be read: there is no such file")
    records = []
    for number, line in enumerate(file.read(), 1):
        try:
            records.append(dict(on_device.decode(line)))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise FileError(f"{file.path}: line {number} is damaged; copy the file again from the device") from None
    if file.rest:
        raise FileError(f"{file.path}: its last line is damaged, cut short; run on_device.py again to complete it")
    if not records:
        raise FileError(f"{file.path} is not a file of on_device.py: it is empty")
    return records


def _chain(fields: dict) -> ChainTiming:
    timing = ChainTiming(
        keys=tuple(fields["keys"]),
        ms=tuple(map(_ms, fields["ms"])),
        spread=tuple(map(_ms, fields["spread"])),
        kernels=tuple(map(int, fields["kernels"])),
        runs=int(fields["runs"]),
        reference_ms=_ms(fields["reference_ms"], least=1e-6),
    )
    if len({len(timing.keys), len(timing.ms), len(timing.spread), len(timing.kernels)}) > 1:
        raise ValueError("a chain's lists differ in length")
    for name in timing.keys:
        parse(name)
    return timing


def _network(fields: dict) -> NetworkTiming:
    return NetworkTiming(ms=_ms(fields["ms"]), reference_ms=_ms(fields["reference_ms"], least=1e-6))


def _ms(value: float, *, least: float = 0) -> float:
    if not isinstance(value, int | float) or not least <= value < 1e9:
        raise ValueError(f"{short(value)} is no latency")
    return float(value)


def _main(options: BundleOptions) -> None:
    from nas_runtime.console import new_console

    device = store.check_elsewhere(options.device, "a bundle")
    store.own_path(device)  # what the bundle measures is written there
    out = options.out or Path(f"{device}.zip")
    space = options.space
    given = {"space": space.name, "space.base_width": space.base_width, "space.resolution_px": space.px}
    others = " ".join(f"{name}={value}" for name, value in given.items() if value != _USUAL[name])
    graphs = bundle(
        device,
        space_of(space),
        out,
        threads=options.threads,
        batch=options.batch,
        dtype=options.dtype,
        options=others,
    )
    console = new_console()
    console.print(f"{out}: {graphs} graphs, {out.stat().st_size / 1e6:.1f} MB")
    console.print("on the device, with Python 3.9 or later, numpy and onnxruntime:")
    console.print(f"  unzip {out.name} && cd {device}_bundle && python3 on_device.py")
    console.print("then, here, with the file that it writes:")
    console.print(
        f"  python -m latency_luts.build {' '.join(filter(None, (f'device={device}', others)))} from=measured.jsonl"
    )


if __name__ == "__main__":
    run(_main, BundleOptions)
