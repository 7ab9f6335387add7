"""`Block` and `Arch`: a network as a frozen, hashable value.

Channel counts are explicit (``in_ch``, ``mid_ch``, ``out_ch``, ``se_ch``), never ratios, so that a
narrowed network is just another `Arch`. A block knows the operators it is made of (`Block.ops`) and
nothing about shapes, tensors or files.
"""

from dataclasses import dataclass, field
from typing import Any, get_args

from search_spaces.blocks import (
    Bottleneck,
    Branches,
    ConvClassifier,
    DenseClassifier,
    Flat,
    GlobalAverage,
    MixedMBConv,
    PartialMBConv,
    PlainConv,
    Pooling,
    Resample,
    ShuffleUnit,
    ShuffleUnitV2,
)
from search_spaces.ops import Conv, Dropout, GlobalPool, Linear, Op
from search_spaces.parts import MAX_SIZE_PX, SKIPS, check, check_text, shortcut, squeeze_excite

__all__ = [
    "BLOCKS",
    "MAX_BLOCKS",
    "SKIPS",
    "Arch",
    "Block",
    "Classifier",
    "ConvBN",
    "MBConv",
    "Mobile",
    "SepConv",
    "check_resolution",
]

MAX_BLOCKS = 10_000


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


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """Global average pooling, an optional hidden layer without batch norm, dropout, and a linear layer.

    ``hidden_ch`` is MobileNetV3's efficient last stage ("conv2d 1x1, NBN"); 0 for none. ``out_ch`` is the number of
    classes.
    """

    in_ch: int
    out_ch: int
    hidden_ch: int = 0
    act: str = "hard_swish"
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check(self)

    def ops(self) -> tuple[Op, ...]:
        pool = GlobalPool(name="pool", inputs=("input",))
        features, last = self.in_ch, "pool"
        hidden: tuple[Op, ...] = ()
        if self.hidden_ch:
            hidden = (Linear(name="hidden", inputs=("pool",), in_ch=self.in_ch, out_ch=self.hidden_ch, act=self.act),)
            features, last = self.hidden_ch, "hidden"
        return (
            pool,
            *hidden,
            Dropout(name="dropout", inputs=(last,), rate=self.dropout),
            Linear(name="linear", inputs=("dropout",), in_ch=features, out_ch=self.out_ch),
        )


Block = (
    ConvBN
    | SepConv
    | MBConv
    | Classifier
    | MixedMBConv
    | PartialMBConv
    | ShuffleUnit
    | ShuffleUnitV2
    | Bottleneck
    | PlainConv
    | Pooling
    | Branches
    | DenseClassifier
    | ConvClassifier
    | Resample
    | GlobalAverage
    | Flat
)

Mobile = ConvBN | SepConv | MBConv  # what search spaces are made of, and NetAdapt narrows

BLOCKS: dict[str, type[Block]] = {cls.__name__: cls for cls in get_args(Block)}


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A whole network: blocks in order, and the resolution it is run at.

    Two networks are equal if they compute the same thing: the name takes no part in comparison.

    Up to 10,000 blocks, 1,000,000 channels and 65,536 px: what is larger is a mistake, and would be found out when the
    memory is full.

    Attributes:
        norm_eps: what batch norm adds to every variance. torch's default stands for all networks here, which are
            trained with it. Weights from TensorFlow's MobileNets, MnasNet and EfficientNet, and from torchvision's
            MobileNetV3, were trained with 1e-3: give them ``replace(arch, norm_eps=1e-3)``.

    Raises:
        ValueError: no blocks or too many, a resolution that is no whole number of at least 1, blocks whose channels do
            not fit together, a name that is no text on one line, or an epsilon that is no small positive number.
    """

    name: str = field(compare=False)
    resolution_px: int
    blocks: tuple[Block, ...]
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_text(self.name, "a network's name")
        object.__setattr__(self, "blocks", tuple(self.blocks))
        if not 0 < len(self.blocks) <= MAX_BLOCKS:
            count = len(self.blocks) or "no"
            raise ValueError(f"network {self.name!r} has {count} blocks; give at least one and at most {MAX_BLOCKS}")
        check_resolution(self.resolution_px, of=f"network {self.name!r}: ")
        if not isinstance(self.norm_eps, float) or not 0 < self.norm_eps < 1:
            raise ValueError(f"network {self.name!r}: norm_eps is {self.norm_eps!r}; allowed: 0 < norm_eps < 1")
        for i, (before, after) in enumerate(zip(self.blocks, self.blocks[1:], strict=False)):
            if before.out_ch != after.in_ch:
                raise ValueError(
                    f"network {self.name!r}: block {i} has out_ch {before.out_ch} but block {i + 1} "
                    f"has in_ch {after.in_ch}; they must be equal"
                )

    @property
    def in_ch(self) -> int:
        """Channels of the input image."""
        return self.blocks[0].in_ch

    @property
    def classes(self) -> int:
        """Outputs of the last block."""
        return self.blocks[-1].out_ch


def check_resolution(resolution_px: Any, *, of: str = "") -> None:
    """Refuses what is not the height and width of a square image.

    Args:
        of: what stands before the name in the message.
    """
    if type(resolution_px) is not int or not 1 <= resolution_px <= MAX_SIZE_PX:
        raise ValueError(
            f"{of}resolution_px is {resolution_px!r}; it must be at least 1 and at most {MAX_SIZE_PX}, "
            "one whole number: images are square"
        )


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
