"""`python -m latency_luts.bundle device=rpi4 space=mnasnet out=rpi4.zip`: a device's table, without this project on it.

The bundle is a zip file of a folder: chains of the space's units and some whole networks as ONNX graphs, and
``on_device.py``, a plain program that needs Python 3.9, numpy and onnxruntime. With ``runtime=litert`` it has each unit
by itself and the networks, as TensorFlow Lite files, and the program needs ai-edge-litert instead. On the device:

    python on_device.py

measures everything (it can be interrupted and started again) and writes ``measured.jsonl``. Then, here:

    python -m latency_luts.build device=rpi4 from=measured.jsonl

The graphs' weights are random numbers, which the program makes on the device: a bundle is small. Those of LiteRT repeat
in its files, which are small as long as they are compressed.

An Android phone has no Python: with a bundle of LiteRT ``python on_device.py adb=benchmark_model`` runs on a computer
that reaches the phone by ``adb``.
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
from latency_luts.by_calls import alone
from latency_luts.chains import cover
from latency_luts.fold import CONTEXTS
from latency_luts.key import key, parse
from latency_luts.measure import WeightsFile, largest_bytes
from latency_luts.measurements import REFERENCES, ChainTiming, NetworkTiming
from latency_luts.options import BundleOptions
from latency_luts.runtime import ONNX_DTYPES, check_dtype
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
from latency_luts.table import ONNXRUNTIME, Identity, TableError
from latency_luts.values import short
from nas_runtime.command import run
from nas_runtime.files import FileError, complete
from nas_runtime.lines import LineFile
from search_spaces import tflite_net, zoo
from search_spaces.arch import Arch
from search_spaces.lower import lower
from search_spaces.space import SearchSpace

__all__ = ["bundle", "read_measured"]

_FORMATS = (1, on_device.FORMAT)  # of what was measured; in the first, times are medians
_UNIT_TURNS = 3  # of units that are timed by themselves
_PERIOD = 1021  # of weights in the files of LiteRT: less than what a compressor looks back, and no power of two
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
    runtime: str = ONNXRUNTIME,
    options: str = "",
) -> int:
    """Writes the bundle of `space` to `path`; gives the number of graphs in it. The file is complete or not there.

    Args:
        runtime: onnxruntime or litert.
        options: of the command line that stand for `space`, for the command that the device's program tells at its end.

    Raises:
        ValueError: the runtime has no such dtype, or what writes its files is not installed.
    """
    store.check_elsewhere(device, "a bundle")
    lite = runtime != ONNXRUNTIME
    check_dtype(runtime, dtype, tflite_net.DTYPES if lite else ONNX_DTYPES)
    units, samples = units_and_samples(space)
    rng = np.random.default_rng(0)
    found = [alone(unit) for unit in sorted(units, key=key)] if lite else cover(units, rng, contexts=CONTEXTS)
    chains = [found[i] for i in rng.permutation(len(found))]
    references = [zoo.get(name) for name in REFERENCES]
    largest = max(map(largest_bytes, (*references, *chains, *samples.values())))
    weights = WeightsFile(-(-largest // _SECTION_STEP) * _SECTION_STEP)
    with complete(Path(path)) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as file:
        kind = _LiteContent if lite else _Content
        content = kind(file, f"{device}_bundle", weights, batch=batch, dtype=dtype)
        manifest = {
            "format": on_device.FORMAT,
            "device": device,
            "runtime": runtime,
            "options": options,
            "threads": threads,
            "batch": batch,
            "dtype": dtype,
            "bursts": BURSTS,
            "chain_turns": _UNIT_TURNS if lite else 1,
            "network_bursts": NETWORK_BURSTS,
            "network_turns": NETWORK_TURNS,
            "references": [content.graph(arch.name, arch) for arch in references],
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

    suffix = "onnx"

    def __init__(self, file: zipfile.ZipFile, folder: str, weights: WeightsFile, *, batch: int, dtype: str) -> None:
        self._file, self._folder, self._weights = file, folder, weights
        self._batch, self._dtype = batch, dtype

    def text(self, name: str, content: str | bytes) -> None:
        self._file.writestr(f"{self._folder}/{name}", content)

    def graph(self, name: str, arch: Arch) -> dict[str, Any]:
        """Writes the graph of `arch`; gives its entry in the manifest."""
        file, content = f"{name}.{self.suffix}", self._model(arch)
        self.text(file, content)
        return {"file": file, "in_shape": [self._batch, *lower(arch)[0].in_shape], "blocks": len(arch.blocks)}

    def _model(self, arch: Arch) -> bytes:
        from search_spaces import onnx_net

        model = onnx_net.model(arch, batch=self._batch, int8=self._dtype == "int8", stored=self._weights.place)
        return model.SerializeToString()

    def chains(self, chains: Sequence[Arch]) -> list[list[dict[str, Any]]]:
        """Groups of chains that take turns."""
        return [
            [
                {**self.graph(f"chain{g:03d}_{i:02d}", arch), "keys": [key(unit) for unit in lower(arch)]}
                for i, arch in enumerate(group)
            ]
            for g, group in enumerate(together(chains, CHAINS_TOGETHER))
        ]

    def networks(self, networks: Mapping[str, Arch]) -> list[list[dict[str, Any]]]:
        """Groups of whole networks that take turns."""
        names = iter(networks)
        return [
            [
                {**self.graph(name, arch), "name": name}
                for name, arch in zip(islice(names, len(group)), group, strict=True)
            ]
            for group in together(list(networks.values()), NETWORKS_TOGETHER)
        ]


class _LiteContent(_Content):
    """The same as files of LiteRT, which have their weights."""

    suffix = "tflite"

    def _model(self, arch: Arch) -> bytes:
        return tflite_net.model(arch, batch=self._batch, dtype=self._dtype, period=_PERIOD)


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
        runtime=options.runtime,
        options=others,
    )
    package = {"litert": "ai-edge-litert"}.get(options.runtime, options.runtime)
    console = new_console()
    console.print(f"{out}: {graphs} graphs, {out.stat().st_size / 1e6:.1f} MB")
    console.print(f"on the device, with Python 3.9 or later, numpy and {package}:")
    console.print(f"  unzip {out.name} && cd {device}_bundle && python3 on_device.py")
    if options.runtime == "litert":
        console.print("or for an Android phone, on a computer with numpy that reaches it by adb:")
        console.print(f"  unzip {out.name} && cd {device}_bundle && python3 on_device.py adb=benchmark_model")
    console.print("then, here, with the file that it writes:")
    console.print(
        f"  python -m latency_luts.build {' '.join(filter(None, (f'device={device}', others)))} from=measured.jsonl"
    )


if __name__ == "__main__":
    run(_main, BundleOptions)
