"""Searching for MobileNetV3 (arXiv:1905.02244), tables 1 and 2.

Squeeze-and-excite has 1/4 of the expansion, rounded to a multiple of 8, with a hard sigmoid, as in the reference
implementations; the paper says "fixed to be 1/4 of the number of channels in expansion layer". The minimalistic
networks are the official repository's: without squeeze-and-excite, h-swish and 5x5 kernels.
"""

from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.rewrite import make_divisible
from search_spaces.zoo.published import Entry, page, table3
from search_spaces.zoo.stages import residual

__all__ = ["ENTRIES"]

# kernel, mid_ch, out_ch, se, act, stride      input resolution
_LARGE = (
    (3, 16, 16, False, "relu", 1),  # 112
    (3, 64, 24, False, "relu", 2),  # 112
    (3, 72, 24, False, "relu", 1),  # 56
    (5, 72, 40, True, "relu", 2),  # 56
    (5, 120, 40, True, "relu", 1),  # 28
    (5, 120, 40, True, "relu", 1),  # 28
    (3, 240, 80, False, "hard_swish", 2),  # 28
    (3, 200, 80, False, "hard_swish", 1),  # 14
    (3, 184, 80, False, "hard_swish", 1),  # 14
    (3, 184, 80, False, "hard_swish", 1),  # 14
    (3, 480, 112, True, "hard_swish", 1),  # 14
    (3, 672, 112, True, "hard_swish", 1),  # 14
    (5, 672, 160, True, "hard_swish", 2),  # 14
    (5, 960, 160, True, "hard_swish", 1),  # 7
    (5, 960, 160, True, "hard_swish", 1),  # 7
)

_SMALL = (
    (3, 16, 16, True, "relu", 2),  # 112
    (3, 72, 24, False, "relu", 2),  # 56
    (3, 88, 24, False, "relu", 1),  # 28
    (5, 96, 40, True, "hard_swish", 2),  # 28
    (5, 240, 40, True, "hard_swish", 1),  # 14
    (5, 240, 40, True, "hard_swish", 1),  # 14
    (5, 120, 48, True, "hard_swish", 1),  # 14
    (5, 144, 48, True, "hard_swish", 1),  # 14
    (5, 288, 96, True, "hard_swish", 2),  # 14
    (5, 576, 96, True, "hard_swish", 1),  # 7
    (5, 576, 96, True, "hard_swish", 1),  # 7
)


def _minimalistic(table: tuple[tuple[int, int, int, bool, str, int], ...]):
    return tuple((3, mid_ch, out_ch, False, "relu", stride) for _, mid_ch, out_ch, _, _, stride in table)


def _arch(name: str, table: tuple[tuple[int, int, int, bool, str, int], ...], hidden_ch: int) -> Arch:
    act = table[-1][4]
    blocks: list[Block] = [ConvBN(in_ch=3, out_ch=16, kernel=3, stride=2, act=act)]  # 224
    for kernel, mid_ch, out_ch, se, block_act, stride in table:
        fields: dict[str, Any] = {
            "in_ch": blocks[-1].out_ch,
            "out_ch": out_ch,
            "kernel": kernel,
            "stride": stride,
            "act": block_act,
            "se_ch": make_divisible(mid_ch / 4) if se else 0,
            "se_gate": "hard_sigmoid",
        }
        if mid_ch == blocks[-1].out_ch:  # the reference implementations leave the expansion out
            blocks.append(residual(SepConv(**fields)))
        else:
            blocks.append(residual(MBConv(mid_ch=mid_ch, **fields)))
    last_ch = blocks[-1].out_ch
    blocks.append(ConvBN(in_ch=last_ch, out_ch=6 * last_ch, kernel=1, act=act))  # 7
    blocks.append(Classifier(in_ch=6 * last_ch, hidden_ch=hidden_ch, out_ch=1000, act=act))
    return Arch(name=name, resolution_px=224, blocks=tuple(blocks))


ENTRIES = (
    Entry(
        arch=_arch("mobilenet_v3_large", _LARGE, hidden_ch=1280),
        paper="Searching for MobileNetV3, arXiv:1905.02244",
        reference="torchvision mobilenet_v3_large",
        madds_m=219,
        params_m=5.4,
        top1=0.752,
        differs="the paper has 219 M and 5.4 M; its code, timm and torchvision 217 M and 5.48 M",
        latencies=(
            *table3(1.0, 51, 61, 44),
            *table3(0.75, 39, 46, 40),
            *page("slim_mobilenet_readme", (1.0, 224, 51.2, 61, 44), (0.75, 224, 39.8, 48, 34)),
        ),
    ),
    Entry(
        arch=_arch("mobilenet_v3_small", _SMALL, hidden_ch=1024),
        paper="Searching for MobileNetV3, arXiv:1905.02244",
        reference="torchvision mobilenet_v3_small",
        madds_m=56,
        params_m=2.5,
        top1=0.674,
        differs="the paper has 56 M, cut and not rounded",
        latencies=(*table3(1.0, 15.8, 19.4, 14.4), *table3(0.75, 12.8, 15.6, 11.7)),
    ),
    Entry(
        arch=_arch("mobilenet_v3_large_minimalistic", _minimalistic(_LARGE), hidden_ch=1280),
        paper="the official MobileNetV3 page, of arXiv:1905.02244",
        reference="timm tf_mobilenetv3_large_minimal_100",
        madds_m=209,
        params_m=3.9,
        top1=0.723,
    ),
    Entry(
        arch=_arch("mobilenet_v3_small_minimalistic", _minimalistic(_SMALL), hidden_ch=1024),
        paper="the official MobileNetV3 page, of arXiv:1905.02244",
        reference="timm tf_mobilenetv3_small_minimal_100",
        madds_m=65,
        params_m=2.0,
        top1=0.619,
        differs="the page counts 66 M for Small and 65 M for this one; the implementations have 57 M and 52 M",
    ),
)
