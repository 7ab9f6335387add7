"""Networks of the spaces `mnasnet` and `accel_nasbench`, written out block by block from their papers.

(`mobilenet_v3` has its own: test_mobilenet_v3.py.)
"""

import pytest

from search_spaces import spaces
from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, SepConv

# a line is a layer: operator, in, expanded (0: none), out, kernel, stride, squeeze-and-excite, skip
Line = tuple[str, int, int, int, int, int, int, str]


def network(name: str, *lines: Line, resolution_px: int = 224, classes: int = 1000) -> Arch:
    def block(op: str, in_ch: int, mid_ch: int, out_ch: int, kernel: int, stride: int, se_ch: int, skip: str) -> Block:
        same = {"in_ch": in_ch, "out_ch": out_ch, "kernel": kernel, "stride": stride, "se_ch": se_ch, "skip": skip}
        if op == "mbconv":
            return MBConv(mid_ch=mid_ch, **same, act="relu", se_act="relu", se_gate="sigmoid")
        kind = {"conv": ConvBN, "sepconv": SepConv}[op]
        return kind(**same, act="relu", se_act="relu", se_gate="sigmoid")

    blocks = tuple(block(*line) for line in lines)
    classifier = Classifier(in_ch=blocks[-1].out_ch, out_ch=classes)
    return Arch(name=name, resolution_px=resolution_px, blocks=(*blocks, classifier))


def options(names: tuple[str, ...], *blocks: tuple) -> dict[str, object]:
    """{choice: option} of blocks 1, 2, ..."""
    return {
        f"block{b}.{name}": option for b, own in enumerate(blocks, 1) for name, option in zip(names, own, strict=True)
    }


# ---- MnasNet (arXiv:1807.11626, section 4.1): filters and layers are relative to MobileNetV2's blocks of 16, 24, 32,
# 64, 96, 160, 320 filters, 1, 2, 3, 4, 3, 3, 1 layers, strides 1, 2, 2, 2, 1, 2, 1; 0.25 of a layer's input for SE

PER_BLOCK = ("op", "kernel", "se", "skip", "filters", "layers")
MNASNET = options(
    PER_BLOCK,
    ("conv", 3, 0.25, "identity", 1.25, 0),  # 20 filters, to 24
    ("sepconv", 5, 0.0, "pool", 0.75, 0),  # 18, to 16, which is more than 10 % less: 24
    ("mbconv3", 3, 0.25, "identity", 1.0, -1),
    ("mbconv6", 5, 0.25, "none", 1.25, 1),
    ("conv", 5, 0.0, "none", 0.75, -1),
    ("sepconv", 3, 0.25, "identity", 1.0, 0),
    ("mbconv3", 3, 0.0, "none", 1.0, -1),  # without a layer
)
OF_MNASNET: tuple[Line, ...] = (
    ("conv", 3, 0, 32, 3, 2, 0, "none"),
    ("conv", 32, 0, 24, 3, 1, 8, "none"),
    ("sepconv", 24, 0, 24, 5, 2, 0, "pool"),  # equal channels, stride 2
    ("sepconv", 24, 0, 24, 5, 1, 0, "pool"),
    ("mbconv", 24, 72, 32, 3, 2, 6, "none"),
    ("mbconv", 32, 96, 32, 3, 1, 8, "identity"),
    ("mbconv", 32, 192, 80, 5, 2, 8, "none"),
    *[("mbconv", 80, 480, 80, 5, 1, 20, "none")] * 4,
    ("conv", 80, 0, 72, 5, 1, 0, "none"),
    ("conv", 72, 0, 72, 5, 1, 0, "none"),
    ("sepconv", 72, 0, 160, 3, 2, 18, "none"),
    *[("sepconv", 160, 0, 160, 3, 1, 40, "identity")] * 2,
    ("conv", 160, 0, 1280, 1, 1, 0, "none"),
)
OF_HALF: tuple[Line, ...] = (  # filters halved before they are rounded; the head stays
    ("conv", 3, 0, 16, 3, 2, 0, "none"),
    ("conv", 16, 0, 16, 3, 1, 4, "identity"),  # 10 filters, to 8, which is more than 10 % less: 16
    ("sepconv", 16, 0, 16, 5, 2, 0, "pool"),  # 9, to 8, which is more than 10 % less: 16
    ("sepconv", 16, 0, 16, 5, 1, 0, "pool"),
    ("mbconv", 16, 48, 16, 3, 2, 4, "none"),  # equal channels, but stride 2
    ("mbconv", 16, 48, 16, 3, 1, 4, "identity"),
    ("mbconv", 16, 96, 40, 5, 2, 4, "none"),
    *[("mbconv", 40, 240, 40, 5, 1, 10, "none")] * 4,
    ("conv", 40, 0, 40, 5, 1, 0, "none"),  # 36, to 40
    ("conv", 40, 0, 40, 5, 1, 0, "none"),
    ("sepconv", 40, 0, 80, 3, 2, 10, "none"),
    *[("sepconv", 80, 0, 80, 3, 1, 20, "identity")] * 2,
    ("conv", 80, 0, 1280, 1, 1, 0, "none"),
)


