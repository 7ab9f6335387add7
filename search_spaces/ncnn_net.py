"""`Arch` -> ncnn: the text of the .param file and the bytes of the .bin file, as ncnn's guides describe them
(docs/developer-guide/param-and-model-file-structure.md and operation-param-weight-table.md there)."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from search_spaces import folded
from search_spaces.arch import Arch
from search_spaces.folded import Arrays
from search_spaces.lower import lower
from search_spaces.ncnn_graph import INPUT, OUTPUT, Graph, Layer, Value, with_splits

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["DTYPES", "INPUT", "OUTPUT", "block_outputs", "model"]

DTYPES = ("fp32",)

_MAGIC = 7767517
_FLOAT32 = b"\x00\x00\x00\x00"  # before a weight: how it is stored


def model(arch: Arch, *, net: "Net | None" = None, dtype: str = "fp32") -> tuple[str, bytes]:
    """`arch` with the weights of `net` (random ones if None), batch norm folded: the .param and the .bin file.

    The model maps the blob ``input`` (in_ch, resolution_px, resolution_px) to ``output``, a vector (classes,) behind a
    linear layer or a global pooling, else a map (classes, H, W). There is no batch.

    Raises:
        ValueError: no such dtype, `net` was built for another architecture, or has norms that are no batch norms with
            statistics.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: an ncnn model is of {', '.join(DTYPES)}")
    weights = folded.of(arch, net)
    layers = with_splits(_layers(arch)[0])
    return _text(layers), b"".join(_content(layer, weights) for layer in layers)


def block_outputs(arch: Arch) -> tuple[str, ...]:
    """The blob that each block of `arch` hands on, in order; the last is ``output``."""
    return _layers(arch)[1]


def _layers(arch: Arch) -> tuple[list[Layer], tuple[str, ...]]:
    """The layers, and the blob that each block hands on."""
    units = lower(arch)
    graph = Graph(units[0].in_shape, arch.padding)
    ends, value = [], INPUT
    for i, unit in enumerate(units):
        value = graph.add_unit(i, unit, value)
        ends.append(value)
    named = {value: OUTPUT}
    layers = [
        replace(
            layer,
            inputs=tuple(named.get(name, name) for name in layer.inputs),
            outputs=tuple(named.get(name, name) for name in layer.outputs),
        )
        for layer in graph.layers
    ]
    return layers, tuple(named.get(name, name) for name in ends)


def _text(layers: list[Layer]) -> str:
    lines = [str(_MAGIC), f"{len(layers)} {sum(len(layer.outputs) for layer in layers)}"]
    for layer in layers:
        params = (_param(number, value) for number, value in layer.params.items())
        counts = f"{len(layer.inputs)} {len(layer.outputs)}"
        lines.append(" ".join([f"{layer.kind:<20} {layer.name}", counts, *layer.inputs, *layer.outputs, *params]))
    return "\n".join(lines) + "\n"


def _param(number: int, value: Value) -> str:
    if isinstance(value, tuple):
        return f"{-23300 - number}={len(value)},{','.join(map(_number, value))}"
    return f"{number}={_number(value)}"


def _number(value: float) -> str:
    """ncnn takes a number with a point or an exponent for a float, and any other for a whole one."""
    return f"{value:.8e}" if isinstance(value, float) else str(value)


def _content(layer: Layer, weights: Arrays) -> bytes:
    """What stands in the .bin file for a layer."""
    if layer.of is None:
        return b""
    weight, bias = weights(*layer.of)
    return _FLOAT32 + np.ascontiguousarray(weight, "<f4").tobytes() + np.ascontiguousarray(bias, "<f4").tobytes()
