"""EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv:1905.11946), table 1; and Lite.

Squeeze-and-excite has 1/4 of the block's *input* channels and swish inside, as in the official code. Lite0 is B0
without it and with ReLU6, for runtimes and accelerators that lack the one and the other; Lite1 and Lite2 are deeper and
wider, but for the first and the last stage's depth, the stem and the features.
"""

from math import ceil

from search_spaces.arch import Arch, Classifier, ConvBN
from search_spaces.rewrite import make_divisible
from search_spaces.zoo.published import Entry
from search_spaces.zoo.stages import repeat

__all__ = ["ENTRIES"]

# repeats, expansion, out_ch, kernel, stride, se      input resolution
_B0 = (
    (1, 0, 16, 3, 1, 0.25),  # 112
    (2, 6, 24, 3, 2, 0.25),  # 112
    (2, 6, 40, 5, 2, 0.25),  # 56
    (3, 6, 80, 3, 2, 0.25),  # 28
    (3, 6, 112, 5, 1, 0.25),  # 14
    (4, 6, 192, 5, 2, 0.25),  # 14
    (1, 6, 320, 3, 1, 0.25),  # 7
)
_LITE0 = tuple((repeats, e, out_ch, kernel, stride, 0.0) for repeats, e, out_ch, kernel, stride, _ in _B0)


def _arch(
    name: str, stages: tuple[tuple[int, int, int, int, int, float], ...], act: str, px: int = 224, dropout: float = 0.2
) -> Arch:
    blocks = repeat(32, stages, act=act, se_act=act)
    return Arch(
        name=name,
        resolution_px=px,
        blocks=(
            ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act=act),  # 224
            *blocks,
            ConvBN(in_ch=blocks[-1].out_ch, out_ch=1280, kernel=1, act=act),  # 7
            Classifier(in_ch=1280, out_ch=1000, dropout=dropout),
        ),
    )


def _lite(name: str, width: float, depth: float, px: int, dropout: float) -> Arch:
    stages = tuple(
        (repeats if i in (0, len(_LITE0) - 1) else ceil(repeats * depth), e, make_divisible(out_ch * width), *others)
        for i, (repeats, e, out_ch, *others) in enumerate(_LITE0)
    )
    return _arch(name, stages, "relu6", px, dropout)  # type: ignore[arg-type]


_LITE_PAGE = " (Lite: the official repository's lite folder)"
_PAPER = "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv:1905.11946"

ENTRIES = (
    Entry(
        arch=_arch("efficientnet_b0", _B0, "swish"),
        paper=_PAPER,
        reference="torchvision efficientnet_b0",
        madds_m=390,
        params_m=5.3,
        top1=0.771,
        differs="the paper prints 0.39 billion",
    ),
    Entry(
        arch=_arch("efficientnet_lite0", _LITE0, "relu6"),
        paper=_PAPER + _LITE_PAGE,
        widen_features=False,
        reference="timm efficientnet_lite0",
        madds_m=407,
        params_m=4.7,
        top1=0.751,
        differs="407 M is the page's; every implementation counts 385 M: not explained",
    ),
    Entry(
        arch=_lite("efficientnet_lite1", 1.0, 1.1, 240, 0.2),
        paper=_PAPER + _LITE_PAGE,
        widen_features=False,
        reference="timm efficientnet_lite1",
        madds_m=631,
        params_m=5.4,
        top1=0.767,
        differs="631 M is the page's; every implementation counts 600 M: not explained",
    ),
    Entry(
        arch=_lite("efficientnet_lite2", 1.1, 1.2, 260, 0.3),
        paper=_PAPER + _LITE_PAGE,
        widen_features=False,
        reference="timm efficientnet_lite2",
        madds_m=899,
        params_m=6.1,
        top1=0.776,
        differs="899 M is the page's; every implementation counts 860 M: not explained",
    ),
)
