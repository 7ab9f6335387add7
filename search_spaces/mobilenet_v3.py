"""TuNAS's MobileNetV3-like search space (arXiv:2008.06120), as published: `mobilenet_v3_like_search` in its code.

A stem convolution and a depthwise-separable layer, 5 stages of 1 to 4 inverted residuals, a 1x1 convolution, pooling,
and a hidden layer without batch norm before the classes. Searched are

    stem            kernel 3, 5
    separable       kernel 3, 5, 7; present or not
    stage layers    kernel 3, 5, 7; expansion 1 .. 6 of the layer's input channels; squeeze-and-excite or not; from the
                    second one on present or not, each by itself
    filters         of the stem (which the separable layer keeps), each stage, the 1x1 convolution (`head`) and the
                    hidden layer: 16, 16, 32, 64, 128, 256, 512, 1024 times 0.5 .. 2, to the nearest multiple of 8

Multipliers that give the same filters are one option (16 has 8, 16, 24, 32). `present` is the source's
``Among([layer, zero])``: index 0 is the layer, 1 leaves it out. The choices are in the source's order, where that of a
layer's presence follows the layer's own, and filters follow the layers that have them. So the `indices` that its tools
print are a point of this space::

    space.decode([int(index) for index in "1:2:0:2: ... :4:4".split(":")])

There are 86 choices and 8.5e42 points; the source says "around 10^43 architectures". Fewer networks differ, 2.0e38:
choices of absent layers change nothing, and layer 3 without layer 2 is the same network as layer 2 without layer 3.

Layers are built as in the source. Expansion 1 keeps its 1x1 convolution. The first layer of a stage has no shortcut,
even between equal channels; all others have one. Squeeze-and-excite has 1/4 of the expanded channels, rounded by
`rewrite.make_divisible`, with ReLU inside and a sigmoid. The first two stages and the separable layer have ReLU,
everything else h-swish. What differs: 1000 classes, not 1001; dropout before them; batch norm's epsilon (`Arch`); and
padding, which is equal on both sides, where TensorFlow's has less above and on the left at stride 2.

MobileNetV3-Large is nearly a point. The space does not have its 112 and 960 filters (but 96 and 128, 768 and 1024), its
expansions of 2.5 and 2.3, and its hard sigmoid.
"""

from typing import Any

from search_spaces.arch import Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.rewrite import make_divisible
from search_spaces.space import Layer, OneOf, SearchSpace, check_skeleton, declare

__all__ = ["mobilenet_v3"]

# base filters, stride of the first layer, activation      input resolution
_STAGES = (
    (16, 2, "relu"),  # 112
    (32, 2, "relu"),  # 56
    (64, 2, "hard_swish"),  # 28
    (128, 1, "hard_swish"),  # 14
    (256, 2, "hard_swish"),  # 14
)
_STEM_CH, _HEAD_CH, _HIDDEN_CH = 16, 512, 1024  # at 112, 7 and 1


def mobilenet_v3(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space.

    Args:
        base_width: scales all base filters before they are multiplied and rounded, so that a small target searches
            small networks. There are at least 8 filters; the narrower, the more multipliers give the same.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or fewer than 2 classes.
    """
    check_skeleton(base_width, resolution_px, classes)

    def filters(name: str, base_ch: int) -> OneOf:
        multiplied = (base_ch * base_width * multiplier for multiplier in (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0))
        return OneOf(f"{name}.filters", sorted({max(8, 8 * int(ch / 8 + 0.5)) for ch in multiplied}))

    def present(name: str) -> OneOf:
        return OneOf(f"{name}.present", (True, False))

    def stage(name: str, base_ch: int, stride: int, act: str) -> list[Layer]:
        out_ch = filters(name, base_ch)
        first = Layer(bottleneck, **_searched(f"{name}.layer1"), out_ch=out_ch, stride=stride, act=act, skip="none")
        return [first] + [
            Layer(bottleneck, **_searched(layer), repeat=present(layer), out_ch=out_ch, act=act, skip="identity")
            for layer in (f"{name}.layer2", f"{name}.layer3", f"{name}.layer4")
        ]

    stem, kernel = filters("stem", _STEM_CH), OneOf("separable.kernel", (3, 5, 7))
    layers = [
        Layer(ConvBN, kernel=OneOf("stem.kernel", (3, 5)), out_ch=stem, stride=2, act="hard_swish"),
        Layer(SepConv, kernel=kernel, repeat=present("separable"), out_ch=stem, act="relu", skip="identity"),
        *(layer for s, of_stage in enumerate(_STAGES, 1) for layer in stage(f"stage{s}", *of_stage)),
        Layer(ConvBN, out_ch=filters("head", _HEAD_CH), kernel=1, act="hard_swish"),
        Layer(Classifier, hidden_ch=filters("hidden", _HIDDEN_CH), out_ch=classes, act="hard_swish"),
    ]
    return declare("mobilenet_v3", layers, resolution_px=resolution_px)


def _searched(layer: str) -> dict[str, Any]:
    """What is chosen for a layer of a stage."""
    options = {"kernel": (3, 5, 7), "expansion": (1, 2, 3, 4, 5, 6), "se": (False, True)}
    return {name: OneOf(f"{layer}.{name}", values) for name, values in options.items()}


def bottleneck(
    in_ch: int, out_ch: int, kernel: int, expansion: int, se: bool, act: str, skip: str, stride: int = 1
) -> Block:
    """An inverted residual; squeeze-and-excite, if there is any, has 1/4 of the expanded channels."""
    mid_ch = in_ch * expansion
    se_ch = make_divisible(mid_ch / 4) if se else 0
    return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, kernel=kernel, stride=stride, act=act, se_ch=se_ch,
                  skip=skip)  # fmt: skip
