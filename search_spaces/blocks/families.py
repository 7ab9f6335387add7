"""Blocks of the families around MobileNet: bottlenecks, shuffled groups, mixed kernels."""

from dataclasses import dataclass, replace
from typing import Any

from search_spaces.blocks.fields import check
from search_spaces.blocks.graph import shortcut, squeeze_excite
from search_spaces.ops import Act, Add, Concat, Conv, Op, Pool, Shuffle, Slice

__all__ = ["Bottleneck", "MixedMBConv", "PartialMBConv", "ShuffleUnit", "ShuffleUnitV2"]

_MAX_KERNELS = 64


@dataclass(frozen=True, kw_only=True)
class Bottleneck:
    """ResNet's bottleneck (arXiv:1512.03385), stride on its middle convolution, optionally with squeeze-and-excite.

    The shortcut is the input, or where shapes differ a 1x1 convolution of it.
    """

    in_ch: int
    mid_ch: int
    out_ch: int
    kernel: int = 3
    stride: int = 1
    act: str = "relu"
    se_ch: int = 0
    se_act: str = "relu"
    se_gate: str = "sigmoid"

    def __post_init__(self) -> None:
        check(self)

    @property
    def gated_ch(self) -> int:
        """Channels that the squeeze-and-excite gate multiplies, if the block has one."""
        return self.out_ch

    def ops(self) -> tuple[Op, ...]:
        reduce = Conv(name="reduce", inputs=("input",), in_ch=self.in_ch, out_ch=self.mid_ch, act=self.act)
        conv = Conv(
            name="conv",
            inputs=("reduce",),
            in_ch=self.mid_ch,
            out_ch=self.mid_ch,
            kernel=self.kernel,
            stride=self.stride,
            act=self.act,
        )
        expand = Conv(name="expand", inputs=("conv",), in_ch=self.mid_ch, out_ch=self.out_ch)
        se = squeeze_excite(expand, self.out_ch, self)
        last = (expand, *se)[-1].name
        same = self.stride == 1 and self.in_ch == self.out_ch
        project = Conv(name="shortcut", inputs=("input",), in_ch=self.in_ch, out_ch=self.out_ch, stride=self.stride)
        add = Add(name="residual", inputs=(last, "input" if same else "shortcut"))
        return (reduce, conv, expand, *se, *(() if same else (project,)), add, _act(self.act, "residual"))


@dataclass(frozen=True, kw_only=True)
class ShuffleUnit:
    """ShuffleNet's unit (arXiv:1707.01083, figure 2): grouped pointwise convolutions around a channel shuffle.

    With stride 1 the branch is added to the input; with stride 2 it is concatenated to the input's 3x3 average pooling.

    Args:
        groups: of both pointwise convolutions and the shuffle.
        first_groups: of the first one, where it differs (1 in the network's first unit).
    """

    in_ch: int
    mid_ch: int
    out_ch: int
    groups: int
    first_groups: int
    kernel: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check(self)
        if self.stride == 1 and self.in_ch != self.out_ch:
            raise ValueError(f"ShuffleUnit: stride 1 needs in_ch == out_ch, not {self.in_ch} and {self.out_ch}")
        made = self.out_ch - self.in_ch if self.stride > 1 else self.out_ch
        if made < 1:
            raise ValueError(f"ShuffleUnit: stride {self.stride} needs out_ch above in_ch, which is {self.in_ch}")
        for a, b, n in ((self.in_ch, self.mid_ch, self.first_groups), (self.mid_ch, made, self.groups)):
            if a % n or b % n:
                raise ValueError(f"ShuffleUnit: {a} and {b} channels cannot be convolved in {n} groups")

    def ops(self) -> tuple[Op, ...]:
        reduce = Conv(
            name="reduce",
            inputs=("input",),
            in_ch=self.in_ch,
            out_ch=self.mid_ch,
            groups=self.first_groups,
            act="relu",
        )
        shuffle = (Shuffle(name="shuffle", inputs=("reduce",), groups=self.groups),) if self.groups > 1 else ()
        source = (reduce, *shuffle)[-1].name
        depthwise = _depthwise("depthwise", source, self.mid_ch, self.kernel, self.stride)
        made = self.out_ch - self.in_ch if self.stride > 1 else self.out_ch
        expand = Conv(
            name="expand",
            inputs=("depthwise",),
            in_ch=self.mid_ch,
            out_ch=made,
            groups=self.groups,
            act="relu" if self.stride > 1 else "none",
        )
        if self.stride == 1:
            joined: tuple[Op, ...] = (Add(name="residual", inputs=("expand", "input")), _act("relu", "residual"))
        else:
            pool = Pool(name="shortcut", inputs=("input",), kernel=3, stride=self.stride)
            joined = (pool, Concat(name="concat", inputs=("shortcut", "expand")))
        return (reduce, *shuffle, depthwise, expand, *joined)


