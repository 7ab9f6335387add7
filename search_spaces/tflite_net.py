"""`Arch` -> TensorFlow Lite, written operator by operator as TensorFlow's converter writes them.

Batch norm is folded into the convolution before it, and a ReLU into the operator before it. Needs the package
ai-edge-litert, which has the files' schema: ``pip install "platform-aware-nas[litert]"``.
"""

from typing import TYPE_CHECKING

from search_spaces import folded
from search_spaces.arch import Arch
from search_spaces.lower import lower
from search_spaces.tflite_dtypes import HalfGraph, Int8Graph
from search_spaces.tflite_graph import Graph

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["DTYPES", "model"]

_GRAPHS = {"fp32": Graph, "fp16": HalfGraph, "int8": Int8Graph}
DTYPES = tuple(_GRAPHS)


def model(arch: Arch, *, net: "Net | None" = None, batch: int = 1, dtype: str = "fp32") -> bytes:
    """`arch` as a TensorFlow Lite file with the weights of `net` (random ones if None).

    The graph maps ``input`` (batch, resolution_px, resolution_px, in_ch), float32, to ``output`` (batch, classes), or
    where the network ends in a map, (batch, H, W, classes), float32.

    Args:
        dtype: one of `DTYPES`. ``fp16``: weights are stored in half precision. ``int8``: weights are int8, those of
            convolutions per channel, activations int8 with made-up scales. Such a model takes as long as a calibrated
            one, and its answers mean nothing.

    Raises:
        ValueError: there is no such dtype, `net` was built for another architecture or has norms that are no batch
            norms with statistics, or ai-edge-litert is not installed.
    """
    if dtype not in _GRAPHS:
        raise ValueError(f"dtype={dtype!r}: TensorFlow Lite models are of {', '.join(DTYPES)}")
    graph = _GRAPHS[dtype](folded.of(arch, net), arch.padding, batch)
    units = lower(arch)
    source = graph.add_input(units[0].in_shape)
    value = graph.read(source)
    for i, unit in enumerate(units):
        value = graph.add_unit(i, unit, value)
    output = graph.add_output(value)
    return graph.file.content(arch.name or "network", [source.index], [output.index])
