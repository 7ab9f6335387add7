"""`Arch` -> ncnn: the text of the .param file and the bytes of the .bin file, as ncnn's guides describe them
(docs/developer-guide/param-and-model-file-structure.md and operation-param-weight-table.md there)."""

import ctypes
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nas_runtime.extras import needed
from search_spaces import folded
from search_spaces.arch import Arch
from search_spaces.folded import Arrays
from search_spaces.formats import Format
from search_spaces.lower import lower
from search_spaces.ncnn_graph import INPUT, OUTPUT, Graph, Layer, Value, with_splits
from search_spaces.ops import Conv

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["DTYPES", "FORMAT", "INPUT", "OUTPUT", "block_outputs", "files", "load", "model", "run"]

DTYPES = ("fp32", "fp16", "int8")

_MAGIC = 7767517
_STORED = {"fp32": 0, "fp16": 0x01306B47, "int8": 0x000D4B38}  # what stands before a weight
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
_INT8_TERM = 8  # the parameter: 1 or 2, and 100 more where the output is int8 too
_INT8_SCALE = 127 / 6  # of every activation: 6 is the largest value


def model(arch: Arch, *, net: "Net | None" = None, dtype: str = "fp32") -> tuple[str, bytes]:
    """`arch` with the weights of `net` (random ones if None), batch norm folded: the .param and the .bin file.

    The model maps the blob ``input`` (in_ch, resolution_px, resolution_px) to ``output``, a vector (classes,) behind a
    linear layer or a global pooling, else a map (classes, H, W), of one image.

    Args:
        dtype: ``fp16``: weights are stored so, and computed with in 16 bits where the processor can. ``int8``:
            convolutions and linear layers as ncnn's own quantizer writes them, weights per channel, activations with
            made-up scales. Such a model takes as long as a calibrated one, and its answers mean nothing.

    Raises:
        ValueError: no such dtype, `net` was built for another architecture, or has norms that are no batch norms with
            statistics.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: an ncnn model is of {', '.join(DTYPES)}")
    weights = folded.of(arch, net)
    layers = with_splits(_layers(arch)[0])
    if dtype == "int8":
        layers = _quantized(layers)
    return _text(layers), b"".join(_content(layer, weights, dtype) for layer in layers)


def files(arch: Arch, *, net: "Net | None" = None, batch: int = 1) -> dict[str, bytes]:
    """The content of the files by suffix; see `model`.

    Raises:
        ValueError: another batch than 1; see `model`.
    """
    if batch != 1:
        raise ValueError(f"batch={batch}: ncnn runs one image at a time; give batch=1")
    param, content = model(arch, net=net)
    return {".param": param.encode(), ".bin": content}


def run(param: bytes, content: bytes, inputs: np.ndarray) -> np.ndarray:
    """What a model gives for `inputs` (N, C, H, W), one by one: (N, ...).

    Raises:
        ValueError: ncnn is not installed.
    """
    package = needed("ncnn", "ncnn", "format ncnn")
    net, outputs = load(param.decode(), content), []
    for image in inputs:
        extractor, values = net.create_extractor(), np.ascontiguousarray(image)  # which the matrix does not keep alive
        extractor.input(INPUT, package.Mat(values))
        outputs.append(np.array(extractor.extract(OUTPUT)[1]))
    return np.stack(outputs)


def load(param: str, content: bytes, *, threads: int = 1, dtype: str = "fp32") -> Any:
    """A net of ncnn's, with the text and the weights of `model`. Nothing is written to a file.

    Raises:
        ValueError: ncnn is not installed.
        RuntimeError: it cannot load the model, of which it says more on standard error.
    """
    package = needed("ncnn", "ncnn", "format ncnn")
    net = package.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    if dtype == "fp32":  # where the processor can, 16 bits are what ncnn computes in by itself
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param_mem(param) or net.load_model(_reader(package, content)):
        raise RuntimeError(f"ncnn {package.__version__} cannot load a model of {len(param.splitlines()) - 2} layers")
    return net


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

    def named(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(OUTPUT if name == value else name for name in names)

    layers = [replace(layer, inputs=named(layer.inputs), outputs=named(layer.outputs)) for layer in graph.layers]
    return layers, named(ends)


def _quantized(layers: list[Layer]) -> list[Layer]:
    """The layers with int8 weights. A convolution that only convolutions read hands on int8 values."""
    readers = {name: layer for layer in layers for name in layer.inputs}

    def read_as_int8(name: str) -> bool:
        reader = readers.get(name)
        if reader is not None and reader.kind == "Split":
            return all(map(read_as_int8, reader.outputs))
        return reader is not None and reader.kind in _CONVOLUTIONS

    def term(layer: Layer) -> int:
        return (1 if layer.kind == "ConvolutionDepthWise" else 2) + 100 * read_as_int8(layer.outputs[0])

    return [
        layer if layer.of is None else replace(layer, params={**layer.params, _INT8_TERM: term(layer)})
        for layer in layers
    ]


def _text(layers: list[Layer]) -> str:
    lines = [str(_MAGIC), f"{len(layers)} {sum(len(layer.outputs) for layer in layers)}"]
    for layer in layers:
        counts = f"{len(layer.inputs)} {len(layer.outputs)}"
        params = (_param(number, value) for number, value in layer.params.items())
        lines.append(" ".join([layer.kind, layer.name, counts, *layer.inputs, *layer.outputs, *params]))
    return "\n".join(lines) + "\n"


def _param(number: int, value: Value) -> str:
    if isinstance(value, tuple):
        return f"{-23300 - number}={','.join([str(len(value)), *map(_number, value)])}"
    return f"{number}={_number(value)}"


def _number(value: float) -> str:
    """ncnn takes a number with a point or an exponent for a float, and any other for a whole one."""
    return f"{value:.8e}" if isinstance(value, float) else str(value)


def _content(layer: Layer, weights: Arrays, dtype: str) -> bytes:
    """What stands in the .bin file for a layer."""
    if layer.of is None:
        return b""
    _, op = layer.of
    weight, bias = weights(*layer.of)
    flag = _bytes(_STORED[dtype], "<u4")
    if dtype != "int8":
        return flag + _bytes(weight, "<f4" if dtype == "fp32" else "<f2") + _bytes(bias, "<f4")
    rows = weight.reshape(op.groups if isinstance(op, Conv) and op.groups > 1 else op.out_ch, -1)
    scales = 127 / (np.abs(rows).max(axis=1) + 1e-9)
    of_activations = [_INT8_SCALE] if layer.params[_INT8_TERM] in (1, 2) else [_INT8_SCALE] * 2  # input, and output
    parts = (bias, scales, of_activations)
    return flag + _bytes(np.round(rows * scales[:, None]), "i1") + b"".join(_bytes(part, "<f4") for part in parts)


def _bytes(values: "np.typing.ArrayLike", dtype: str) -> bytes:
    """As they stand in the file, filled up to 4 bytes."""
    content = np.asarray(values).astype(dtype, copy=False).tobytes()
    return content + bytes(-len(content) % 4)


def _reader(package: Any, content: bytes) -> Any:
    """Hands `content` out piece by piece: what ncnn reads from memory itself it may still refer to afterwards."""
    address = ctypes.pythonapi.PyCapsule_GetPointer
    address.restype, address.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    left = memoryview(content)

    class Reader(package.DataReader):
        def read(self, buffer: Any, size: int) -> int:
            nonlocal left
            part, left = bytes(left[:size]), left[size:]
            ctypes.memmove(address(buffer, None), part, len(part))
            return len(part)

    return Reader()


FORMAT = Format(files=files, run=run, reads="input (channels, height, width)")
