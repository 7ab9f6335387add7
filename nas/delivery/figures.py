"""What is measured of a network when it is delivered: its integers' accuracy, and latencies."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.delivery import latency
from nas.delivery.description import as_input, preprocessing
from nas.delivery.finished import Finished
from nas.delivery.options import Delivery
from nas.training.pictures import Pictures, PictureSet, squares
from nas_runtime.files import write_bytes
from nas_runtime.run import Stage

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["INT8", "MEASURED", "WORST", "Graphs", "measure"]

INT8, MEASURED = "best_int8.onnx", "delivery.json"

_CALIBRATION, _JUDGED, _TEST = 96, 1000, 5000  # pictures of train, holdout and test, at most
_AT_ONCE = 128  # test pictures that are in memory
_MOST_BYTES = 2**28  # of the pictures that are judged
WORST = 0.10
"""Of top-1 on the holdout: integers that cost more are not delivered."""


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """The graphs of a delivered network.

    Attributes:
        delivered: as ``best.onnx`` has it.
        single: the same for one picture at a time.
        bare: what tables price: of one picture, normalised, by float32.
    """

    delivered: bytes
    single: bytes
    bare: bytes


def measure(folder: Path, finished: Finished, options: Delivery, graphs: Graphs, console: "Console") -> dict[str, Any]:
    """Figures of the network, as plain data, and ``best_int8.onnx``, if it is asked for.

    What was measured before for the same graphs on the same machine is not measured again (``delivery.json``).
    """
    data = finished.data
    figures: dict[str, Any] = {
        "holdout_top1": finished.holdout_top1,
        "test_top1": finished.test_top1,
        "test_top1s": list(finished.test_top1s),
        "test_pictures": len(data.test),
    }
    if int8 := _int8(folder, data, options, graphs, console):
        figures["int8"] = int8
    figures["latency"] = {**_latency(folder, finished, graphs), "reads_pixels": options.input == "uint8"}
    return figures


def _int8(
    folder: Path, data: PictureSet, options: Delivery, graphs: Graphs, console: "Console"
) -> dict[str, Any] | None:
    """What the integers come to, if they are asked for or were made of the same graph before; the file is written
    unless it is there, or they cost too much."""
    from search_spaces import onnx_net

    how = {"rule": asdict(data.preprocessing), "input": options.input}
    identity = {"what": "int8", "graph": onnx_net.digest(graphs.delivered), "pictures": data.identity, **how}
    stage, path = Stage(folder / MEASURED, identity), folder / INT8
    known = stage.values.get("int8")
    if known and (not known["delivered"] or (path.exists() and onnx_net.digest(path.read_bytes()) == known["file"])):
        return known
    path.unlink(missing_ok=True)  # of another graph
    if options.quantize == "none":
        return None
    console.print("quantising: ranges from training pictures, judged on the holdout; this can take minutes")
    found, content = _quantised(data, options, graphs)
    if content:
        write_bytes(path, content)
    stage.keep("int8", found)
    return found


def _quantised(data: PictureSet, options: Delivery, graphs: Graphs) -> tuple[dict[str, Any], bytes | None]:
    """What the integers come to, and the graph; None: they cost too much."""
    from nas.delivery.quantize import Pairs, quantize
    from search_spaces import onnx_net

    given = _given(data, options)
    each = data.resolution_px**2 * data.channels * (1 if options.input == "uint8" else 4)
    judged = _places(data.holdout, min(_JUDGED, max(1, _MOST_BYTES // each)))
    pairs = Pairs(inputs=given(data.holdout, judged), labels=data.holdout.labels[judged])
    made = quantize(graphs.single, given(data.train, _places(data.train, _CALIBRATION)), pairs)
    found = {
        "delivered": made.lost <= WORST,
        "ranges": made.method.lower(),
        "blocks_in_float": list(made.in_float),
        "holdout_top1": made.top1,
        "float_holdout_top1": made.float_top1,
        "holdout_pictures": len(pairs),
    }
    if not found["delivered"]:
        return found, None
    content = onnx_net.with_batch(made.content, options.batch)
    return {**found, **_tested(made.content, graphs.single, data, options), "file": onnx_net.digest(content)}, content


def _given(data: PictureSet, options: Delivery) -> Callable[[Pictures, np.ndarray], np.ndarray]:
    """What gives the pictures at some places as inputs of the graph."""
    how = preprocessing(data, options)["best.onnx"]
    return lambda part, places: as_input(squares(part, data.preprocessing, places), how)


def _places(part: Pictures, most: int) -> np.ndarray:
    """Places drawn at random, always the same ones."""
    return np.sort(np.random.default_rng(0).permutation(len(part))[:most])


def _tested(int8: bytes, single: bytes, data: PictureSet, options: Delivery) -> dict[str, Any]:
    """Top-1 of both graphs on the same test pictures, and how many these are; None where there are none."""
    from search_spaces import onnx_net

    places, given, right = _places(data.test, _TEST), _given(data, options), np.zeros(2)
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        inputs, labels = given(data.test, some), data.test.labels[some]
        right += [(onnx_net.run(graph, inputs).argmax(1) == labels).sum() for graph in (int8, single)]
    top1, float_top1 = map(float, right / len(places)) if len(places) else (None, None)
    return {"test_top1": top1, "float_test_top1": float_top1, "test_pictures": len(places)}


def _latency(folder: Path, finished: Finished, graphs: Graphs) -> dict[str, Any]:
    """What is promised of the network, and what it takes on this machine, if that is the device or there is none."""
    from search_spaces import onnx_net

    table, path = finished.latency, folder / INT8
    here = table is None or latency.is_of_this_machine(table)
    timed = {"best.onnx": graphs.single, "network": graphs.bare} if here or path.exists() else {}
    if path.exists():
        timed[INT8] = onnx_net.with_batch(path.read_bytes(), 1)
    promise = None if table is None else latency.promised(table, finished.net.arch, finished.searched)
    return {
        "promised": promise and promise.record(),
        "is_of_this_machine": here,
        "here": _timed(folder, timed, threads=latency.threads_of(table) if here else 1) if timed else None,
    }


def _timed(folder: Path, graphs: dict[str, bytes], *, threads: int) -> dict[str, Any]:
    """Milliseconds of each graph on this machine; once for the same graphs."""
    from latency_luts.measure import identity
    from search_spaces import onnx_net

    machine = asdict(identity(threads=threads))
    digests = {name: onnx_net.digest(content) for name, content in graphs.items()}
    stage = Stage(folder / MEASURED, {"what": "latency", "graphs": digests, "machine": machine})
    if "ms" not in stage.values:
        stage.keep("ms", latency.measured_ms(graphs, threads=threads))
    return {"machine": machine["cpu"], "runtime": machine["runtime"], "threads": threads, "ms": stage.values["ms"]}
