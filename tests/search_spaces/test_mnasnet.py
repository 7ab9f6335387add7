"""The spaces `mnasnet` and `accel_nasbench`, against networks that were written out by hand from the paper."""

import numpy as np
import pytest

from search_spaces import spaces
from search_spaces.arch import Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import lower

# MnasNet (arXiv:1807.11626), figure 4 and section 4.1, on MobileNetV2's 32 | 16 24 32 64 96 160 320 | 1280 filters,
# 1 2 3 4 3 3 1 layers and strides 1 2 2 2 1 2 1: op, kernel, SE ratio, skip, filters, layers of each block
POINTS = {
    "all operators": (
        ("sepconv", 3, 0.0, "none", 1.0, 0),
        ("mbconv3", 5, 0.25, "identity", 1.0, 1),
        ("mbconv6", 3, 0.25, "pool", 1.25, 0),
        ("conv", 3, 0.25, "identity", 0.75, -1),
        ("sepconv", 5, 0.25, "none", 1.25, 1),
        ("mbconv6", 5, 0.25, "identity", 1.0, -1),
        ("mbconv3", 5, 0.0, "pool", 0.75, -1),
    ),
    "shortcuts from the first layer on": (
        ("mbconv3", 3, 0.25, "identity", 1.25, -1),
        ("conv", 5, 0.0, "pool", 1.25, -1),
        ("mbconv3", 3, 0.0, "pool", 1.0, 1),
        ("mbconv6", 3, 0.0, "none", 1.25, -1),
        ("mbconv6", 5, 0.0, "identity", 0.75, 0),
        ("sepconv", 3, 0.25, "pool", 0.75, -1),
        ("mbconv6", 3, 0.25, "identity", 1.0, 1),
    ),
}
# kind, in, expanded, out, kernel, stride, squeeze-and-excite (a quarter of "in"), skip
NETWORKS = {
    "all operators": (
        (SepConv, 32, 0, 16, 3, 1, 0, "none"),
        (MBConv, 16, 48, 24, 5, 2, 4, "none"),
        (MBConv, 24, 72, 24, 5, 1, 6, "identity"),
        (MBConv, 24, 72, 24, 5, 1, 6, "identity"),
        (MBConv, 24, 144, 40, 3, 2, 6, "none"),
        (MBConv, 40, 240, 40, 3, 1, 10, "pool"),
        (MBConv, 40, 240, 40, 3, 1, 10, "pool"),
        (ConvBN, 40, 0, 48, 3, 2, 10, "none"),
        (ConvBN, 48, 0, 48, 3, 1, 12, "identity"),
        (ConvBN, 48, 0, 48, 3, 1, 12, "identity"),
        (SepConv, 48, 0, 120, 5, 1, 12, "none"),
        (SepConv, 120, 0, 120, 5, 1, 30, "none"),
        (SepConv, 120, 0, 120, 5, 1, 30, "none"),
        (SepConv, 120, 0, 120, 5, 1, 30, "none"),
        (MBConv, 120, 720, 160, 5, 2, 30, "none"),
        (MBConv, 160, 960, 160, 5, 1, 40, "identity"),
    ),
    "shortcuts from the first layer on": (
        (ConvBN, 32, 0, 32, 5, 2, 0, "pool"),  # 24 * 1.25 = 30, to 32, as many as the stem's: with stride 2 pooled
        (MBConv, 32, 96, 32, 3, 2, 0, "pool"),
        (MBConv, 32, 96, 32, 3, 1, 0, "pool"),
        (MBConv, 32, 96, 32, 3, 1, 0, "pool"),
        (MBConv, 32, 96, 32, 3, 1, 0, "pool"),
        (MBConv, 32, 192, 80, 3, 2, 0, "none"),
        (MBConv, 80, 480, 80, 3, 1, 0, "none"),
        (MBConv, 80, 480, 80, 3, 1, 0, "none"),
        (MBConv, 80, 480, 72, 5, 1, 0, "none"),
        (MBConv, 72, 432, 72, 5, 1, 0, "identity"),
        (MBConv, 72, 432, 72, 5, 1, 0, "identity"),
        (SepConv, 72, 0, 120, 3, 2, 18, "none"),
        (SepConv, 120, 0, 120, 3, 1, 30, "pool"),
        (MBConv, 120, 720, 320, 3, 1, 30, "none"),
        (MBConv, 320, 1920, 320, 3, 1, 80, "identity"),
    ),
}


def blocks(rows):
    """The blocks of such lines; all have ReLU."""
    for kind, in_ch, mid_ch, out_ch, kernel, stride, se_ch, skip in rows:
        expanded = {"mid_ch": mid_ch} if mid_ch else {}
        settings = {"kernel": kernel, "stride": stride, "se_ch": se_ch, "skip": skip, "act": "relu"}
        yield kind(in_ch=in_ch, out_ch=out_ch, se_act="relu", se_gate="sigmoid", **expanded, **settings)


@pytest.fixture
def whole():
    """The space, made anew for each test: what is made before shows no fault of the making."""
    return spaces.get("mnasnet")


