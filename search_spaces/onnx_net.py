"""`Arch` or `Unit` -> ONNX, written with ``onnx.helper``: 0.1 ms a layer where torch's exporters take 7 to 700 ms.

Batch norm is folded into the convolution before it. Graphs are pinned to opset 18 and the oldest IR version that goes
with it, so that old runtimes on devices read them.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nas_runtime.files import write_bytes
from search_spaces.arch import Arch
from search_spaces.lower import Node, Unit, lower
from search_spaces.ops import (
    Act,
    Add,
    Concat,
    Conv,
    Dropout,
    Expand,
    Flatten,
    GlobalPool,
    Linear,
    Pool,
    Scale,
    Shuffle,
    Slice,
    Upsample,
)

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["export", "model"]

OPSET = 18
IR_VERSION = 8  # of ONNX 1.13, as opset 18; ONNX Runtime reads version 10 from 1.18 on only

_ACT_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "hard_swish": ("HardSwish", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


class Weights(Protocol):
    """Gives the folded weight and bias of an operator of block `i`."""

    def __call__(self, i: int, op: Conv | Linear) -> "tuple[np.ndarray | _Stored, np.ndarray]": ...


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A constant that lies in a file beside the model."""

    shape: tuple[int, ...]
    dtype: str
    file: str
    offset: int


def export(arch: Arch, path: str | os.PathLike[str], *, net: "Net | None" = None) -> None:
    """Writes `arch` to `path` with the weights of `net` (random ones if None).

    The graph maps ``input`` (1, in_ch, resolution_px, resolution_px) to ``output`` (1, classes). The file is complete
    or not there.
    """
    write_bytes(Path(path), model(arch, net=net).SerializeToString())


def model(
    arch: Arch,
    *,
    net: "Net | None" = None,
    batch: int = 1,
    int8: bool = False,
    plain_hard_swish: bool = False,
    stored: Callable[[str, float, int], tuple[str, int]] | None = None,
) -> onnx.ModelProto:
    """`arch` as an ONNX model; see `export`.

    Args:
        int8: quantized statically, as ONNX Runtime's ``quantize_static`` does it: weights per channel, activations with
            made-up scales. Such a model takes as long as a calibrated one, and its answers mean nothing.
        plain_hard_swish: write h-swish out, as x * relu6(x + 3) / 6, instead of with the runtime's own operator.
        stored: gives the file and the place in it of random weights, from their type (float32 or int8), standard
            deviation and size in bytes. The model is then small, and made in no time.

    Raises:
        ValueError: `net` was built for another architecture.
    """
    if net is not None and net.arch.blocks != arch.blocks:
        raise ValueError(f"the weights belong to {net.arch.name!r}, not to {arch.name!r}; build the net from this arch")
    weights = random_weights() if net is None else _torch_weights(net)
    if stored is not None:
        weights = _stored_weights(stored, "int8" if int8 else "float32")
    graph = (_Int8Graph if int8 else _Graph)(weights, plain_hard_swish)
    return _model(lower(arch), graph, batch, arch.name)


def random_weights(rng_seed: int = 0) -> Weights:
    """He-normal weights and small biases, so that activations stay of the order of 1 through a deep network.

    All are cut from one stretch of random numbers, each from another place: drawing them anew for every network would
    take longer than timing it.
    """

    def weights(i: int, op: Conv | Linear) -> tuple[np.ndarray, np.ndarray]:
        shape = _weight_shape(op)
        n, fan_in = int(np.prod(shape)), int(np.prod(shape[1:]))
        start = (1009 * i + 31 * len(op.name) + op.out_ch) % 65536
        weight = _normal(rng_seed, start + n)[start:].reshape(shape) * np.float32(np.sqrt(2 / fan_in))
        return weight, _normal(rng_seed, start + op.out_ch)[start:] * np.float32(0.1)

    return weights


