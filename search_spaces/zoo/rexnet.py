"""Rethinking Channel Dimensions for Efficient Model Design (arXiv:2007.00992): ReXNet 1.0.

Channels grow linearly from block to block; squeeze-and-excite (from the fourth block on) has 1/12 of the expansion.
"""

from search_spaces.arch import Arch, Block, Classifier, ConvBN
from search_spaces.blocks import PartialMBConv
from search_spaces.zoo.published import Entry

__all__ = ["ENTRIES"]

# expansion, out_ch, stride, se      input resolution
_BLOCKS = (
    (1, 16, 1, False),  # 112
    (6, 27, 2, False),  # 112
    (6, 38, 1, False),  # 56
    (6, 50, 2, True),  # 56
    (6, 61, 1, True),  # 28
    (6, 72, 2, True),  # 28
    (6, 84, 1, True),  # 14
    (6, 95, 1, True),  # 14
    (6, 106, 1, True),  # 14
    (6, 117, 1, True),  # 14
    (6, 128, 1, True),  # 14
    (6, 140, 2, True),  # 14
    (6, 151, 1, True),  # 7
    (6, 162, 1, True),  # 7
    (6, 174, 1, True),  # 7
    (6, 185, 1, True),  # 7
)


def _arch() -> Arch:
    blocks: list[Block] = [ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act="swish")]  # 224
    for expansion, out_ch, stride, se in _BLOCKS:
        in_ch = blocks[-1].out_ch
        mid_ch = in_ch * expansion
        se_ch = mid_ch // 12 if se else 0
        blocks.append(PartialMBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, stride=stride, se_ch=se_ch))
    blocks += [ConvBN(in_ch=185, out_ch=1280, kernel=1, act="swish"), Classifier(in_ch=1280, out_ch=1000)]  # 7
    return Arch(name="rexnet_1_0", resolution_px=224, blocks=tuple(blocks))


ENTRIES = (
    Entry(
        arch=_arch(),
        paper="Rethinking Channel Dimensions for Efficient Model Design, arXiv:2007.00992",
        reference="timm rexnet_100",
        madds_m=400,
        params_m=4.8,
        top1=0.779,
        also_called=("ReXNet",),
    ),
)