@pytest.mark.parametrize("name", POINTS)
def test_golden_networks(name, whole):
    names = ("op", "kernel", "se", "skip", "filters", "layers")
    rows = enumerate(POINTS[name], 1)
    options = {f"block{b}.{n}": option for b, row in rows for n, option in zip(names, row, strict=True)}
    stem = ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act="relu")
    own = list(blocks(NETWORKS[name]))
    head = ConvBN(in_ch=own[-1].out_ch, out_ch=1280, kernel=1, act="relu")
    classes = Classifier(in_ch=1280, out_ch=1000, hidden_ch=0)
    arch = whole.decode(whole.encode(options))
    assert (arch.name, arch.resolution_px) == ("mnasnet", 224)
    assert arch.blocks == (stem, *own, head, classes)


def test_what_is_searched_and_in_which_order(whole):
    names = ("op", "kernel", "se", "skip", "filters", "layers")
    assert [choice.name for choice in whole.choices] == [f"block{b}.{name}" for b in range(1, 8) for name in names]
    assert [choice.options for choice in whole.choices[6:12]] == [
        ("conv", "sepconv", "mbconv3", "mbconv6"),
        (3, 5),
        (0.0, 0.25),
        ("pool", "identity", "none"),
        (0.75, 1.0, 1.25),
        (-1, 0, 1),
    ]
    for choice in whole.choices:  # of the blocks that may be left out, which have one layer
        block, what = choice.name.split(".")
        optional = block in ("block1", "block7") and what != "layers"
        assert choice.when == ((f"{block}.layers", (0, 1)) if optional else None)


def test_the_largest_network(whole):
    largest = {"op": "mbconv6", "kernel": 5, "se": 0.25, "skip": "identity", "filters": 1.25, "layers": 1}
    assert whole.describe(whole.largest) == {f"block{b}.{name}": o for b in range(1, 8) for name, o in largest.items()}


@pytest.mark.parametrize(
    ("width", "stem", "filters", "head"),
    [(0.35, 16, 8, 1280), (1.4, 48, 24, 1792), (1.1, 32, 16, 1408), (1.003, 32, 16, 1280)],
)
def test_the_width_scales_stem_and_filters_and_widens_the_head(width, stem, filters, head):
    """MobileNetV2's: 32 * 0.35 = 11.2 is 16, since 8 is more than 10 % less; 35.2 is 32. 16 * 0.35 * 1.0 = 5.6 is 8."""
    space = spaces.get("mnasnet", base_width=width)
    options = space.describe(space.largest) | {"block1.filters": 1.0, "block1.layers": 0}
    arch = space.decode(space.encode(options))
    assert (arch.blocks[0].out_ch, arch.blocks[1].out_ch, arch.blocks[-2].out_ch) == (stem, filters, head)


def test_resolutions_of_the_skeleton(whole):
    arch = whole.decode(whole.largest)
    assert sorted({unit.out_shape[1] for unit in lower(arch)[:-1]}) == [7, 14, 28, 56, 112]


# ---- the sub-space of the benchmark: MnasNet-A1's filters 32 | 16 24 40 80 112 192 320 | 1280 and strides

OF_BENCHMARK = (  # expansion, kernel, layers, SE ratio
    (1, 3, 1, 0.0),
    (6, 3, 2, 0.0),
    (4, 5, 3, 0.25),
    (6, 3, 1, 0.0),
    (1, 5, 2, 0.25),
    (4, 3, 4, 0.25),
    (6, 5, 1, 0.0),
)
ITS_NETWORK = (
    (SepConv, 32, 0, 16, 3, 1, 0, "none"),
    (MBConv, 16, 96, 24, 3, 2, 0, "none"),
    (MBConv, 24, 144, 24, 3, 1, 0, "identity"),
    (MBConv, 24, 96, 40, 5, 2, 6, "none"),
    (MBConv, 40, 160, 40, 5, 1, 10, "identity"),
    (MBConv, 40, 160, 40, 5, 1, 10, "identity"),
    (MBConv, 40, 240, 80, 3, 2, 0, "none"),
    (SepConv, 80, 0, 112, 5, 1, 20, "none"),
    (SepConv, 112, 0, 112, 5, 1, 28, "identity"),
    (MBConv, 112, 448, 192, 3, 2, 28, "none"),
    (MBConv, 192, 768, 192, 3, 1, 48, "identity"),
    (MBConv, 192, 768, 192, 3, 1, 48, "identity"),
    (MBConv, 192, 768, 192, 3, 1, 48, "identity"),
    (MBConv, 192, 1152, 320, 5, 1, 0, "none"),
)


def test_a_golden_network_of_the_benchmarks_space():
    space = spaces.get("accel_nasbench")
    names = [f"block{b}.{name}" for b in range(1, 8) for name in ("expansion", "kernel", "layers", "se")]
    assert [choice.name for choice in space.choices] == names
    options = [option for block in OF_BENCHMARK for option in block]
    arch = space.decode(space.encode(dict(zip(names, options, strict=True))))
    assert arch.blocks == (
        ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2),
        *blocks(ITS_NETWORK),
        ConvBN(in_ch=320, out_ch=1280, kernel=1),
        Classifier(in_ch=1280, out_ch=1000),
    )
    assert (arch.name, arch.resolution_px) == ("accel_nasbench", 224)
    assert (space.largest == [len(choice.options) - 1 for choice in space.choices]).all()
    for point in space.sample(np.random.default_rng(0), 20):
        assert [b.out_ch for b in space.decode(point).blocks[-3:]] == [320, 1280, 1000]
