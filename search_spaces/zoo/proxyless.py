"""ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware (arXiv:1812.00332).

ProxylessNAS-R (mobile): the network of the paper's figure 4 that was searched for the Pixel 1.
"""

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.zoo.published import Entry, table3
from search_spaces.zoo.stages import residual

__all__ = ["ENTRIES"]

# expansion, out_ch, kernel, stride      input resolution
_MOBILE = (
    (3, 32, 5, 2),  # 112
    (3, 32, 3, 1),  # 56
    (3, 40, 7, 2),  # 56
    (3, 40, 3, 1),  # 28
    (3, 40, 5, 1),  # 28
    (3, 40, 5, 1),  # 28
    (6, 80, 7, 2),  # 28
    (3, 80, 5, 1),  # 14
    (3, 80, 5, 1),  # 14
    (3, 80, 5, 1),  # 14
    (6, 96, 5, 1),  # 14
    (3, 96, 5, 1),  # 14
    (3, 96, 5, 1),  # 14
    (3, 96, 5, 1),  # 14
    (6, 192, 7, 2),  # 14
    (6, 192, 7, 1),  # 7
    (3, 192, 7, 1),  # 7
    (3, 192, 7, 1),  # 7
    (6, 320, 7, 1),  # 7
)


def _mobile() -> Arch:
    blocks: list[Block] = [
        ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act="relu6"),  # 224
        SepConv(in_ch=32, out_ch=16, kernel=3, act="relu6"),  # 112
    ]
    for expansion, out_ch, kernel, stride in _MOBILE:
        in_ch = blocks[-1].out_ch
        block = MBConv(in_ch=in_ch, mid_ch=in_ch * expansion, out_ch=out_ch, kernel=kernel, stride=stride, act="relu6")
        blocks.append(residual(block))
    blocks.append(ConvBN(in_ch=320, out_ch=1280, kernel=1, act="relu6"))  # 7
    blocks.append(Classifier(in_ch=1280, out_ch=1000))
    return Arch(name="proxyless_r", resolution_px=224, blocks=tuple(blocks))


ENTRIES = (
    Entry(
        arch=_mobile(),
        paper="ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, arXiv:1812.00332",
        reference="the authors' proxyless_mobile",
        madds_m=320,
        params_m=4.1,
        top1=0.746,
        latencies=table3(1.0, 72, 84, 60),
        also_called=("ProxylessNAS-mobile",),
    ),
)
