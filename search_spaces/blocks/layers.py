"""Single layers of any shape."""

from dataclasses import dataclass

from search_spaces.blocks.fields import check
from search_spaces.ops import Conv, Flatten, GlobalPool, Op, Pool, Upsample

__all__ = ["Flat", "GlobalAverage", "PlainConv", "Pooling", "Resample"]


@dataclass(frozen=True, kw_only=True)
class PlainConv:
    """Convolution of any shape and padding, with batch norm or, without it, a bias; then an activation.

    VGG, AlexNet, GoogLeNet, Inception, SqueezeNet.

    Args:
        kernel: size; ``kernel_w`` is its width where that differs from the height.
        pad: zeros on every side; None: half the kernel, rounded down, along each side.
        groups: of the channels.
        norm: batch norm instead of a bias.
    """

    in_ch: int
    out_ch: int
    kernel: int
    kernel_w: int | None = None
    stride: int = 1
    pad: int | None = None
    groups: int = 1
    norm: bool = True
    act: str = "relu"

    def __post_init__(self) -> None:
        check(self)
        if self.in_ch % self.groups or self.out_ch % self.groups:
            raise ValueError(
                f"PlainConv: {self.in_ch} and {self.out_ch} channels cannot be convolved in {self.groups} groups"
            )

    def ops(self) -> tuple[Op, ...]:
        conv = Conv(
            name="conv",
            inputs=("input",),
            in_ch=self.in_ch,
            out_ch=self.out_ch,
            kernel=(self.kernel, self.kernel if self.kernel_w is None else self.kernel_w),
            stride=self.stride,
            pad=self.pad,
            groups=self.groups,
            norm=self.norm,
            act=self.act,
        )
        return (conv,)


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """Pooling with a window; arguments as `ops.Pool`."""

    in_ch: int
    kernel: int
    stride: int
    kind: str = "max"
    pad: int = 0
    ceil: bool = False

    def __post_init__(self) -> None:
        check(self)

    @property
    def out_ch(self) -> int:
        return self.in_ch

    def ops(self) -> tuple[Op, ...]:
        pool = Pool(
            name="pool",
            inputs=("input",),
            kernel=self.kernel,
            stride=self.stride,
            kind=self.kind,
            pad=self.pad,
            ceil=self.ceil,
        )
        return (pool,)


@dataclass(frozen=True, kw_only=True)
class Resample:
    """Bilinear interpolation to ``factor`` times the size."""

    in_ch: int
    factor: int

    def __post_init__(self) -> None:
        check(self)

    @property
    def out_ch(self) -> int:
        return self.in_ch

    def ops(self) -> tuple[Op, ...]:
        return (Upsample(name="upsample", inputs=("input",), factor=self.factor),)


@dataclass(frozen=True, kw_only=True)
class GlobalAverage:
    """The average over all positions, as a map of one."""

    in_ch: int

    def __post_init__(self) -> None:
        check(self)

    @property
    def out_ch(self) -> int:
        return self.in_ch

    def ops(self) -> tuple[Op, ...]:
        return (GlobalPool(name="pool", inputs=("input",)),)


@dataclass(frozen=True, kw_only=True)
class Flat:
    """A map of ``size_px`` x ``size_px`` as one long vector: what a detector's head hands on."""

    in_ch: int
    size_px: int

    def __post_init__(self) -> None:
        check(self)

    @property
    def out_ch(self) -> int:
        return self.in_ch * self.size_px**2

    def ops(self) -> tuple[Op, ...]:
        return (Flatten(name="flat", inputs=("input",)),)
