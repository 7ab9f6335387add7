"""Rules of channel counts, by hand."""

import pytest

from search_spaces import rewrite, zoo
from search_spaces.arch import ConvBN, MBConv, SepConv
from search_spaces.lower import lower


@pytest.mark.parametrize(("value", "expected"), [(84, 88), (100, 104), (83.9, 80), (0.5, 8), (19.9, 24), (20.1, 24)])
def test_halves_are_rounded_up_and_nothing_loses_a_tenth(value, expected):
    assert rewrite.make_divisible(value) == expected


@pytest.mark.parametrize(
    ("se_ch", "in_ch", "gated", "expected"),
    [
        (0, (16, 8), (64, 32), 0),
        (
            24,
            (16, 8),
            (96, 40),
            16,
        ),  # a quarter of the gated channels: 10 -> 16, 8 would be too few
        (24, (16, 8), (96, 72), 24),  # 18 -> 24, 16 would be 11 % off
        (10, (40, 23), (240, 138), 5),  # a quarter of the input channels, rounded down
        (1, (3, 2), (18, 12), 1),  # of at least one channel
        (6, (40, 20), (80, 50), 4),  # neither: its share, 3.75
        (6, (40, 20), (80, 44), 3),  # 3.3
        (6, (40, 2), (80, 4), 1),
    ],
)
def test_squeeze_and_excite_keeps_its_rule(se_ch, in_ch, gated, expected):
    assert rewrite.scale_se(se_ch, *in_ch, *gated) == expected


def test_a_narrower_mobilenet_v2_block_by_block():
    """Expansions are six times what stands before them; the last features keep their 1280 channels."""
    narrow = rewrite.width_multiplier(zoo.get("mobilenet_v2"), 0.35)
    assert narrow.name == "mobilenet_v2 0.35"
    assert [block.out_ch for block in narrow.blocks] == [
        *(16, 8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112, 1280, 1000)
    ]
    expanded = [(block.in_ch, block.mid_ch) for block in narrow.blocks if isinstance(block, MBConv)]
    assert expanded[0] == (8, 48)
    assert all(mid_ch == 6 * in_ch for in_ch, mid_ch in expanded)
    wide = rewrite.width_multiplier(zoo.get("mobilenet_v2"), 1.4)
    assert [block.out_ch for block in wide.blocks[-3:]] == [448, 1792, 1000]
    assert [block.out_ch for block in zoo.get("mnasnet_a1", width=1.4).blocks[-3:-1]] == [448, 1280]  # its own rule


def test_a_head_of_its_own_is_widened_as_the_others_are():
    """MobileNetV3's last convolution is not the last features: those are the hidden layer."""
    narrow, wide = (rewrite.width_multiplier(zoo.get("mobilenet_v3_small"), width) for width in (0.5, 1.5))
    assert [(a.blocks[-2].out_ch, a.blocks[-1].hidden_ch) for a in (narrow, wide)] == [(288, 1024), (864, 1536)]


def test_small_images_keep_what_is_not_halved():
    """Of a 28-px image with at least 4 px: 14, 7, 4, and then all strides are 1."""
    arch = zoo.get("mobilenet_v2")
    small = rewrite.small_image(arch, 28)
    strides = [getattr(block, "stride", 1) for block in small.blocks]
    assert [i for i, stride in enumerate(strides) if stride == 2] == [0, 2, 4]
    assert [i for i, block in enumerate(arch.blocks) if getattr(block, "stride", 1) == 2] == [0, 2, 4, 7, 14]
    assert {part.out_shape[1:] for part in lower(small)[4:-1]} == {(4, 4)}
    kinds = (ConvBN, SepConv, MBConv)
    assert all(isinstance(block, kinds) for block in small.blocks[:-1])
