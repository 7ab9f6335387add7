"""Deep Residual Learning for Image Recognition (arXiv:1512.03385), table 1, and Squeeze-and-Excitation Networks
(arXiv:1709.01507).

The stride is on the 3x3 convolution ("v1.5"), as in all of today's implementations; the papers have it on the first
1x1, which has the same parameters and 3.86 instead of 4.09 billion multiply-adds. Squeeze-and-excite has 1/16 of the
block's output channels.
"""

from search_spaces.arch import Arch, Block, Classifier
from search_spaces.blocks import Bottleneck, PlainConv, Pooling
from search_spaces.zoo.published import Entry

__all__ = ["ENTRIES"]

# repeats, mid_ch, out_ch, stride      input resolution
_RESNET50 = (
    (3, 64, 256, 1),  # 56
    (4, 128, 512, 2),  # 56
    (6, 256, 1024, 2),  # 28
    (3, 512, 2048, 2),  # 14
)


def _arch(name: str, se: bool) -> Arch:
    blocks: list[Block] = [
        PlainConv(in_ch=3, out_ch=64, kernel=7, stride=2),  # 224
        Pooling(in_ch=64, kernel=3, stride=2, pad=1),  # 112
    ]
    for repeats, mid_ch, out_ch, first_stride in _RESNET50:
        for i in range(repeats):
            stride, in_ch = first_stride if i == 0 else 1, blocks[-1].out_ch
            se_ch = out_ch // 16 if se else 0
            blocks.append(Bottleneck(in_ch=in_ch, mid_ch=mid_ch, out_ch=out_ch, stride=stride, se_ch=se_ch))
    blocks.append(Classifier(in_ch=2048, out_ch=1000, dropout=0.0))  # 7
    return Arch(name=name, resolution_px=224, blocks=tuple(blocks))


ENTRIES = (
    Entry(
        arch=_arch("resnet50", se=False),
        paper="Deep Residual Learning for Image Recognition, arXiv:1512.03385",
        reference="torchvision resnet50",
        madds_m=3860,
        params_m=25.6,
        top1=0.761,
        differs="the paper's network has the stride on the first 1x1 convolution",
    ),
    Entry(
        arch=_arch("se_resnet50", se=True),
        paper="Squeeze-and-Excitation Networks, arXiv:1709.01507",
        reference="timm seresnet50",
        madds_m=3870,
        params_m=28.1,
        top1=0.767,
        differs="the paper's network has the stride on the first 1x1 convolution",
    ),
)
