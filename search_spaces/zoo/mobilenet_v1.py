"""MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (arXiv:1704.04861), table 1."""

from search_spaces.arch import Arch, Classifier, ConvBN, SepConv
from search_spaces.zoo.published import Entry

__all__ = ["ENTRIES"]

# out_ch, stride      input resolution
_V1 = (
    (64, 1),  # 112
    (128, 2),  # 112
    (128, 1),  # 56
    (256, 2),  # 56
    (256, 1),  # 28
    (512, 2),  # 28
    (512, 1),  # 14
    (512, 1),  # 14
    (512, 1),  # 14
    (512, 1),  # 14
    (512, 1),  # 14
    (1024, 2),  # 14
    (1024, 1),  # 7; the paper's table prints a stride of 2 here, its sizes and counts are those of stride 1
)


def _v1() -> Arch:
    blocks: list[ConvBN | SepConv] = [ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2)]  # 224
    for out_ch, stride in _V1:
        blocks.append(SepConv(in_ch=blocks[-1].out_ch, out_ch=out_ch, kernel=3, stride=stride, out_act="relu"))
    return Arch(name="mobilenet_v1", resolution_px=224, blocks=(*blocks, Classifier(in_ch=1024, out_ch=1000)))


ENTRIES = (
    Entry(
        arch=_v1(),
        paper="MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, arXiv:1704.04861",
        reference="timm mobilenetv1_100",
        madds_m=569,
        params_m=4.2,
        top1=0.706,
    ),
)
