"""What MobileNets are made of, and search spaces: convolutions, depthwise-separable ones, inverted residuals."""

from dataclasses import dataclass

from search_spaces.blocks.fields import check
from search_spaces.blocks.graph import shortcut, squeeze_excite
from search_spaces.ops import Conv, Op

__all__ = ["ConvBN", "MBConv", "SepConv"]


@dataclass(frozen=True, kw_only=True)
class ConvBN:
    """Convolution, batch norm, activation; optionally squeeze-and-excite and a shortcut.

    Stems, head convolutions and MnasNet's ConvOp ``conv``.

    Args:
        in_ch, out_ch: channels.
        kernel: odd kernel size.
        stride: 1 or more.
        act: one of `ops.ACTIVATIONS`.
        se_ch: channels of the squeeze-and-excite bottleneck; 0 for none.
        se_act: activation inside squeeze-and-excite, one of `ops.ACTIVATIONS`.
        se_gate: gate of squeeze-and-excite, ``sigmoid`` or ``hard_sigmoid``.
        dilation: distance between the pixels that the kernel reads.
        skip: shortcut: ``none``; ``identity`` (needs stride 1 and in_ch == out_ch); ``pool``, a 3x3 average
            pooling with the block's stride (needs in_ch == out_ch).
    """

    in_ch: int
    out_ch: int
    kernel: int
    stride: int = 1
    act: str = "relu"
    se_ch: int = 0
    se_act: str = "relu"
    se_gate: str = "sigmoid"
    skip: str = "none"
    dilation: int = 1

    def __post_init__(self) -> None:
        check(self)

    @property
    def gated_ch(self) -> int:
        """Channels that the squeeze-and-excite gate multiplies, if the block has one."""
        return self.out_ch

    def ops(self) -> tuple[Op, ...]:
        conv = Conv(
            name="conv",
            inputs=("input",),
            in_ch=self.in_ch,
            out_ch=self.out_ch,
            kernel=self.kernel,
            stride=self.stride,
            dilation=self.dilation,
            act=self.act,
        )
        se = squeeze_excite(conv, self.out_ch, self)
        return (conv, *se, *shortcut(self.skip, (conv, *se)[-1].name, self.stride))


@dataclass(frozen=True, kw_only=True)
class SepConv:
    """Depthwise convolution, batch norm, activation, squeeze-and-excite, then a pointwise convolution, linear or not.

    MnasNet's ConvOp ``sepconv``, the first block of MobileNetV2 and V3, and with ``out_act`` that of MobileNetV1.
    Arguments as `ConvBN`; squeeze-and-excite stands between the two convolutions, on ``in_ch`` channels; ``out_act``
    is the activation after the pointwise one.
    """

    in_ch: int
    out_ch: int
    kernel: int
    stride: int = 1
    act: str = "relu"
    se_ch: int = 0
    se_act: str = "relu"
    se_gate: str = "sigmoid"
    skip: str = "none"
    dilation: int = 1
    out_act: str = "none"

    def __post_init__(self) -> None:
        check(self)

    @property
    def gated_ch(self) -> int:
        """Channels that the squeeze-and-excite gate multiplies, if the block has one."""
        return self.in_ch

    def ops(self) -> tuple[Op, ...]:
        return _depthwise_then_project(self, "input", self.in_ch, self.out_act)


@dataclass(frozen=True, kw_only=True)
class MBConv:
    """Inverted residual block: expansion to ``mid_ch``, depthwise convolution, squeeze-and-excite, linear projection.

    MobileNetV2 (arXiv:1801.04381, figure 3), with squeeze-and-excite on the expansion as in MobileNetV3
    (arXiv:1905.02244, figure 4). Arguments as `ConvBN`.
    """

    in_ch: int
    mid_ch: int
    out_ch: int
    kernel: int
    stride: int = 1
    act: str = "relu"
    se_ch: int = 0
    se_act: str = "relu"
    se_gate: str = "sigmoid"
    skip: str = "none"
    dilation: int = 1

    def __post_init__(self) -> None:
        check(self)

    @property
    def gated_ch(self) -> int:
        """Channels that the squeeze-and-excite gate multiplies, if the block has one."""
        return self.mid_ch

    def ops(self) -> tuple[Op, ...]:
        expand = Conv(name="expand", inputs=("input",), in_ch=self.in_ch, out_ch=self.mid_ch, act=self.act)
        return (expand, *_depthwise_then_project(self, "expand", self.mid_ch))


def _depthwise_then_project(block: SepConv | MBConv, source: str, ch: int, act: str = "none") -> tuple[Op, ...]:
    depthwise = Conv(
        name="depthwise",
        inputs=(source,),
        in_ch=ch,
        out_ch=ch,
        kernel=block.kernel,
        stride=block.stride,
        dilation=block.dilation,
        groups=ch,
        act=block.act,
    )
    se = squeeze_excite(depthwise, ch, block)
    project = Conv(name="project", inputs=((depthwise, *se)[-1].name,), in_ch=ch, out_ch=block.out_ch, act=act)
    return (depthwise, *se, project, *shortcut(block.skip, "project", block.stride))
