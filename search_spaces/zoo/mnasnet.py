"""MnasNet: Platform-Aware Neural Architecture Search for Mobile (arXiv:1807.11626).

A1 is figure 7 of the paper; B1 (without squeeze-and-excite) and small are the official code's. Squeeze-and-excite has
1/4 of the block's *input* channels (the official code and timm agree).
"""

from search_spaces.arch import Arch, Classifier, ConvBN
from search_spaces.zoo.published import Entry, page, table3
from search_spaces.zoo.stages import repeat

__all__ = ["ENTRIES"]

# repeats, expansion, out_ch, kernel, stride, se      input resolution
_A1 = (
    (1, 0, 16, 3, 1, 0.0),  # 112
    (2, 6, 24, 3, 2, 0.0),  # 112
    (3, 3, 40, 5, 2, 0.25),  # 56
    (4, 6, 80, 3, 2, 0.0),  # 28
    (2, 6, 112, 3, 1, 0.25),  # 14
    (3, 6, 160, 5, 2, 0.25),  # 14
    (1, 6, 320, 3, 1, 0.0),  # 7
)

_B1 = (
    (1, 0, 16, 3, 1, 0.0),  # 112
    (3, 3, 24, 3, 2, 0.0),  # 112
    (3, 3, 40, 5, 2, 0.0),  # 56
    (3, 6, 80, 5, 2, 0.0),  # 28
    (2, 6, 96, 3, 1, 0.0),  # 14
    (4, 6, 192, 5, 2, 0.0),  # 14
    (1, 6, 320, 3, 1, 0.0),  # 7
)

_SMALL = (
    (1, 0, 8, 3, 1, 0.0),  # 112
    (1, 3, 16, 3, 2, 0.0),  # 112
    (2, 6, 16, 3, 2, 0.0),  # 56
    (4, 6, 32, 5, 2, 0.25),  # 28
    (3, 6, 32, 3, 1, 0.25),  # 14
    (3, 6, 88, 5, 2, 0.25),  # 14
    (1, 6, 144, 3, 1, 0.0),  # 7
)


def _arch(name: str, stem_ch: int, stages: tuple[tuple[int, int, int, int, int, float], ...]) -> Arch:
    blocks = repeat(stem_ch, stages, act="relu")
    return Arch(
        name=name,
        resolution_px=224,
        blocks=(
            ConvBN(in_ch=3, out_ch=stem_ch, kernel=3, stride=2, act="relu"),  # 224
            *blocks,
            ConvBN(in_ch=blocks[-1].out_ch, out_ch=1280, kernel=1, act="relu"),  # 7
            Classifier(in_ch=1280, out_ch=1000),
        ),
    )


_PAPER = "MnasNet: Platform-Aware Neural Architecture Search for Mobile, arXiv:1807.11626"

# The official MnasNet page: width, resolution, ms on Pixel 1
_PAGE = page(
    "mnasnet_readme",
    (1.4, 224, 135),
    (0.75, 224, 61),
    (0.35, 224, 22),
    (1.0, 192, 57),
    (0.5, 192, 24),
    (1.4, 160, 72),
    (0.75, 160, 33),
    (0.35, 160, 13),
    (1.0, 128, 29),
    (0.5, 128, 12),
    (1.4, 96, 32),
    (0.75, 96, 17),
    (0.35, 96, 5.4),
)

ENTRIES = (
    Entry(
        arch=_arch("mnasnet_a1", 32, _A1),
        paper=_PAPER,
        widen_features=False,
        reference="timm mnasnet_a1 (semnasnet_100)",
        madds_m=312,
        params_m=3.9,
        top1=0.752,
        latencies=(*table3(1.0, 71, 86, 61), *_PAGE),
    ),
    Entry(
        arch=_arch("mnasnet_b1", 32, _B1),
        paper=_PAPER,
        widen_features=False,
        reference="torchvision mnasnet1_0",
        madds_m=315,
        params_m=4.4,
        top1=0.745,
    ),
    Entry(
        arch=_arch("mnasnet_small", 8, _SMALL),
        paper=_PAPER,
        widen_features=False,
        reference="timm mnasnet_small",
        madds_m=65.1,
        params_m=1.9,
        top1=0.649,
        differs="65.1 M and 1.9 M are the MobileNetV3 paper's; MnasNet's page has 68 M and 2.0 M",
        latencies=table3(1.0, 20.3, 24.2, 17.2),
    ),
)
