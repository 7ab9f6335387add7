"""ONNX nodes and constants of units, in float or as int8."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from search_spaces.folded import Stored, Weights
from search_spaces.lower import Node, Unit
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
    Shape,
    Shuffle,
    Slice,
    Upsample,
)

__all__ = ["Graph", "Int8Graph", "Pixels"]

_ACT_NODES: dict[str, tuple[str, dict[str, Any]]] = {
    "hard_swish": ("HardSwish", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """An input as images have it, ``image`` (N, H, W, C) uint8, which the graph normalises itself.

    Attributes:
        mean, std: of each channel, of values in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Graph:
    """ONNX nodes and constants under construction."""

    def __init__(self, weights: Weights, plain_hard_swish: bool, padding: str = "symmetric") -> None:
        self.weights, self._plain_hard_swish, self._padding = weights, plain_hard_swish, padding
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add_pixels(self, pixels: Pixels) -> str:
        """Appends what turns ``image`` into a network's input (N, C, H, W); gives its name.

        Not folded into the first convolution: that pads with zeros, which are normalised values.
        """
        planes = self._node("Transpose", ["image"], "image.planes", perm=[0, 3, 1, 2])
        value = self._node("Cast", [planes], "image.float", to=onnx.TensorProto.FLOAT)
        for name, kind, values in (("mean", "Sub", pixels.mean), ("std", "Div", pixels.std)):
            constant = self._constant(f"image.{name}", np.array(values, np.float32).reshape(1, -1, 1, 1) * 255)
            value = self._node(kind, [value, constant], f"image.without_{name}")
        return value

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
                return self._conv(i, op, prefix, inputs, op.zeros(node.in_shapes[0], self._padding))
            case Linear() as op:
                flat = self.output(self._node("Flatten", inputs, f"{prefix}.flat"), f"{prefix}.flat")
                gemm = self._node("Gemm", [flat, *self._params(i, op, prefix)], prefix, transB=1)
                return self._activation(op.act, gemm, prefix)
            case Pool() as op:
                return self._pool(op, prefix, inputs)
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
                return self._shuffle(op, node.out_shape, prefix, inputs)
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

    def _conv(self, i: int, op: Conv, prefix: str, inputs: list[str], pads: tuple[int, int, int, int]) -> str:
        conv = self._node(
            "Conv",
            [*inputs, *self._params(i, op, prefix)],
            prefix,
            kernel_shape=op.size,
            strides=[op.stride] * 2,
            pads=pads,
            dilations=[op.dilation] * 2,
            group=op.groups,
        )
        return self._activation(op.act, conv, prefix)

    def _pool(self, op: Pool, prefix: str, inputs: list[str]) -> str:
        return self._node(
            "MaxPool" if op.kind == "max" else "AveragePool",
            inputs,
            prefix,
            kernel_shape=[op.kernel] * 2,
            strides=[op.stride] * 2,
            pads=[op.padding] * 4,
            ceil_mode=int(op.ceil),
        )

    def _shuffle(self, op: Shuffle, shape: Shape, prefix: str, inputs: list[str]) -> str:
        """ONNX has no operator for it: (N, C, H, W) -> (N, G, C/G, H, W) -> (N, C/G, G, H, W) -> (N, C, H, W)."""
        channels, height, width = shape
        apart = self._whole(f"{prefix}.apart", [0, op.groups, channels // op.groups, height, width])
        together = self._whole(f"{prefix}.together", [0, channels, height, width])
        value = self._node("Reshape", [*inputs, apart], f"{prefix}.groups")
        value = self._node("Transpose", [value], f"{prefix}.turned", perm=[0, 2, 1, 3, 4])
        return self._node("Reshape", [value, together], prefix)

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

    def _constant(self, name: str, value: np.ndarray | np.float32 | Stored) -> str:
        if isinstance(value, Stored):
            return self._stored(name, value)
        array = np.asarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array if array.flags.c_contiguous else array.copy("C"), name))
        return name

    def _whole(self, name: str, values: list[int]) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _stored(self, name: str, value: Stored) -> str:
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


class Int8Graph(Graph):
    """The same graph with every tensor quantized and dequantized again, which runtimes turn into integer kernels."""

    _SCALE = np.float32(6 / 255)  # 0 to 6 after a ReLU6, which then costs nothing

    def output(self, value: str, prefix: str) -> str:
        zero = np.uint8(0 if self.nodes and self.nodes[-1].op_type in ("Relu", "Clip") else 128)
        given = [self._raw(f"{prefix}.scale", self._SCALE), self._raw(f"{prefix}.zero", zero)]
        quantized = self._node("QuantizeLinear", [value, *given], f"{prefix}.quantized")
        return self._node("DequantizeLinear", [quantized, *given], f"{prefix}.value")

    def _params(self, i: int, op: Conv | Linear, prefix: str) -> list[str]:
        weight, bias = self.weights(i, op)
        if isinstance(weight, Stored):
            whole: np.ndarray | Stored = weight
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

    def _dequantized(self, name: str, whole: np.ndarray | Stored, scale: np.ndarray) -> str:
        zero = np.zeros_like(scale, whole.dtype)
        given = [self._raw(f"{name}.int", whole), self._raw(f"{name}.scale", scale), self._raw(f"{name}.zero", zero)]
        return self._node("DequantizeLinear", given, name, axis=0)

    def _raw(self, name: str, value: Any) -> str:
        if isinstance(value, Stored):
            return self._stored(name, value)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name
