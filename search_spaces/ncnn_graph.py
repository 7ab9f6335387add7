"""Layers of an ncnn model for units; their weights are written by `ncnn_net`.

Blobs are of one image. Behind a global pooling it is a vector (C,) instead of a map (C, 1, 1), and a 1x1
convolution of a vector is an InnerProduct, as ncnn's own optimizer writes it. Layers that need a map get one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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

__all__ = ["INPUT", "OUTPUT", "Graph", "Layer", "Value", "with_splits"]

INPUT, OUTPUT = "input", "output"

Value = int | float | tuple[int | float, ...]
"""Of a parameter of a layer; whole numbers and others are written differently."""

_MAX, _AVERAGE = 0, 1
_ADD, _MULTIPLY = 0, 2
_NEAREST, _BILINEAR = 1, 2
_FLOOR = 1  # pad_mode: a window that lies only partly on the padded map gives nothing
_SIXTH: dict[int, Value] = {0: 1 / 6, 1: 0.5}  # relu6(x + 3) / 6 as a slope and what is added

# activation_type and activation_params of convolutions and InnerProduct
_FUSED: dict[str, tuple[int, tuple[float, ...]]] = {
    "relu": (1, ()),
    "relu6": (3, (0.0, 6.0)),
    "sigmoid": (4, ()),
    "hard_swish": (6, (1 / 6, 0.5)),
}
_ACT_LAYERS: dict[str, tuple[str, dict[int, Value]]] = {
    "relu": ("ReLU", {}),
    "relu6": ("Clip", {0: 0.0, 1: 6.0}),
    "hard_swish": ("HardSwish", _SIXTH),
    "swish": ("Swish", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", _SIXTH),
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A line of a .param file.

    Attributes:
        params: by their numbers.
        of: the block and the operator whose weights stand in the .bin file; None: the layer has none.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[int, Value] = field(default_factory=dict)
    of: tuple[int, Conv | Linear] | None = None


class Graph:
    """Layers under construction, each with one output, which may be read by several.

    Args:
        padding: where convolutions have their zeros, see `Arch.padding`.
    """

    def __init__(self, in_shape: Shape, padding: str) -> None:
        channels, height, width = in_shape
        self._padding = padding
        self._vectors: set[str] = set()
        self.layers = [
            Layer(kind="Input", name=INPUT, inputs=(), outputs=(INPUT,), params={0: width, 1: height, 2: channels})
        ]

    def add_unit(self, i: int, unit: Unit, source: str) -> str:
        """Appends `unit`, reading the blob `source`; gives the name of its output blob."""
        values = {"input": source}
        for node in unit.nodes:
            inputs = [values[name] for name in node.op.inputs]
            values[node.op.name] = self._add_op(i, node, f"block{i}.{node.op.name}", inputs)
        return values[unit.nodes[-1].op.name]

    def _add_op(self, i: int, node: Node, prefix: str, inputs: list[str]) -> str:
        source, flat = inputs[0], inputs[0] in self._vectors
        match node.op:
            case Conv() as op:
                return self._conv(i, node, op, prefix, source)
            case Linear() as op:
                return self._product(i, op, prefix, source)
            case Pool() as op:
                return self._pool(op, node, prefix, self._map(source, prefix))
            case GlobalPool():
                return source if flat else self._vector("Pooling", prefix, source, {0: _AVERAGE, 4: 1})
            case Add():
                return self._binary(_ADD, prefix, inputs)
            case Scale():
                return self._binary(_MULTIPLY, prefix, inputs)
            case Act() as op:
                return self._act(op.act, prefix, source)
            case Concat():
                return self._concat(prefix, inputs)
            case Slice() as op:
                return self._layer("Crop", prefix, [source], {9: (op.start,), 10: (op.stop,), 11: (0,)}, flat)
            case Shuffle() as op:
                return self._layer("ShuffleChannel", prefix, [self._map(source, prefix)], {0: op.groups})
            case Upsample() | Expand():
                return self._resize(node, prefix, source)
            case Flatten():
                return source if flat else self._vector("Flatten", prefix, source)
            case Dropout():
                return source

    def _conv(self, i: int, node: Node, op: Conv, prefix: str, source: str) -> str:
        top, left, bottom, right = op.zeros(node.in_shapes[0], self._padding)
        if source in self._vectors and op.groups == 1 and not (top or left or bottom or right):  # so it is of 1x1
            return self._product(i, op, prefix, source)
        height, width = op.size
        params: dict[int, Value] = {0: op.out_ch, 5: 1, 6: op.out_ch * op.in_ch // op.groups * height * width}
        params |= {1: width, 11: height} | {2: op.dilation, 12: op.dilation} | {3: op.stride, 13: op.stride}
        params |= {4: left, 14: top, 15: right, 16: bottom}
        if op.groups > 1:
            params[7] = op.groups
        kind = "ConvolutionDepthWise" if op.groups > 1 else "Convolution"
        return self._weighted(i, op, kind, prefix, self._map(source, prefix), params)

    def _product(self, i: int, op: Conv | Linear, prefix: str, source: str) -> str:
        """Reads all values of a map, or a vector; gives a vector."""
        self._vectors.add(prefix)
        params: dict[int, Value] = {0: op.out_ch, 1: 1, 2: op.out_ch * op.in_ch}
        return self._weighted(i, op, "InnerProduct", prefix, source, params)

    def _weighted(
        self, i: int, op: Conv | Linear, kind: str, prefix: str, source: str, params: dict[int, Value]
    ) -> str:
        act = op.act
        if act in _FUSED:
            params[9], limits = _FUSED[act]
            params |= {10: limits} if limits else {}
            act = "none"
        self.layers.append(
            Layer(kind=kind, name=prefix, inputs=(source,), outputs=(prefix,), params=params, of=(i, op))
        )
        return self._act(act, f"{prefix}.act", prefix)

    def _act(self, act: str, name: str, source: str) -> str:
        if act == "none":
            return source
        kind, params = _ACT_LAYERS[act]
        return self._layer(kind, name, [source], params, source in self._vectors)

    def _pool(self, op: Pool, node: Node, prefix: str, source: str) -> str:
        """Windows are never left out or added by ncnn itself, which has other rules for the last one than torch."""
        size, out = node.in_shapes[0][1:], node.out_shape[1:]
        ends = [max((m - 1) * op.stride + op.kernel - n - op.padding, 0) for n, m in zip(size, out, strict=True)]
        bottom, right = ends if op.ceil else (op.padding, op.padding)
        kind = _MAX if op.kind == "max" else _AVERAGE
        params = {0: kind, 1: op.kernel, 2: op.stride, 3: op.padding, 13: op.padding, 14: right, 15: bottom, 5: _FLOOR}
        return self._layer("Pooling", prefix, [source], params)

    def _binary(self, kind: int, prefix: str, inputs: list[str]) -> str:
        """A vector (C,) beside a map (C, H, W) counts as one of (C, 1, 1)."""
        return self._layer("BinaryOp", prefix, inputs, {0: kind}, self._vectors.issuperset(inputs))

    def _concat(self, prefix: str, inputs: list[str]) -> str:
        flat = self._vectors.issuperset(inputs)
        sources = inputs if flat else [self._map(each, f"{prefix}.{i}") for i, each in enumerate(inputs)]
        return self._layer("Concat", prefix, sources, {0: 0}, flat)

    def _resize(self, node: Node, prefix: str, source: str) -> str:
        """Bilinear; what has one position, and no neighbours to read, is repeated."""
        _, *size = node.in_shapes[0]
        _, height, width = node.out_shape
        if size == [height, width]:
            return source
        kind = _NEAREST if size == [1, 1] else _BILINEAR
        return self._layer("Interp", prefix, [source], {0: kind, 3: height, 4: width})

    def _map(self, source: str, prefix: str) -> str:
        """`source` as a map, if it is a vector."""
        if source not in self._vectors:
            return source
        return self._layer("Reshape", f"{prefix}.map", [source], {0: 1, 1: 1, 2: -1})

    def _vector(self, kind: str, name: str, source: str, params: Mapping[int, Value] | None = None) -> str:
        return self._layer(kind, name, [source], params or {}, True)

    def _layer(
        self, kind: str, name: str, inputs: Sequence[str], params: Mapping[int, Value], flat: bool = False
    ) -> str:
        self.layers.append(Layer(kind=kind, name=name, inputs=tuple(inputs), outputs=(name,), params=params))
        if flat:
            self._vectors.add(name)
        return name


def with_splits(layers: Sequence[Layer]) -> list[Layer]:
    """`layers` with a Split behind each whose output is read more than once: in ncnn a blob has one reader."""
    readers = Counter(name for layer in layers for name in layer.inputs)
    left = {name: [f"{name}.split{i}" for i in range(n)] for name, n in readers.items() if n > 1}
    made: list[Layer] = []
    for layer in layers:
        made.append(replace(layer, inputs=tuple(left[name].pop(0) if name in left else name for name in layer.inputs)))
        for name in layer.outputs:
            if name in left:
                made.append(Layer(kind="Split", name=f"{name}.split", inputs=(name,), outputs=tuple(left[name])))
    return made
