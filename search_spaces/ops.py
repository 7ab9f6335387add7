"""The primitive operators that blocks are made of.

A block is a small graph of named operators. Everything that is derived from a block (shapes, cost,
torch module, ONNX graph, calibration features) walks this graph, so that a new kind of block is
written in one place and nowhere else.

An operator reads the outputs of the operators named in ``inputs``; the name ``"input"`` is the
block's own input. The last operator's output is the block's output. Shapes are ``(C, H, W)``.
"""

from dataclasses import dataclass
from math import prod

__all__ = [
    "ACTIVATIONS",
    "PADDINGS",
    "POOLS",
    "Act",
    "Add",
    "Concat",
    "Conv",
    "Dropout",
    "Expand",
    "Flatten",
    "GlobalPool",
    "Linear",
    "Op",
    "Pool",
    "Scale",
    "Shape",
    "Shuffle",
    "Slice",
    "Upsample",
]

Shape = tuple[int, int, int]

ACTIVATIONS = ("none", "relu", "relu6", "hard_swish", "swish", "sigmoid", "hard_sigmoid")
POOLS = ("avg", "max")
PADDINGS = ("symmetric", "tensorflow")


@dataclass(frozen=True, kw_only=True)
class Conv:
    """2-d convolution, then batch norm or a bias, then an activation.

    Attributes:
        kernel: size, one number or (height, width).
        pad: zeros on every side; None: "same" for odd kernels, ``dilation * (kernel - 1) // 2``.
        dilation: distance between the pixels that the kernel reads.
        norm: batch norm; without it there is a bias.
        bias: whether there is a bias besides batch norm.
    """

    name: str
    inputs: tuple[str, ...]
    in_ch: int
    out_ch: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    pad: int | None = None
    dilation: int = 1
    groups: int = 1
    norm: bool = True
    bias: bool = False
    act: str = "none"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel

    @property
    def padding(self) -> tuple[int, int]:
        """Rows above and below, columns left and right."""
        if self.pad is not None:
            return self.pad, self.pad
        height, width = self.size
        return self.dilation * (height - 1) // 2, self.dilation * (width - 1) // 2

    def zeros(self, x: Shape, padding: str) -> tuple[int, int, int, int]:
        """Rows of zeros above, columns left, rows below, columns right of an input `x`.

        Both kinds of padding give the same output size. TensorFlow's ``SAME`` pads so much that ``ceil(n / stride)``
        positions come out, and where that is odd one more at the end; strides of 1 make no difference.

        Args:
            padding: one of `PADDINGS`.
        """
        if padding == "symmetric" or self.pad is not None:
            top, left = self.padding
            return top, left, top, left
        before, after = [], []
        for n, kernel in zip(x[1:], self.size, strict=True):
            whole = max((-(-n // self.stride) - 1) * self.stride + self.dilation * (kernel - 1) + 1 - n, 0)
            before.append(whole // 2)
            after.append(whole - whole // 2)
        return (*before, *after)  # type: ignore[return-value]

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered by itself."""
        return self.groups == self.in_ch == self.out_ch > 1

    def out_shape(self, x: Shape) -> Shape:
        def length(n: int, kernel: int, pad: int) -> int:
            return (n + 2 * pad - self.dilation * (kernel - 1) - 1) // self.stride + 1

        return (self.out_ch, *(length(n, k, p) for n, k, p in zip(x[1:], self.size, self.padding, strict=True)))  # type: ignore[return-value]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Fully connected layer with bias on the flattened ``(C, H, W)`` input, then an activation.

    ``in_ch`` is C·H·W.
    """

    name: str
    inputs: tuple[str, ...]
    in_ch: int
    out_ch: int
    act: str = "none"

    def out_shape(self, x: Shape) -> Shape:
        if prod(x) != self.in_ch:
            raise ValueError(f"{self.name} is for {self.in_ch} values, not for a map of {x[0]}x{x[1]}x{x[2]}")
        return (self.out_ch, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Average pooling, in which padded zeros are not counted, or max pooling.

    Attributes:
        kind: one of `POOLS`.
        pad: on every side; None: "same" for odd kernels, ``(kernel - 1) // 2``.
        ceil: whether a window that lies only partly on the image gives an output too.
    """

    name: str
    inputs: tuple[str, ...]
    kernel: int
    stride: int
    kind: str = "avg"
    pad: int | None = None
    ceil: bool = False

    @property
    def padding(self) -> int:
        return (self.kernel - 1) // 2 if self.pad is None else self.pad

    def out_shape(self, x: Shape) -> Shape:
        return (x[0], self._size(x[1]), self._size(x[2]))

    def _size(self, n: int) -> int:
        span = n + 2 * self.padding - self.kernel
        size = (-(-span // self.stride) if self.ceil else span // self.stride) + 1
        return size - 1 if self.ceil and (size - 1) * self.stride >= n + self.padding else size  # as torch does it


@dataclass(frozen=True, kw_only=True)
class GlobalPool:
    """Average over all positions: ``(C, H, W) -> (C, 1, 1)``, ``flat`` as a vector, as the output of a network."""

    name: str
    inputs: tuple[str, ...]
    flat: bool = False

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
class Act:
    """An activation that stands by itself."""

    name: str
    inputs: tuple[str, ...]
    act: str

    def out_shape(self, x: Shape) -> Shape:
        return x


@dataclass(frozen=True, kw_only=True)
class Concat:
    """Tensors of one height and width, one after the other along the channels."""

    name: str
    inputs: tuple[str, ...]

    def out_shape(self, *x: Shape) -> Shape:
        if len({one[1:] for one in x}) > 1:
            raise ValueError(f"{self.name} cannot join maps of {' and '.join(f'{h}x{w}' for _, h, w in x)}")
        return (sum(channels for channels, _, _ in x), *x[0][1:])


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The channels ``start`` to below ``stop``."""

    name: str
    inputs: tuple[str, ...]
    start: int
    stop: int

    def out_shape(self, x: Shape) -> Shape:
        return (self.stop - self.start, *x[1:])


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """Channels of ``groups`` groups interleaved, one of each in turn (ShuffleNet, arXiv:1707.01083, figure 1)."""

    name: str
    inputs: tuple[str, ...]
    groups: int

    def out_shape(self, x: Shape) -> Shape:
        return x


@dataclass(frozen=True, kw_only=True)
class Upsample:
    """Bilinear interpolation to ``factor`` times the height and width, pixels being areas (``align_corners=False``)."""

    name: str
    inputs: tuple[str, ...]
    factor: int

    def out_shape(self, x: Shape) -> Shape:
        return (x[0], x[1] * self.factor, x[2] * self.factor)


@dataclass(frozen=True, kw_only=True)
class Expand:
    """``(C, 1, 1)`` repeated over the height and width of a second tensor."""

    name: str
    inputs: tuple[str, ...]

    def out_shape(self, x: Shape, like: Shape) -> Shape:
        return (x[0], *like[1:])


@dataclass(frozen=True, kw_only=True)
class Flatten:
    """``(C, H, W) -> (C·H·W, 1, 1)``."""

    name: str
    inputs: tuple[str, ...]

    def out_shape(self, x: Shape) -> Shape:
        return (prod(x), 1, 1)


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


Op = (
    Conv
    | Linear
    | Pool
    | GlobalPool
    | Add
    | Act
    | Concat
    | Slice
    | Shuffle
    | Upsample
    | Expand
    | Flatten
    | Scale
    | Dropout
)