@dataclass(frozen=True, kw_only=True)
class ShuffleUnitV2:
    """ShuffleNetV2's unit (arXiv:1807.11164, figure 3 c and d): channel split, one branch, concatenation, shuffle.

    With stride 2 nothing is split: both branches read the whole input.
    """

    in_ch: int
    out_ch: int
    kernel: int = 3
    stride: int = 1

    def __post_init__(self) -> None:
        check(self)
        if self.out_ch % 2 or (self.stride == 1 and self.in_ch != self.out_ch):
            raise ValueError(
                f"ShuffleUnitV2: out_ch is {self.out_ch}, in_ch {self.in_ch}; out_ch must be even, and equal to in_ch "
                "with stride 1"
            )

    def ops(self) -> tuple[Op, ...]:
        half = self.out_ch // 2
        if self.stride == 1:
            first: tuple[Op, ...] = (
                Slice(name="kept", inputs=("input",), start=0, stop=half),
                Slice(name="other", inputs=("input",), start=half, stop=self.in_ch),
            )
            source, source_ch = "other", half
        else:
            first = (
                _depthwise("kept_depthwise", "input", self.in_ch, self.kernel, self.stride),
                Conv(name="kept", inputs=("kept_depthwise",), in_ch=self.in_ch, out_ch=half, act="relu"),
            )
            source, source_ch = "input", self.in_ch
        return (
            *first,
            Conv(name="reduce", inputs=(source,), in_ch=source_ch, out_ch=half, act="relu"),
            _depthwise("depthwise", "reduce", half, self.kernel, self.stride),
            Conv(name="expand", inputs=("depthwise",), in_ch=half, out_ch=half, act="relu"),
            Concat(name="concat", inputs=("kept", "expand")),
            Shuffle(name="shuffle", inputs=("concat",), groups=2),
        )


@dataclass(frozen=True, kw_only=True)
class MixedMBConv:
    """An inverted residual block whose depthwise convolution has several kernel sizes, each on its share of the
    channels (MixConv, arXiv:1907.09595), and whose pointwise ones may be grouped (MixNet, FBNet).

    Arguments as `mobile.MBConv`, and:

    Args:
        kernels: odd kernel sizes; the expansion is split evenly among them, the first gets what remains.
        expand_groups, project_groups: groups of the pointwise convolutions.
        shuffle: whether the groups of the expansion are shuffled (FBNet).
    """

    in_ch: int
    mid_ch: int
    out_ch: int
    kernels: tuple[int, ...]
    stride: int = 1
    act: str = "relu"
    se_ch: int = 0
    se_act: str = "relu"
    se_gate: str = "sigmoid"
    skip: str = "none"
    expand_groups: int = 1
    project_groups: int = 1
    shuffle: bool = False

    def __post_init__(self) -> None:
        check(self)
        listed = isinstance(self.kernels, tuple | list) and 0 < len(self.kernels) <= min(self.mid_ch, _MAX_KERNELS)
        if not listed or any(type(k) is not int or not 0 < k < 4096 or k % 2 == 0 for k in self.kernels):
            raise ValueError(
                f"MixedMBConv: kernels are {self.kernels}; give odd whole numbers below 4096, at least one and at most "
                f"mid_ch or {_MAX_KERNELS}"
            )
        object.__setattr__(self, "kernels", tuple(self.kernels))
        for a, b, n in (
            (self.in_ch, self.mid_ch, self.expand_groups),
            (self.mid_ch, self.out_ch, self.project_groups),
        ):
            if type(n) is not int or n < 1 or a % n or b % n:
                raise ValueError(f"MixedMBConv: {a} and {b} channels cannot be convolved in {n} groups")

    @property
    def gated_ch(self) -> int:
        """Channels that the squeeze-and-excite gate multiplies, if the block has one."""
        return self.mid_ch

    def ops(self) -> tuple[Op, ...]:
        expand: Op = Conv(
            name="expand",
            inputs=("input",),
            in_ch=self.in_ch,
            out_ch=self.mid_ch,
            groups=self.expand_groups,
            act=self.act,
        )
        ops: list[Op] = [expand]
        if self.shuffle:
            ops.append(Shuffle(name="shuffle", inputs=("expand",), groups=self.expand_groups))
        source = ops[-1].name
        if len(self.kernels) == 1:
            ops.append(_depthwise("depthwise", source, self.mid_ch, self.kernels[0], self.stride, self.act))
        else:
            share, start, parts = self.mid_ch // len(self.kernels), 0, []
            for i, kernel in enumerate(self.kernels):
                stop = start + share + (self.mid_ch % len(self.kernels) if i == 0 else 0)
                ops.append(Slice(name=f"part{i}", inputs=(source,), start=start, stop=stop))
                ops.append(_depthwise(f"depthwise{i}", f"part{i}", stop - start, kernel, self.stride, self.act))
                parts.append(f"depthwise{i}")
                start = stop
            ops.append(Concat(name="depthwise", inputs=tuple(parts)))
        ops += squeeze_excite(ops[-1], self.mid_ch, self)
        project = Conv(
            name="project",
            inputs=(ops[-1].name,),
            in_ch=self.mid_ch,
            out_ch=self.out_ch,
            groups=self.project_groups,
        )
        return (*ops, project, *shortcut(self.skip, "project", self.stride))


