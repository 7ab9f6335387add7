"""Single layers of any shape, and chains of blocks side by side."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.blocks.fields import check
from search_spaces.ops import Add, Concat, Conv, Expand, Flatten, GlobalPool, Op, Pool, Scale, Upsample

if TYPE_CHECKING:
    from search_spaces.arch import Block

__all__ = ["Branches", "Flat", "GlobalAverage", "PlainConv", "Pooling", "Resample"]

_MAX_BRANCHES = 64
_MAX_BRANCH_BLOCKS = 1000
_MAX_DEPTH = 16


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
class Branches:
    """Chains of blocks side by side on one input, and their outputs joined: GoogLeNet's and Inception's modules,
    SqueezeNet's expansion, the heads of dense prediction. An empty chain hands its input on.

    Args:
        join: ``concat`` along the channels; ``add``; ``gate``: the first times the second, which has one position.
        expand: repeat outputs of one position over those of the first branch before they are concatenated.
    """

    in_ch: int
    branches: tuple[tuple["Block", ...], ...]
    join: str = "concat"
    expand: bool = False

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "branches", tuple(tuple(branch) for branch in self.branches))
        if not 0 < len(self.branches) <= _MAX_BRANCHES or max(map(len, self.branches)) > _MAX_BRANCH_BLOCKS:
            raise ValueError(
                f"Branches: there are {len(self.branches) or 'none'}; give at least one, at most {_MAX_BRANCHES}, "
                f"each of at most {_MAX_BRANCH_BLOCKS} blocks"
            )
        if self._depth() > _MAX_DEPTH:
            raise ValueError(f"Branches: they are nested more than {_MAX_DEPTH} deep")
        for i, branch in enumerate(self.branches):
            in_ch = self.in_ch
            for block in branch:
                if block.in_ch != in_ch:
                    raise ValueError(f"Branches: a block of branch {i} has in_ch {block.in_ch}, but reads {in_ch}")
                in_ch = block.out_ch
        if self.join != "concat" and (len(self.branches) != 2 or len(set(self._widths)) > 1):
            raise ValueError(f"Branches: join={self.join!r} needs two branches of equal channels, not {self._widths}")

    def _depth(self) -> int:
        inner = (block for branch in self.branches for block in branch if isinstance(block, Branches))
        return 1 + max((block._depth() for block in inner), default=0)

    @property
    def _widths(self) -> list[int]:
        return [branch[-1].out_ch if branch else self.in_ch for branch in self.branches]

    @property
    def out_ch(self) -> int:
        return sum(self._widths) if self.join == "concat" else self._widths[0]

    def ops(self) -> tuple[Op, ...]:
        ops: list[Op] = []
        ends = []
        for i, branch in enumerate(self.branches):
            source = "input"
            for j, block in enumerate(branch):
                prefix = f"branch{i}_{j}_"
                for op in block.ops():
                    inputs = tuple(source if name == "input" else prefix + name for name in op.inputs)
                    ops.append(replace(op, name=prefix + op.name, inputs=inputs))
                source = ops[-1].name
            ends.append(source)
        if self.expand:
            for i, end in enumerate(ends[1:], 1):
                ops.append(Expand(name=f"branch{i}_expand", inputs=(end, ends[0])))
                ends[i] = ops[-1].name
        joins = {"concat": Concat, "add": Add, "gate": Scale}
        return (*ops, joins[self.join](name="join", inputs=tuple(ends)))


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
