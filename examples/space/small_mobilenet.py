"""MobileNetV2 (arXiv:1801.04381) at an eighth of its size, as a search space: each of four stages has a kernel, an
expansion and one to three layers.

    python -m nas.search +target=pixel1_small space=small_mobilenet space.base_width=1
    python -m nas.search +target=pixel1_small space=small_mobilenet:make space.base_width=1      # in this folder

It is declared once. A latency table of your machine, latencies of whole batches of networks, and one set of weights
for all networks come with it:

    python -m latency_luts.build space=small_mobilenet
    python -m nas.search +target=host_small space=small_mobilenet space.base_width=1 evaluator=shared_weights
"""

from search_spaces.arch import Classifier, ConvBN, MBConv
from search_spaces.rewrite import make_divisible
from search_spaces.space import Layer, OneOf, SearchSpace, check_skeleton, declare

_STAGES = ((16, 2), (24, 2), (40, 2), (80, 2))  # channels and stride; the image is halved once before


def make(*, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space; `base_width` scales its channels."""
    check_skeleton(base_width, resolution_px, classes)
    stages = [
        Layer(
            bottleneck,
            out_ch=make_divisible(ch * base_width),
            kernel=OneOf(f"stage{number}.kernel", (3, 5)),
            expansion=OneOf(f"stage{number}.expansion", (3, 6)),
            repeat=OneOf(f"stage{number}.layers", (1, 2, 3)),
            stride=stride,
        )
        for number, (ch, stride) in enumerate(_STAGES, 1)
    ]
    stem = Layer(ConvBN, out_ch=make_divisible(16 * base_width), kernel=3, stride=2)
    head = Layer(ConvBN, out_ch=make_divisible(320 * base_width), kernel=1)
    return declare(
        "small_mobilenet", [stem, *stages, head, Layer(Classifier, out_ch=classes)], resolution_px=resolution_px
    )


def bottleneck(in_ch: int, out_ch: int, kernel: int, expansion: int, stride: int) -> MBConv:
    """An inverted residual."""
    skip = "identity" if stride == 1 and in_ch == out_ch else "none"
    return MBConv(in_ch=in_ch, mid_ch=expansion * in_ch, out_ch=out_ch, kernel=kernel, stride=stride, skip=skip)
