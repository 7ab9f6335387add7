"""`Arch` -> TensorFlow Lite, written operator by operator as TensorFlow's converter writes them.

Batch norm is folded into the convolution before it, and a ReLU into the operator before it. Needs the package
ai-edge-litert, which has the files' schema: ``pip install "platform-aware-nas[litert]"``.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from search_spaces import folded
from search_spaces.arch import Arch
from search_spaces.formats import Format
from search_spaces.lower import lower
from search_spaces.tflite_dtypes import HalfGraph, Int8Graph
from search_spaces.tflite_file import package
from search_spaces.tflite_graph import Graph

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["DTYPES", "FORMAT", "files", "interpreter", "model", "run"]

_GRAPHS = {"fp32": Graph, "fp16": HalfGraph, "int8": Int8Graph}
DTYPES = tuple(_GRAPHS)
_GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def model(
    arch: Arch, *, net: "Net | None" = None, batch: int = 1, dtype: str = "fp32", period: int | None = None
) -> bytes:
    """`arch` as a TensorFlow Lite file with the weights of `net` (random ones if None).

    The graph maps ``input`` (batch, resolution_px, resolution_px, in_ch), float32, to ``output`` (batch, classes), or
    where the network ends in a map, (batch, H, W, classes), float32.

    Args:
        dtype: one of `DTYPES`. ``fp16``: weights are stored in half precision. ``int8``: weights are int8, those of
            convolutions per channel, activations int8 with made-up scales. Such a model takes as long as a calibrated
            one, and its answers mean nothing.
        period: of random weights, see `folded.random_weights`.

    Raises:
        ValueError: there is no such dtype, `net` was built for another architecture or has norms that are no batch
            norms with statistics, or ai-edge-litert is not installed.
    """
    if dtype not in _GRAPHS:
        raise ValueError(f"dtype={dtype!r}: TensorFlow Lite models are of {', '.join(DTYPES)}")
    weights = folded.random_weights(period=period) if net is None else folded.of(arch, net)
    graph = _GRAPHS[dtype](weights, padding=arch.padding, batch=batch)
    units = lower(arch)
    source = graph.add_input(units[0].in_shape)
    value = graph.read(source)
    for i, unit in enumerate(units):
        value = graph.add_unit(i, unit, value)
    output = graph.add_output(value)
    return graph.file.content(arch.name or "network", [source.index], [output.index])


def files(arch: Arch, *, net: "Net | None" = None, batch: int = 1) -> dict[str, bytes]:
    """The content of the file by suffix; see `model`."""
    return {".tflite": model(arch, net=net, batch=batch)}


def interpreter(content: bytes, *, threads: int = 1) -> Any:
    """What runs a file, ready to be given an input: a ``ai_edge_litert.interpreter.Interpreter``.

    Raises:
        ValueError: ai-edge-litert is not installed.
    """
    loaded = package().interpreter.Interpreter(model_content=content, num_threads=threads)
    with _without(_GREETING):
        loaded.allocate_tensors()
    return loaded


def run(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """What a file gives for `inputs` (N, C, H, W), as many at a time as it takes: (N, classes), or (N, C, H, W)."""
    loaded = interpreter(content)
    (source,), (result,) = loaded.get_input_details(), loaded.get_output_details()
    batch, outputs = source["shape"][0], []
    for first in range(0, len(inputs), batch):
        some = inputs[first : first + batch]
        full = np.resize(some, (batch, *some.shape[1:]))  # which repeats them
        loaded.set_tensor(source["index"], np.ascontiguousarray(full.transpose(0, 2, 3, 1), np.float32))
        loaded.invoke()
        outputs.append(loaded.get_tensor(result["index"])[: len(some)])
    whole = np.concatenate(outputs)
    return whole.transpose(0, 3, 1, 2) if whole.ndim == 4 else whole


@contextmanager
def _without(line: bytes) -> Iterator[None]:
    """Keeps a line out of standard error that a library writes there without being asked, and has no option for."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        usual = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(usual, 2)
            os.close(usual)
            kept.seek(0)
            os.write(2, kept.read().replace(line, b""))


FORMAT = Format(files=files, run=run, reads="input (N, height, width, channels)")