def _stored_weights(stored: Callable[[str, float, int], tuple[str, int]], dtype: str) -> Weights:
    """Random weights that lie in a file; only the biases are in the model."""

    def weights(i: int, op: Conv | Linear) -> tuple[_Stored, np.ndarray]:
        shape = _weight_shape(op)
        n, fan_in = int(np.prod(shape)), int(np.prod(shape[1:]))
        file, offset = stored(dtype, float(np.sqrt(2 / fan_in)), n * np.dtype(dtype).itemsize)
        bias = _normal(0, op.out_ch) * np.float32(0.1)
        return _Stored(shape=shape, dtype=dtype, file=file, offset=offset), bias

    return weights


def _normal(rng_seed: int, n: int) -> np.ndarray:
    """(n,) the first normal numbers of a stream."""
    return _stream(rng_seed, 1 << max(20, (n - 1).bit_length()))[:n]


@lru_cache(maxsize=2)
def _stream(rng_seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(rng_seed).standard_normal(n, dtype=np.float32)


def _weight_shape(op: Conv | Linear) -> tuple[int, ...]:
    if isinstance(op, Conv):
        return (op.out_ch, op.in_ch // op.groups, *op.size)
    return (op.out_ch, op.in_ch)


def _torch_weights(net: "Net") -> Weights:
    """The weights of `net` as it computes in evaluation.

    Raises:
        ValueError: a norm that is no batch norm with statistics of its own.
    """

    def array(value: Any) -> np.ndarray:
        return value.detach().cpu().float().numpy()

    def weights(i: int, op: Conv | Linear) -> tuple[np.ndarray, np.ndarray]:
        layer: Any = net.blocks[i].get_submodule(op.name)
        if isinstance(op, Linear):
            return array(layer.linear.weight), array(layer.linear.bias)
        weight, bias = array(layer.conv.weight), None if layer.conv.bias is None else array(layer.conv.bias)
        if layer.norm is None:
            return weight, np.zeros(op.out_ch, np.float32) if bias is None else bias
        factor, offset = _scale_and_shift(layer.norm, f"blocks.{i}.{op.name}.norm", array)
        return weight * factor[:, None, None, None], offset if bias is None else bias * factor + offset

    return weights


def _scale_and_shift(norm: Any, name: str, array: Callable[[Any], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm multiplies each channel by, and then adds, in evaluation.

    The epsilon is the layer's own; a layer without weights of its own (``affine=False``) has 1 and 0.
    """
    if getattr(norm, "running_var", None) is None or getattr(norm, "running_mean", None) is None:
        raise ValueError(
            f"{name} is a {type(norm).__name__} without running statistics, which no convolution can take in; "
            "export networks whose norms are BatchNorm2d with track_running_stats=True"
        )
    factor = 1 / np.sqrt(array(norm.running_var) + np.float32(norm.eps))
    if norm.weight is not None:
        factor *= array(norm.weight)
    offset = -array(norm.running_mean) * factor
    return factor, offset if norm.bias is None else offset + array(norm.bias)


def _model(units: Sequence[Unit], graph: "_Graph", batch: int, name: str) -> onnx.ModelProto:
    value = graph.output("input", "input")
    for i, unit in enumerate(units):
        value = graph.add_unit(i, unit, value)
    _rename(graph.nodes, value, "output")
    last = units[-1].nodes[-1]
    flat = isinstance(last.op, Linear) or (isinstance(last.op, GlobalPool) and last.op.flat)
    out_shape = last.out_shape[:1] if flat else last.out_shape
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name or "network",
            [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [batch, *units[0].in_shape])],
            [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [batch, *out_shape])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="search_spaces.onnx_net",
    )
    proto.ir_version = IR_VERSION
    return proto


def _rename(nodes: list[onnx.NodeProto], before: str, after: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, value in enumerate(names):
                if value == before:
                    names[i] = after


class _Graph:
    """ONNX nodes and constants under construction."""

    def __init__(self, weights: Weights, plain_hard_swish: bool) -> None:
        self.weights, self._plain_hard_swish = weights, plain_hard_swish
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add_unit(self, i: int, unit: Unit, source: str) -> str:
        """Appends `unit`, reading the value `source`; gives the name of its output value."""
        values = {"input": source}
        for node in unit.nodes:
            prefix = f"block{i}.{node.op.name}"
            value = self._add_op(i, node, prefix, [values[name] for name in node.op.inputs])
            values[node.op.name] = value if isinstance(node.op, Dropout) else self.output(value, prefix)
        return values[unit.nodes[-1].op.name]

    def output(self, value: str, prefix: str) -> str:
        """What the next operators read for `value`, the output of the operator named `prefix`."""
        return value

    def _add_op(self, i: int, node: Node, prefix: str, inputs: list[str]) -> str:
        match node.op:
            case Conv() as op:
                params = self._params(i, op, prefix)
                conv = self._node(
                    "Conv",
                    [*inputs, *params],
                    prefix,
                    kernel_shape=op.size,
                    strides=[op.stride] * 2,
                    pads=[*op.padding] * 2,
                    dilations=[op.dilation] * 2,
                    group=op.groups,
                )
                return self._activation(op.act, conv, prefix)
            case Linear() as op:
                flat = self.output(self._node("Flatten", inputs, f"{prefix}.flat"), f"{prefix}.flat")
                gemm = self._node("Gemm", [flat, *self._params(i, op, prefix)], prefix, transB=1)
                return self._activation(op.act, gemm, prefix)
            case Pool() as op:
                return self._node(
                    "MaxPool" if op.kind == "max" else "AveragePool",
                    inputs,
                    prefix,
                    kernel_shape=[op.kernel] * 2,
                    strides=[op.stride] * 2,
                    pads=[op.padding] * 4,
                    ceil_mode=int(op.ceil),
                )
            case GlobalPool(flat=True):
                return self._node("Flatten", [self._node("GlobalAveragePool", inputs, f"{prefix}.map")], prefix)
            case GlobalPool():
                return self._node("GlobalAveragePool", inputs, prefix)
            case Add():
                return self._node("Add", inputs, prefix)
            case Act() as op:
                return self._activation(op.act, inputs[0], prefix)
            case Concat():
                return self._node("Concat", inputs, prefix, axis=1)
            case Slice() as op:
                limits = [self._whole(f"{prefix}.{n}", [v]) for n, v in (("start", op.start), ("stop", op.stop))]
                return self._node("Slice", [*inputs, *limits, self._whole(f"{prefix}.axis", [1])], prefix)
            case Shuffle() as op:
                channels, height, width = node.out_shape
                apart = self._whole(f"{prefix}.apart", [0, op.groups, channels // op.groups, height, width])
                together = self._whole(f"{prefix}.together", [0, channels, height, width])
                value = self._node("Reshape", [*inputs, apart], f"{prefix}.groups")
                value = self._node("Transpose", [value], f"{prefix}.turned", perm=[0, 2, 1, 3, 4])
                return self._node("Reshape", [value, together], prefix)
            case Upsample() as op:
                scales = np.array([1, 1, op.factor, op.factor], np.float32)
                inputs = [*inputs, "", self._constant(f"{prefix}.scales", scales)]
                return self._node("Resize", inputs, prefix, mode="linear", coordinate_transformation_mode="half_pixel")
            case Expand():
                return self._node("Expand", [inputs[0], self._whole(f"{prefix}.shape", [1, *node.out_shape])], prefix)
            case Flatten():
                return self._node("Reshape", [*inputs, self._whole(f"{prefix}.shape", [0, -1, 1, 1])], prefix)
            case Scale():
                return self._node("Mul", inputs, prefix)
            case Dropout():
                return inputs[0]

    def _activation(self, act: str, value: str, prefix: str) -> str:
        match act:
            case "none":
                return value
            case "relu6":
                limits = [self._constant(f"{prefix}.{name}", np.float32(v)) for name, v in (("min", 0), ("max", 6))]
                return self._node("Clip", [value, *limits], f"{prefix}.act")
            case "swish":
                value = self.output(value, f"{prefix}.linear")
                gate = self._node("Sigmoid", [value], f"{prefix}.gate")
                return self._node("Mul", [value, gate], f"{prefix}.act")
            case "hard_swish" if self._plain_hard_swish:
                value = self.output(value, f"{prefix}.linear")
                three, zero, six, sixth = (
                    self._constant(f"{prefix}.{n}", np.float32(v))
                    for n, v in (("three", 3), ("zero", 0), ("six", 6), ("sixth", 1 / 6))
                )
                moved = self._node("Add", [value, three], f"{prefix}.moved")
                gate = self._node("Clip", [moved, zero, six], f"{prefix}.gate")
                scaled = self._node("Mul", [value, gate], f"{prefix}.scaled")
                return self._node("Mul", [scaled, sixth], f"{prefix}.act")
            case "relu":
                return self._node("Relu", [value], f"{prefix}.act")
            case _:
                kind, attributes = _ACT_NODES[act]
                return self._node(kind, [self.output(value, f"{prefix}.linear")], f"{prefix}.act", **attributes)

    def _params(self, i: int, op: Conv | Linear, prefix: str) -> list[str]:
        weight, bias = self.weights(i, op)
        return [self._constant(f"{prefix}.weight", weight), self._constant(f"{prefix}.bias", bias)]

    def _constant(self, name: str, value: np.ndarray | np.float32 | _Stored) -> str:
        if isinstance(value, _Stored):
            return self._stored(name, value)
        array = np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array if array.flags.c_contiguous else array.copy("C"), name))
        return name

    def _whole(self, name: str, values: list[int]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _stored(self, name: str, value: _Stored) -> str:
        dtype = np.dtype(value.dtype)
        tensor = onnx.TensorProto(
            name=name,
            dims=value.shape,
            data_type=helper.np_dtype_to_tensor_dtype(dtype),
            data_location=onnx.TensorProto.EXTERNAL,
        )
        length = int(np.prod(value.shape)) * dtype.itemsize
        for entry, text in (("location", value.file), ("offset", value.offset), ("length", length)):
            tensor.external_data.add(key=entry, value=str(text))
        self.constants.append(tensor)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


class _Int8Graph(_Graph):
    """The same graph with every tensor quantized and dequantized again, which runtimes turn into integer kernels."""

    _SCALE = np.float32(6 / 255)  # 0 to 6 after a ReLU6, which then costs nothing

    def output(self, value: str, prefix: str) -> str:
        zero = np.uint8(0 if self.nodes and self.nodes[-1].op_type in ("Relu", "Clip") else 128)
        given = [self._raw(f"{prefix}.scale", self._SCALE), self._raw(f"{prefix}.zero", zero)]
        quantized = self._node("QuantizeLinear", [value, *given], f"{prefix}.quantized")
        return self._node("DequantizeLinear", [quantized, *given], f"{prefix}.value")

    def _params(self, i: int, op: Conv | Linear, prefix: str) -> list[str]:
        weight, bias = self.weights(i, op)
        if isinstance(weight, _Stored):
            whole: np.ndarray | _Stored = weight
            scale = np.full(op.out_ch, 3 / 127 * np.sqrt(2 / np.prod(weight.shape[1:])), np.float32)
        else:
            axes = tuple(range(1, weight.ndim))
            scale = (np.abs(weight).max(axis=axes) / 127 + 1e-9).astype(np.float32)
            whole = np.round(weight / scale.reshape(-1, *[1] * len(axes))).astype(np.int8)
        bias_scale = (scale * self._SCALE).astype(np.float32)
        return [
            self._dequantized(f"{prefix}.weight", whole, scale),
            self._dequantized(f"{prefix}.bias", np.round(bias / bias_scale).astype(np.int32), bias_scale),
        ]

    def _dequantized(self, name: str, whole: np.ndarray | _Stored, scale: np.ndarray) -> str:
        zero = np.zeros_like(scale, whole.dtype)
        given = [self._raw(f"{name}.int", whole), self._raw(f"{name}.scale", scale), self._raw(f"{name}.zero", zero)]
        return self._node("DequantizeLinear", given, name, axis=0)

    def _raw(self, name: str, value: Any) -> str:
        if isinstance(value, _Stored):
            return self._stored(name, value)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name
