"""TensorFlow Lite operators and constants of units.

Maps are (N, H, W, C) here, and so are the constants that units have as (C, H, W).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.folded import Arrays
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
from search_spaces.tflite_file import File, Quantized
from search_spaces.tflite_windows import frame, without_zeros

__all__ = ["Graph", "Value"]

_FUSED = {"none": 0, "relu": 1, "relu6": 3}  # the schema's ActivationFunctionType
_FUSING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL")


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of the graph.

    Attributes:
        index: its place in the file.
        shape: with N, as (N, H, W, C), or (N, C) where it is flat.
        positive: whether no number in it is below 0.
    """

    index: int
    shape: tuple[int, ...]
    quantized: Quantized | None = None
    positive: bool = False


class Graph:
    """Operators and constants of a network for images (N, H, W, C), float32."""

    dtype = "float32"

    def __init__(self, weights: Arrays, *, padding: str, batch: int) -> None:
        self.weights, self._padding, self._batch = weights, padding, batch
        self.file = File()
        self._kinds: dict[int, str] = {}

    def add_input(self, shape: Shape) -> Value:
        """Appends the input ``input`` for images (C, H, W)."""
        channels, height, width = shape
        whole = (self._batch, height, width, channels)
        return Value(index=self.file.tensor("input", whole, "float32"), shape=whole)

    def read(self, value: Value) -> Value:
        """What the first unit reads for the input."""
        return value

    def add_output(self, value: Value) -> Value:
        """Makes `value` the output ``output``, float32."""
        self.file.rename(value.index, "output")
        return value

    def add_unit(self, i: int, unit: Unit, source: Value) -> Value:
        """Appends `unit`, reading `source`; gives its output."""
        values = {"input": source}
        readers = Counter(name for node in unit.nodes for name in node.op.inputs)
        for node in unit.nodes:
            inputs = [values[name] for name in node.op.inputs]
            prefix = f"block{i}.{node.op.name}"
            names = [name for name, value in values.items() if value.index == inputs[0].index]
            alone = names == [node.op.inputs[0]] != ["input"] and readers[names[0]] == 1
            values[node.op.name] = self._add_op(i, node, prefix, inputs, alone)
        return values[unit.nodes[-1].op.name]

    def _add_op(self, i: int, node: Node, prefix: str, inputs: list[Value], alone: bool) -> Value:
        """`alone`: nothing else reads what is computed for the first input."""
        x = inputs[0]
        match node.op:
            case Conv() as op:
                return self._conv(i, op, node, prefix, x)
            case Linear() as op:
                return self._linear(i, op, node.in_shapes[0], prefix, x)
            case Pool() as op:
                return self._pool(op, node, prefix, x)
            case GlobalPool() as op:
                axes = self._whole(f"{prefix}.axes", [1, 2])
                shape = (x.shape[0], x.shape[3]) if op.flat else self._map(node.out_shape)
                return self._node("MEAN", [x, axes], shape, prefix, keepDims=not op.flat)
            case Add():
                return self._node("ADD", inputs, x.shape, prefix)
            case Act() as op:
                return self._act(op, prefix, x, alone)
            case Concat():
                return self._concat(inputs, self._map(node.out_shape), prefix)
            case Slice() as op:
                shape = self._map(node.out_shape)
                limits = (("begin", (0, 0, 0, op.start)), ("size", shape))
                numbers = [self._whole(f"{prefix}.{name}", values) for name, values in limits]
                return self._node("SLICE", [x, *numbers], shape, prefix)
            case Shuffle() as op:
                return self._shuffle(op, prefix, x)
            case Upsample() | Expand():  # of one position, all that is between is the same
                size = self._whole(f"{prefix}.size", list(node.out_shape[1:]))
                shape = self._map(node.out_shape)
                return self._node("RESIZE_BILINEAR", [x, size], shape, prefix, halfPixelCenters=True)
            case Flatten():
                planes = self._transposed(x, (0, 3, 1, 2), f"{prefix}.planes")
                return self._reshaped(planes, self._map(node.out_shape), prefix)
            case Scale():
                return self._node("MUL", inputs, x.shape, prefix)
            case Dropout():
                return x

    def _conv(self, i: int, op: Conv, node: Node, prefix: str, x: Value) -> Value:
        weight, bias = self.weights(i, op)
        by_itself = op.groups == op.in_ch > 1
        filters = weight[:, 0].transpose(1, 2, 0)[None] if by_itself else weight.transpose(0, 2, 3, 1)
        top, left, _, _ = op.zeros(node.in_shapes[0], self._padding)
        size = [op.dilation * (length - 1) + 1 for length in op.size]
        around = frame(node, (size[0], size[1]), op.stride, (top, left))
        if around.zeros is not None:
            x = self._padded(x, around.zeros, f"{prefix}.padded")
        options: dict[str, Any] = {
            "padding": around.padding,
            "strideH": op.stride,
            "strideW": op.stride,
            "dilationHFactor": op.dilation,
            "dilationWFactor": op.dilation,
        }
        inputs = [x, *self._params(filters, bias, prefix, x, 3 if by_itself else 0)]
        shape = self._map(node.out_shape)
        if not by_itself:
            return self._activated(op.act, "CONV_2D", inputs, shape, prefix, **options)
        options["depthMultiplier"] = op.out_ch // op.in_ch
        return self._activated(op.act, "DEPTHWISE_CONV_2D", inputs, shape, prefix, **options)

    def _linear(self, i: int, op: Linear, shape: Shape, prefix: str, x: Value) -> Value:
        weight, bias = self.weights(i, op)
        if len(x.shape) == 4:  # of which weights have the channels first
            weight = weight.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(weight.shape)
        params = self._params(weight, bias, prefix, x, None)
        return self._activated(op.act, "FULLY_CONNECTED", [x, *params], (x.shape[0], op.out_ch), prefix)

    def _pool(self, op: Pool, node: Node, prefix: str, x: Value) -> Value:
        largest = op.kind == "max"
        around = frame(node, (op.kernel, op.kernel), op.stride, (op.padding, op.padding))
        if around.zeros is not None:
            x = self._padded(x, around.zeros, f"{prefix}.padded", lowest=largest and not x.positive)
        shape, counted = self._map(node.out_shape), around.zeros is not None and not largest
        pool = self._node(
            "MAX_POOL_2D" if largest else "AVERAGE_POOL_2D",
            [x],
            shape,
            f"{prefix}.with_zeros" if counted else prefix,
            padding=around.padding,
            filterHeight=op.kernel,
            filterWidth=op.kernel,
            strideH=op.stride,
            strideW=op.stride,
        )
        if not counted:
            return pool
        return self._node("MUL", [pool, self._numbers(f"{prefix}.share", without_zeros(op, node))], shape, prefix)

    def _padded(
        self, x: Value, zeros: tuple[tuple[int, int], tuple[int, int]], name: str, lowest: bool = False
    ) -> Value:
        """`x` with zeros around it, or with the lowest number."""
        numbers = self._whole(f"{name}.zeros", [(0, 0), *zeros, (0, 0)])
        n, height, width, channels = x.shape
        shape = (n, height + sum(zeros[0]), width + sum(zeros[1]), channels)
        if not lowest:
            return self._node("PAD", [x, numbers], shape, name)
        return self._node("PADV2", [x, numbers, self._lowest(f"{name}.lowest", x)], shape, name)

    def _concat(self, inputs: list[Value], shape: tuple[int, ...], prefix: str) -> Value:
        return self._node("CONCATENATION", inputs, shape, prefix, axis=3)

    def _shuffle(self, op: Shuffle, prefix: str, x: Value) -> Value:
        """There is no operator for it: (N, H, W, C) -> (N, H·W, G, C/G) -> (N, H·W, C/G, G) -> (N, H, W, C)."""
        n, height, width, channels = x.shape
        apart = self._reshaped(x, (n, height * width, op.groups, channels // op.groups), f"{prefix}.groups")
        return self._reshaped(self._transposed(apart, (0, 1, 3, 2), f"{prefix}.turned"), x.shape, prefix)

    def _reshaped(self, x: Value, shape: tuple[int, ...], name: str) -> Value:
        numbers = self._whole(f"{name}.shape", list(shape))
        return self._node("RESHAPE", [x, numbers], shape, name, newShape=np.array(shape, np.int32))

    def _transposed(self, x: Value, order: Sequence[int], name: str) -> Value:
        shape = tuple(x.shape[axis] for axis in order)
        return self._node("TRANSPOSE", [x, self._whole(f"{name}.order", list(order))], shape, name)

    def _act(self, op: Act, prefix: str, x: Value, alone: bool) -> Value:
        """An activation by itself: part of what computes its input, if it can be."""
        fusing = alone and _FUSED.get(op.act) and self._kinds.get(x.index) in _FUSING
        if fusing and self.file.fuse(x.index, _FUSED[op.act]):
            self.file.rename(x.index, prefix)
            return Value(index=x.index, shape=x.shape, quantized=x.quantized, positive=True)
        return self._activation(op.act, x, prefix)

    def _activated(
        self, act: str, kind: str, inputs: Sequence[Value], shape: tuple[int, ...], prefix: str, **options: Any
    ) -> Value:
        """What an operator with such an option gives, activated."""
        fused = _FUSED.get(act, 0)
        value = self._node(kind, inputs, shape, prefix, fusedActivationFunction=fused, **options)
        return value if act in _FUSED else self._activation(act, value, prefix)

    def _activation(self, act: str, x: Value, prefix: str) -> Value:
        match act:
            case "none":
                return x
            case "relu" | "relu6":
                return self._node(act.upper(), [x], x.shape, f"{prefix}.act")
            case "hard_swish":
                return self._node("HARD_SWISH", [x], x.shape, f"{prefix}.act")
            case "sigmoid":
                return self._node("LOGISTIC", [x], x.shape, f"{prefix}.act", gate=True)
            case "swish":
                gate = self._node("LOGISTIC", [x], x.shape, f"{prefix}.gate", gate=True)
                return self._node("MUL", [x, gate], x.shape, f"{prefix}.act")
            case "hard_sigmoid":
                return self._hard_sigmoid(x, prefix)
            case _:
                raise ValueError(f"no TensorFlow Lite operator for activation {act!r}")

    def _hard_sigmoid(self, x: Value, prefix: str) -> Value:
        """There is no operator for it: relu6(x + 3) / 6."""
        three, sixth = (self._numbers(f"{prefix}.{n}", v) for n, v in (("three", 3), ("sixth", 1 / 6)))
        gate = self._node("ADD", [x, three], x.shape, f"{prefix}.gate", fusedActivationFunction=_FUSED["relu6"])
        return self._node("MUL", [gate, sixth], x.shape, f"{prefix}.act", gate=True)

    def _map(self, shape: Shape) -> tuple[int, int, int, int]:
        """(N, H, W, C) of (C, H, W)."""
        channels, height, width = shape
        return self._batch, height, width, channels

    def _node(
        self, kind: str, inputs: Sequence[Value], shape: tuple[int, ...], name: str, gate: bool = False, **options: Any
    ) -> Value:
        """Appends an operator; `gate`: what it gives is between 0 and 1."""
        quantized = self._range(kind, inputs, gate)
        index = self.file.tensor(name, shape, self.dtype, quantized)
        self.file.operator(
            kind, [value.index for value in inputs], index, self._version(kind, inputs, options), options
        )
        self._kinds[index] = kind
        clamped = bool(options.get("fusedActivationFunction")) or kind in ("RELU", "RELU6")
        positive = gate or clamped or all(value.positive for value in inputs)  # weights are not
        return Value(index=index, shape=shape, quantized=quantized, positive=positive)

    def _range(self, kind: str, inputs: Sequence[Value], gate: bool) -> Quantized | None:
        """What the numbers that an operator gives stand for."""
        return None

    def _version(self, kind: str, inputs: Sequence[Value], options: dict[str, Any]) -> int:
        """The first version of an operator that has what is used of it."""
        if kind == "RESIZE_BILINEAR":
            return 3
        if kind == "CONV_2D" and inputs[0].shape[3] != inputs[1].shape[3]:  # in groups
            return 6
        return 2 if kind == "DEPTHWISE_CONV_2D" and options["dilationHFactor"] > 1 else 1

    def _params(self, weight: np.ndarray, bias: np.ndarray, prefix: str, x: Value, axis: int | None) -> list[Value]:
        """Weight and bias of an operator that reads `x`.

        Args:
            axis: that of the output channels, where each may have a scale of its own.
        """
        return [self._constant(f"{prefix}.weight", weight), self._constant(f"{prefix}.bias", bias)]

    def _constant(self, name: str, value: np.ndarray, quantized: Quantized | None = None) -> Value:
        index = self.file.constant(name, value, quantized)
        return Value(index=index, shape=value.shape, quantized=quantized)

    def _numbers(self, name: str, value: np.ndarray | float) -> Value:
        """A constant of numbers that are not below 0."""
        array = np.asarray(value, np.float32)
        return Value(index=self.file.constant(name, array), shape=array.shape, positive=True)

    def _lowest(self, name: str, x: Value) -> Value:
        """The lowest number that stands beside those of `x`."""
        return self._constant(name, np.array(np.finfo(np.float32).min, np.float32))

    def _whole(self, name: str, values: Sequence[Any]) -> Value:
        """Whole numbers that tell an operator what to do."""
        array = np.array(values, np.int32)
        return Value(index=self.file.constant(name, array), shape=array.shape, positive=True)
