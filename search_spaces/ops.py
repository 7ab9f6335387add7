"""The primitive operators that blocks are made of.

A block is a small graph of named operators. Everything that is derived from a block (shapes, cost,
torch module, ONNX graph, calibration features) walks this graph, so that a new kind of block is
written in one place and nowhere else.

An operator reads the outputs of the operators named in ``inputs``; the name ``"input"`` is the
block's own input. The last operator's output is the block's output. Shapes are ``(C, H, W)``.
"""

from dataclasses import dataclass

__all__ = [
    "ACTIVATIONS",
    "Add",
    "Conv",
    "Dropout",
    "GlobalPool",
    "Linear",
    "Op",
    "Pool",
    "Scale",
    "Shape",
]

Shape = tuple[int, int, int]

ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "swish", "sigmoid", "hard_sigmoid")


@dataclass(frozen=True, kw_only=True)
class Conv:
    """2-d convolution with "same" padding ``(kernel - 1) // 2``, then batch norm or a bias, then an activation."""

    name: str
    inputs: tuple[str, ...]
    in_ch: int
    out_ch: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    norm: bool = True
    act: str = "none"

    @property
    def padding(self) -> int:
        return (self.kernel - 1) // 2

    def out_shape(self, x: Shape) -> Shape:
        def size(n: int) -> int:
            return (n + 2 * self.padding - self.kernel) // self.stride + 1

        return (self.out_ch, size(x[1]), size(x[2]))


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Fully connected layer with bias on the flattened ``(C, 1, 1)`` input, then an activation."""

    name: str
    inputs: tuple[str, ...]
    in_ch: int
    out_ch: int
    act: str = "none"

    def out_shape(self, x: Shape) -> Shape:
        return (self.out_ch, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Average pooling with "same" padding; padded zeros are not counted."""

    name: str
    inputs: tuple[str, ...]
    kernel: int
    stride: int

    def out_shape(self, x: Shape) -> Shape:
        pad = (self.kernel - 1) // 2
        return (x[0], *((n + 2 * pad - self.kernel) // self.stride + 1 for n in x[1:]))  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class GlobalPool:
    """Average over all positions: ``(C, H, W) -> (C, 1, 1)``."""

    name: str
    inputs: tuple[str, ...]

    def out_shape(self, x: Shape) -> Shape:
        return (x[0], 1, 1)


@dataclass(frozen=True, kw_only=True)
class Add:
    """Sum of two tensors of one shape."""

    name: str
    inputs: tuple[str, ...]

    def out_shape(self, x: Shape, y: Shape) -> Shape:
        return x


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Multiplies ``(C, H, W)`` by ``(C, 1, 1)``."""

    name: str
    inputs: tuple[str, ...]

    def out_shape(self, x: Shape, gate: Shape) -> Shape:
        return x


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Dropout while training, nothing otherwise (it is left out of ONNX graphs)."""

    name: str
    inputs: tuple[str, ...]
    rate: float

    def out_shape(self, x: Shape) -> Shape:
        return x


Op = Conv | Linear | Pool | GlobalPool | Add | Scale | Dropout
