"""EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (arXiv:1905.11946), table 1; and Lite0.

Squeeze-and-excite has 1/4 of the block's *input* channels and swish inside, as in the official code. Lite0 is B0
without it and with ReLU6, for runtimes and accelerators that lack the one and the other.
"""

from search_spaces.arch import Arch, Classifier, ConvBN
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


def _arch(name: str, stages: tuple[tuple[int, int, int, int, int, float], ...], act: str) -> Arch:
    return Arch(
        name=name,
        resolution_px=224,
        blocks=(
            ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act=act),  # 224
            *repeat(32, stages, act=act, se_act=act),
            ConvBN(in_ch=320, out_ch=1280, kernel=1, act=act),  # 7
            Classifier(in_ch=1280, out_ch=1000),
        ),
    )


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
        paper=_PAPER + " (Lite: the official repository's lite folder)",
        widen_features=False,
        reference="timm efficientnet_lite0",
        madds_m=407,
        params_m=4.7,
        top1=0.751,
        differs="407 M is the page's; every implementation counts 385 M: not explained",
    ),
)
