"""ShuffleNet (arXiv:1707.01083), table 1, and ShuffleNet V2 (arXiv:1807.11164), table 5.

`width` is the papers' scale. V1's channels at 1x are table 1's for each number of groups, times the scale; the stem has
24 channels, 12 at 0.5x (16 with 8 groups, whose first unit could not be grouped otherwise) and 48 at 2x, as in the
authors' code (megvii-model/ShuffleNet-Series). With 2 and 4 groups, 0.5x and 1.5x have widths that their groups do not
divide; the paper does not say how it rounded, and they are refused. V2 follows torchvision, whose down-sampling unit
keeps half of the output channels in each branch; the authors' code keeps the input's, which is up to 1.3 % more.
"""

from collections.abc import Sequence

from search_spaces.arch import Arch, Block, Classifier, ConvBN
from search_spaces.blocks import Pooling, ShuffleUnit, ShuffleUnitV2
from search_spaces.zoo.published import Entry

__all__ = ["ENTRIES"]

_REPEATS = (4, 8, 4)  # units of stages 2, 3, 4, of which the first has stride 2: 56 -> 28 -> 14 -> 7

# groups: channels of the three stages at 1x
_V1 = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
_V1_STEMS = {0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}

# scale: channels of the three stages, and of the last convolution
_V2 = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}


def _stem(out_ch: int) -> list[Block]:
    return [ConvBN(in_ch=3, out_ch=out_ch, kernel=3, stride=2), Pooling(in_ch=out_ch, kernel=3, stride=2, pad=1)]  # 224


def _v1(width: float = 1.0, *, groups: int = 3) -> Arch:
    """ShuffleNet at a scale of 0.5, 1, 1.5 or 2, with 1, 2, 3, 4 or 8 groups."""
    if groups not in _V1:
        raise ValueError(f"groups={groups}: shufflenet_v1 has {', '.join(map(str, _V1))}")
    _check_scale("shufflenet_v1", width, _V1_STEMS)
    if groups in (2, 4) and width in (0.5, 1.5):
        raise ValueError(f"shufflenet_v1 with {groups} groups has widths 1 and 2; at {width:g} they do not divide it")
    blocks = _stem(16 if (width, groups) == (0.5, 8) else _V1_STEMS[width])
    for channels, repeats in zip(_V1[groups], _REPEATS, strict=True):
        out_ch = int(channels * width)
        for i in range(repeats):
            first = 1 if len(blocks) == 2 else groups
            blocks.append(
                ShuffleUnit(
                    in_ch=blocks[-1].out_ch,
                    mid_ch=out_ch // 4,
                    out_ch=out_ch,
                    groups=groups,
                    first_groups=first,
                    stride=2 if i == 0 else 1,
                )
            )
    blocks.append(Classifier(in_ch=blocks[-1].out_ch, out_ch=1000, dropout=0.0))
    name = f"shufflenet_v1 g{groups}" if groups != 3 else "shufflenet_v1"
    return Arch(name=_named(name, width), resolution_px=224, blocks=tuple(blocks))


def _v2(width: float = 1.0) -> Arch:
    """ShuffleNet V2 at a scale of 0.5, 1, 1.5 or 2."""
    _check_scale("shufflenet_v2", width, _V2)
    *stages, last_ch = _V2[width]
    blocks = _stem(24)
    for out_ch, repeats in zip(stages, _REPEATS, strict=True):
        for i in range(repeats):
            blocks.append(ShuffleUnitV2(in_ch=blocks[-1].out_ch, out_ch=out_ch, stride=2 if i == 0 else 1))
    blocks.append(ConvBN(in_ch=stages[-1], out_ch=last_ch, kernel=1))  # 7
    blocks.append(Classifier(in_ch=last_ch, out_ch=1000, dropout=0.0))
    return Arch(name=_named("shufflenet_v2", width), resolution_px=224, blocks=tuple(blocks))


def _check_scale(name: str, width: float, known: Sequence[float] | dict) -> None:
    if width not in known:
        raise ValueError(f"width={width:g}: {name} has the scales {', '.join(f'{x:g}' for x in known)}")


def _named(name: str, width: float) -> str:
    return name if width == 1 else f"{name} {width:g}"


ENTRIES = (
    Entry(
        arch=_v1(),
        scaled=_v1,
        paper="ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, arXiv:1707.01083",
        reference="megvii-model/ShuffleNet-Series, with a bias in the classifier",
        madds_m=137,
        params_m=1.9,
        top1=0.674,
    ),
    Entry(
        arch=_v2(),
        scaled=_v2,
        paper="ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, arXiv:1807.11164",
        reference="torchvision shufflenet_v2_x1_0",
        madds_m=146,
        params_m=2.3,
        top1=0.694,
        differs="the authors' down-sampling unit keeps the input's channels in one branch: 145.8 M",
    ),
)