@pytest.mark.parametrize(("base_width", "lines"), [(1.0, OF_MNASNET), (0.5, OF_HALF)])
def test_a_network_of_mnasnets_space_block_by_block(base_width, lines):
    space = spaces.get("mnasnet", base_width=base_width)
    assert space.decode(space.encode(MNASNET)) == network("mnasnet", *lines)


def test_a_block_that_is_left_out_leaves_its_input_to_the_next():
    """Block 1 of one layer: block 2 reads the stem; and a head that is wider where the space is."""
    space = spaces.get("mnasnet", base_width=2.0, resolution_px=96, classes=10)
    own = ("mbconv6", 3, 0.25, "identity", 1.0, -1)
    arch = space.decode(space.encode(options(PER_BLOCK, *[own] * 7)))
    expected = network(
        "mnasnet",
        ("conv", 3, 0, 64, 3, 2, 0, "none"),
        ("mbconv", 64, 384, 48, 3, 2, 16, "none"),
        ("mbconv", 48, 288, 64, 3, 2, 12, "none"),
        ("mbconv", 64, 384, 64, 3, 1, 16, "identity"),
        ("mbconv", 64, 384, 128, 3, 2, 16, "none"),
        *[("mbconv", 128, 768, 128, 3, 1, 32, "identity")] * 2,
        ("mbconv", 128, 768, 192, 3, 1, 32, "none"),
        ("mbconv", 192, 1152, 192, 3, 1, 48, "identity"),
        ("mbconv", 192, 1152, 320, 3, 2, 48, "none"),
        ("mbconv", 320, 1920, 320, 3, 1, 80, "identity"),
        ("conv", 320, 0, 2560, 1, 1, 0, "none"),
        resolution_px=96,
        classes=10,
    )
    assert arch == expected


# ---- Accel-NASBench (arXiv:2404.08005): channels and strides of MnasNet-A1's blocks; expansion 1 has no expansion
# layer; the first layer of a block has no shortcut; 0.25 of a layer's input for SE

ACCEL = options(
    ("expansion", "kernel", "layers", "se"),
    (1, 3, 2, 0.25),
    (4, 5, 1, 0.0),
    (6, 3, 3, 0.25),
    (1, 5, 1, 0.0),
    (4, 3, 2, 0.25),
    (6, 5, 4, 0.0),
    (4, 3, 1, 0.25),
)
OF_ACCEL: tuple[Line, ...] = (
    ("conv", 3, 0, 32, 3, 2, 0, "none"),
    ("sepconv", 32, 0, 16, 3, 1, 8, "none"),
    ("sepconv", 16, 0, 16, 3, 1, 4, "identity"),
    ("mbconv", 16, 64, 24, 5, 2, 0, "none"),
    ("mbconv", 24, 144, 40, 3, 2, 6, "none"),
    *[("mbconv", 40, 240, 40, 3, 1, 10, "identity")] * 2,
    ("sepconv", 40, 0, 80, 5, 2, 0, "none"),
    ("mbconv", 80, 320, 112, 3, 1, 20, "none"),
    ("mbconv", 112, 448, 112, 3, 1, 28, "identity"),
    ("mbconv", 112, 672, 192, 5, 2, 0, "none"),
    *[("mbconv", 192, 1152, 192, 5, 1, 0, "identity")] * 3,
    ("mbconv", 192, 768, 320, 3, 1, 48, "none"),
    ("conv", 320, 0, 1280, 1, 1, 0, "none"),
)


def test_a_network_of_accel_nasbench_block_by_block():
    space = spaces.get("accel_nasbench")
    assert space.decode(space.encode(ACCEL)) == network("accel_nasbench", *OF_ACCEL)
