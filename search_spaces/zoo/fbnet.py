"""FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search (arXiv:1812.03443).

A's counts equal those that its authors publish (facebookresearch/mobile-vision, model_info.json: 249.921848 M
multiply-adds). B is the one of the design-trend table of ReXNet's supplement, which only uses the paper's nine blocks;
the authors' checkpoint has two 3x3 depthwise convolutions where this one has a 5x5 (295.6 M). C is timm's.
"""

from search_spaces.arch import Arch, Block, Classifier, ConvBN
from search_spaces.blocks import MixedMBConv
from search_spaces.zoo.published import Entry
from search_spaces.zoo.stages import repeat

__all__ = ["ENTRIES"]

# repeats, expansion, out_ch, kernel, stride, se      input resolution
_A: tuple[tuple, ...] = (
    (1, 3, 24, 3, 2, 0.0),  # 112
    (1, 1, 24, 3, 1, 0.0),  # 56
    (1, 6, 32, 5, 2, 0.0),  # 56
    (1, 3, 32, 3, 1, 0.0),  # 28
    (1, 1, 32, 5, 1, 0.0),  # 28
    (1, 3, 32, 3, 1, 0.0),  # 28
    (1, 6, 64, 5, 2, 0.0),  # 28
    (1, 3, 64, 5, 1, 0.0),  # 14
    (1, 1, 64, 5, 1, 0.0, 2),  # 14; the last number: groups of the pointwise convolutions, shuffled
    (1, 6, 64, 5, 1, 0.0),  # 14
    (1, 6, 112, 3, 1, 0.0),  # 14
    (1, 1, 112, 5, 1, 0.0, 2),  # 14
    (1, 3, 112, 5, 1, 0.0),  # 14
    (1, 1, 112, 3, 1, 0.0, 2),  # 14
    (1, 6, 184, 5, 2, 0.0),  # 14
    (1, 6, 184, 5, 1, 0.0),  # 7
    (1, 3, 184, 5, 1, 0.0),  # 7
    (1, 6, 184, 5, 1, 0.0),  # 7
    (1, 6, 352, 5, 1, 0.0),  # 7
)
_B = (
    (1, 1, 16, 3, 1, 0.0),  # 112
    (1, 6, 24, 3, 2, 0.0),  # 112
    (1, 1, 24, 5, 1, 0.0),  # 56
    (2, 1, 24, 3, 1, 0.0),  # 56
    (1, 6, 32, 5, 2, 0.0),  # 56
    (1, 3, 32, 5, 1, 0.0),  # 28
    (1, 6, 32, 3, 1, 0.0),  # 28
    (1, 6, 32, 5, 1, 0.0),  # 28
    (1, 6, 64, 5, 2, 0.0),  # 28
    (1, 1, 64, 5, 1, 0.0),  # 14
    (1, 3, 64, 5, 1, 0.0),  # 14
    (1, 6, 112, 5, 1, 0.0),  # 14
    (1, 1, 112, 3, 1, 0.0),  # 14
    (1, 1, 112, 5, 1, 0.0),  # 14
    (1, 3, 112, 5, 1, 0.0),  # 14
    (1, 6, 184, 5, 2, 0.0),  # 14
    (1, 1, 184, 5, 1, 0.0),  # 7
    (2, 6, 184, 5, 1, 0.0),  # 7
    (1, 6, 352, 3, 1, 0.0),  # 7
)
_C = (
    (1, 1, 16, 3, 1, 0.0),  # 112
    (1, 6, 24, 3, 2, 0.0),  # 112
    (2, 1, 24, 3, 1, 0.0),  # 56
    (1, 6, 32, 5, 2, 0.0),  # 56
    (1, 3, 32, 5, 1, 0.0),  # 28
    (1, 6, 32, 5, 1, 0.0),  # 28
    (1, 6, 32, 3, 1, 0.0),  # 28
    (1, 6, 64, 5, 2, 0.0),  # 28
    (1, 3, 64, 5, 1, 0.0),  # 14
    (2, 6, 64, 5, 1, 0.0),  # 14
    (3, 6, 112, 5, 1, 0.0),  # 14
    (1, 3, 112, 5, 1, 0.0),  # 14
    (4, 6, 184, 5, 2, 0.0),  # 14
    (1, 6, 352, 3, 1, 0.0),  # 7
)


def _arch(name: str, stages: tuple[tuple, ...], features_ch: int = 1984) -> Arch:
    blocks: list[Block] = []
    for repeats, expansion, out_ch, kernel, stride, se, *groups in stages:
        in_ch = blocks[-1].out_ch if blocks else 16
        if groups:
            blocks.append(_shuffled(in_ch, in_ch * expansion, out_ch, kernel, groups[0]))
        else:
            blocks += repeat(in_ch, ((repeats, expansion, out_ch, kernel, stride, se),), act="relu")
    return Arch(
        name=name,
        resolution_px=224,
        blocks=(
            ConvBN(in_ch=3, out_ch=16, kernel=3, stride=2),  # 224
            *blocks,
            ConvBN(in_ch=352, out_ch=features_ch, kernel=1),  # 7
            Classifier(in_ch=features_ch, out_ch=1000),
        ),
    )


def _shuffled(in_ch: int, mid_ch: int, out_ch: int, kernel: int, groups: int) -> MixedMBConv:
    return MixedMBConv(
        in_ch=in_ch,
        mid_ch=mid_ch,
        out_ch=out_ch,
        kernels=(kernel,),
        skip="identity",
        expand_groups=groups,
        project_groups=groups,
        shuffle=True,
    )


_PAPER = (
    "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search, arXiv:1812.03443"
)

ENTRIES = (
    Entry(
        arch=_arch("fbnet_a", _A, 1504),
        paper=_PAPER,
        widen_features=False,
        reference="facebookresearch/mobile-vision fbnet_a",
        madds_m=249,
        params_m=4.3,
        top1=0.730,
    ),
    Entry(
        arch=_arch("fbnet_b", _B),
        paper=_PAPER,
        widen_features=False,
        reference="the design-trend table of ReXNet's supplement",
        madds_m=295,
        params_m=4.8,
        top1=0.741,
        differs="the authors' checkpoint has two 3x3 depthwise convolutions for one 5x5: 295.6 M",
    ),
    Entry(
        arch=_arch("fbnet_c", _C),
        paper=_PAPER,
        widen_features=False,
        reference="timm fbnetc_100",
        madds_m=375,
        params_m=5.5,
        top1=0.749,
        differs="the paper has 375 M, its authors' code 378 M and their checkpoint 383 M",
    ),
)
