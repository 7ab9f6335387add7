"""The factorized hierarchical search space of MnasNet (arXiv:1807.11626, section 4.1).

A network is 7 blocks of identical layers on MobileNetV2's skeleton. Each block chooses

    ConvOp          conv, sepconv (depthwise-separable), mbconv3, mbconv6
    kernel          3, 5
    SE ratio        0, 0.25 of the layer's input channels
    SkipOp          pool, identity, none
    filters         0.75, 1.0, 1.25 of MobileNetV2's
    layers          -1, 0, +1 relative to MobileNetV2's

which are 4 * 2 * 2 * 3 * 3 * 3 = 432 options, the paper's number, and 432^7 = 2.8e18 points. Some are the same network,
as all options of a block that is left out.

What the paper leaves open, and what stands here:

- Blocks 1 and 7 have one layer in MobileNetV2; with -1 they have none and the block is left out (both have stride 1).
- *pool* adds a 3x3 average pooling of the layer's input (with the layer's stride) wherever input and
  output channels are equal; *identity* adds the input itself where also the stride is 1.
- MnasNet-A1 itself is not a point of the space: its 112 filters are 1.17 of MobileNetV2's 96.
"""

from collections.abc import Callable
from functools import partial

from search_spaces.arch import Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.rewrite import make_divisible
from search_spaces.space import Layer, OneOf, SearchSpace, check_skeleton, declare
from search_spaces.zoo.mobilenet_v2 import STAGES

__all__ = ["head", "layer", "mbconv", "mnasnet"]


def mnasnet(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space over MobileNetV2 with the width multiplier `base_width`.

    Args:
        base_width: scales the stem and every block's filters (rounded to multiples of 8), as MobileNetV2's width
            multiplier does, so that a small target searches small networks. The 1280-channel head is widened by
            values above 1 and left alone by values below.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or fewer than 2 classes.
    """
    check_skeleton(base_width, resolution_px, classes)
    ops = {"conv": ConvBN, "sepconv": SepConv, "mbconv3": partial(mbconv, 3), "mbconv6": partial(mbconv, 6)}
    blocks = [
        Layer(
            layer,
            kind=OneOf(f"block{b}.op", ops),
            kernel=OneOf(f"block{b}.kernel", (3, 5)),
            se=OneOf(f"block{b}.se", (0.0, 0.25)),
            skip=OneOf(f"block{b}.skip", ("pool", "identity", "none"), largest="identity"),
            out_ch=OneOf(f"block{b}.filters", {m: make_divisible(ch * base_width * m) for m in (0.75, 1.0, 1.25)}),
            repeat=OneOf(f"block{b}.layers", {more: layers + more for more in (-1, 0, 1)}),
            stride=stride,
        )
        for b, (layers, _, ch, _, stride, _) in enumerate(STAGES, 1)
    ]
    stem = Layer(ConvBN, out_ch=make_divisible(32 * base_width), kernel=3, stride=2)
    last = Layer(head, mid_ch=make_divisible(1280 * max(1.0, base_width)), classes=classes)
    return declare("mnasnet", [stem, *blocks, last], resolution_px=resolution_px)


def layer(in_ch: int, kind: Callable[..., Block], out_ch: int, kernel: int, se: float, skip: str, stride: int) -> Block:
    """One layer of MnasNet.

    Args:
        kind: `ConvBN`, `SepConv`, or `mbconv` with its expansion.
        se: squeeze-and-excite's channels, as a share of the layer's input channels; 0 for none.
        skip: shortcut, where shapes allow it.
    """
    if in_ch != out_ch or (skip == "identity" and stride != 1):
        skip = "none"
    se_ch = max(1, int(in_ch * se)) if se else 0
    return kind(in_ch=in_ch, out_ch=out_ch, kernel=kernel, stride=stride, se_ch=se_ch, skip=skip)


def mbconv(expansion: int, *, in_ch: int, out_ch: int, kernel: int, stride: int, se_ch: int, skip: str) -> Block:
    """An inverted residual with `expansion` times its input channels."""
    return MBConv(
        in_ch=in_ch, mid_ch=expansion * in_ch, out_ch=out_ch, kernel=kernel, stride=stride, se_ch=se_ch, skip=skip
    )


def head(in_ch: int, mid_ch: int, classes: int) -> tuple[Block, ...]:
    """A 1x1 convolution to `mid_ch` channels and the classes."""
    return ConvBN(in_ch=in_ch, out_ch=mid_ch, kernel=1), Classifier(in_ch=mid_ch, out_ch=classes)
