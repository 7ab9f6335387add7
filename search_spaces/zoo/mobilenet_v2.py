"""MobileNetV2: Inverted Residuals and Linear Bottlenecks (arXiv:1801.04381), table 2."""

from search_spaces.arch import Arch, Classifier, ConvBN
from search_spaces.zoo.published import Entry, page, table3
from search_spaces.zoo.stages import repeat

__all__ = ["ENTRIES", "STAGES"]

# repeats, expansion, out_ch, kernel, stride, se      input resolution
STAGES = (
    (1, 0, 16, 3, 1, 0.0),  # 112
    (2, 6, 24, 3, 2, 0.0),  # 112
    (3, 6, 32, 3, 2, 0.0),  # 56
    (4, 6, 64, 3, 2, 0.0),  # 28
    (3, 6, 96, 3, 1, 0.0),  # 14
    (3, 6, 160, 3, 2, 0.0),  # 14
    (1, 6, 320, 3, 1, 0.0),  # 7
)

_V2 = Arch(
    name="mobilenet_v2",
    resolution_px=224,
    blocks=(
        ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act="relu6"),  # 224
        *repeat(32, STAGES, act="relu6"),
        ConvBN(in_ch=320, out_ch=1280, kernel=1, act="relu6"),  # 7
        Classifier(in_ch=1280, out_ch=1000),
    ),
)

# The TensorFlow-Slim MobileNet page: width, resolution, ms on Pixel 1
_PAGE = page(
    "slim_mobilenet_readme",
    (1.4, 224, 138.0),
    (1.0, 224, 73.8),
    (1.0, 160, 40.2),
    (1.0, 96, 17.6),
    (0.75, 192, 41.6),
    (0.75, 128, 21.9),
    (0.5, 224, 28.7),
    (0.5, 160, 14.9),
    (0.5, 96, 6.4),
    (0.35, 192, 14.6),
    (0.35, 128, 6.9),
)

ENTRIES = (
    Entry(
        arch=_V2,
        paper="MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv:1801.04381",
        reference="torchvision mobilenet_v2",
        madds_m=300,
        params_m=3.4,
        top1=0.720,
        differs="the paper has 3.4 M parameters, its page 3.47 M, which leaves batch norm out",
        latencies=(*table3(1.0, 64, 76, 56), *table3(0.35, 16.6, 19.6, 13.9), *_PAGE),
    ),
)