@dataclass(frozen=True, kw_only=True)
class PartialMBConv:
    """ReXNet's linear bottleneck (arXiv:2007.00992): swish after the expansion, ReLU6 after squeeze-and-excite, which
    has a batch norm inside, and with stride 1 the input added to the *first* ``in_ch`` channels of the output.

    An expansion as wide as the input is left out.
    """

    in_ch: int
    mid_ch: int
    out_ch: int
    kernel: int = 3
    stride: int = 1
    se_ch: int = 0

    def __post_init__(self) -> None:
        check(self)

    @property
    def gated_ch(self) -> int:
        """Channels that the squeeze-and-excite gate multiplies, if the block has one."""
        return self.mid_ch

    def ops(self) -> tuple[Op, ...]:
        ops: list[Op] = []
        if self.mid_ch != self.in_ch:
            ops.append(Conv(name="expand", inputs=("input",), in_ch=self.in_ch, out_ch=self.mid_ch, act="swish"))
        ops.append(_depthwise("depthwise", "expand" if ops else "input", self.mid_ch, self.kernel, self.stride))
        if self.se_ch:
            for op in squeeze_excite(ops[-1], self.mid_ch, _Gate(self.se_ch)):
                if isinstance(op, Conv) and op.name == "se_reduce":
                    op = replace(op, norm=True, bias=True)
                ops.append(op)
        ops.append(_act("relu6", ops[-1].name))
        ops.append(Conv(name="project", inputs=("act",), in_ch=self.mid_ch, out_ch=self.out_ch))
        if self.stride == 1 and self.in_ch < self.out_ch:
            ops += [
                Slice(name="first", inputs=("project",), start=0, stop=self.in_ch),
                Slice(name="others", inputs=("project",), start=self.in_ch, stop=self.out_ch),
                Add(name="residual", inputs=("first", "input")),
                Concat(name="concat", inputs=("residual", "others")),
            ]
        elif self.stride == 1 and self.in_ch == self.out_ch:
            ops.append(Add(name="residual", inputs=("project", "input")))
        return tuple(ops)


@dataclass(frozen=True)
class _Gate:
    se_ch: int
    se_act: str = "relu"
    se_gate: str = "sigmoid"


def _depthwise(name: str, source: str, ch: int, kernel: int, stride: int, act: str = "none") -> Conv:
    settings: dict[str, Any] = {"in_ch": ch, "out_ch": ch, "groups": ch, "kernel": kernel, "stride": stride}
    return Conv(name=name, inputs=(source,), act=act, **settings)


def _act(act: str, source: str) -> Act:
    return Act(name="act", inputs=(source,), act=act)
