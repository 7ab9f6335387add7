"""What is measured of a network when it is delivered: its integers' accuracy, and latencies."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.delivery import latency
from nas.delivery.finished import Finished
from nas.delivery.graphs import Graphs
from nas.delivery.integers import INT8, MEASURED, integers
from nas.delivery.options import Delivery
from nas_runtime.run import Stage

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["measure"]


def measure(folder: Path, finished: Finished, options: Delivery, graphs: Graphs, console: "Console") -> dict[str, Any]:
    """Figures of the network, as plain data, and ``best_int8.onnx``, if it is asked for.

    What was measured before for the same graphs on the same machine is not measured again (``delivery.json``).
    """
    figures: dict[str, Any] = {
        "holdout_top1": finished.holdout_top1,
        "test_top1": finished.test_top1,
        "test_top1s": list(finished.test_top1s),
        "test_pictures": len(finished.data.test),
    }
    if int8 := integers(folder, finished, options, graphs, console):
        figures["int8"] = int8
    figures["latency"] = {**_latency(folder, finished, graphs), "reads_pixels": options.input == "uint8"}
    return figures


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
