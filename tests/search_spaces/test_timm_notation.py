"""Blocks in timm's notation: written, read again, and timm's own definitions read."""

import re
from dataclasses import replace

import pytest

from search_spaces import cost, timm_notation, zoo
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv, SepConv
from tests.conftest import random_archs

FAMILIES = [*zoo.names(mobile=True), "mixnet_s", "mixnet_m"]


@pytest.mark.parametrize("arch", [*map(zoo.get, FAMILIES), *random_archs(30, rng_seed=4)], ids=lambda arch: arch.name)
def test_what_is_written_is_read_again(arch):
    blocks = tuple(block for block in arch.blocks if not isinstance(block, Classifier))
    gates = {(b.se_act, b.se_gate) for b in blocks if b.se_ch} or {("relu", "sigmoid")}
    ((se_act, se_gate),) = gates
    again = timm_notation.read(
        timm_notation.write(arch), in_ch=arch.in_ch, se_of="gated", se_act=se_act, se_gate=se_gate
    )
    assert again == blocks


def v3(size, *, minimal=False):
    """timm's definition of MobileNetV3, by size; the minimal one has neither squeeze-and-excite nor kernels of 5."""
    large = (
        "ds_r1_k3_s1_e1_c16_nre ir_r1_k3_s2_e4_c24_nre ir_r1_k3_s1_e3_c24_nre ir_r3_k5_s2_e3_c40_se0.25_nre "
        "ir_r1_k3_s2_e6_c80 ir_r1_k3_s1_e2.5_c80 ir_r2_k3_s1_e2.3_c80 ir_r2_k3_s1_e6_c112_se0.25 "
        "ir_r3_k5_s2_e6_c160_se0.25 cn_r1_k1_s1_c960"
    )
    small = (
        "ds_r1_k3_s2_e1_c16_se0.25_nre ir_r1_k3_s2_e4.5_c24_nre ir_r1_k3_s1_e3.67_c24_nre "
        "ir_r1_k5_s2_e4_c40_se0.25 ir_r2_k5_s1_e6_c40_se0.25 ir_r2_k5_s1_e3_c48_se0.25 ir_r3_k5_s2_e6_c96_se0.25 "
        "cn_r1_k1_s1_c576"
    )
    lines = {"large": large, "small": small}[size]
    return lines.replace("_se0.25", "").replace("k5", "k3") if minimal else lines


V3 = {"act": "hard_swish", "se_of": "gated", "se_gate": "hard_sigmoid", "se_divisor": 8}
TIMM = [  # definitions of timm 1.0; their settings are those of `read`'s table
    ("mobilenet_v3_large", v3("large"), V3),
    ("mobilenet_v3_small", v3("small"), V3),
    ("mobilenet_v3_large_minimalistic", v3("large", minimal=True), {}),
    ("mobilenet_v3_small_minimalistic", v3("small", minimal=True), {}),
    (
        "mnasnet_a1",
        "ds_r1_k3_s1_e1_c16_noskip ir_r2_k3_s2_e6_c24 ir_r3_k5_s2_e3_c40_se0.25 ir_r4_k3_s2_e6_c80 "
        "ir_r2_k3_s1_e6_c112_se0.25 ir_r3_k5_s2_e6_c160_se0.25 ir_r1_k3_s1_e6_c320",
        {},
    ),
    (
        "mnasnet_b1",
        "ds_r1_k3_s1_c16_noskip ir_r3_k3_s2_e3_c24 ir_r3_k5_s2_e3_c40 ir_r3_k5_s2_e6_c80 ir_r2_k3_s1_e6_c96 "
        "ir_r4_k5_s2_e6_c192 ir_r1_k3_s1_e6_c320_noskip",
        {},
    ),
    (
        "mnasnet_small",
        "ds_r1_k3_s1_c8 ir_r1_k3_s2_e3_c16 ir_r2_k3_s2_e6_c16 ir_r4_k5_s2_e6_c32_se0.25 ir_r3_k3_s1_e6_c32_se0.25 "
        "ir_r3_k5_s2_e6_c88_se0.25 ir_r1_k3_s1_e6_c144",
        {},
    ),
    (
        "efficientnet_b0",
        "ds_r1_k3_s1_e1_c16_se0.25 ir_r2_k3_s2_e6_c24_se0.25 ir_r2_k5_s2_e6_c40_se0.25 ir_r3_k3_s2_e6_c80_se0.25 "
        "ir_r3_k5_s1_e6_c112_se0.25 ir_r4_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e6_c320_se0.25",
        {"act": "swish", "se_act": None},
    ),
    (
        "efficientnet_lite0",
        "ds_r1_k3_s1_e1_c16 ir_r2_k3_s2_e6_c24 ir_r2_k5_s2_e6_c40 ir_r3_k3_s2_e6_c80 ir_r3_k5_s1_e6_c112 "
        "ir_r4_k5_s2_e6_c192 ir_r1_k3_s1_e6_c320",
        {"act": "relu6"},
    ),
    (
        "fbnet_c",
        "ir_r1_k3_s1_e1_c16 ir_r1_k3_s2_e6_c24 ir_r2_k3_s1_e1_c24 ir_r1_k5_s2_e6_c32 ir_r1_k5_s1_e3_c32 "
        "ir_r1_k5_s1_e6_c32 ir_r1_k3_s1_e6_c32 ir_r1_k5_s2_e6_c64 ir_r1_k5_s1_e3_c64 ir_r2_k5_s1_e6_c64 "
        "ir_r3_k5_s1_e6_c112 ir_r1_k5_s1_e3_c112 ir_r4_k5_s2_e6_c184 ir_r1_k3_s1_e6_c352",
        {},
    ),
    (
        "mobilenet_v2",
        "ds_r1_k3_s1_c16 ir_r2_k3_s2_e6_c24 ir_r3_k3_s2_e6_c32 ir_r4_k3_s2_e6_c64 ir_r3_k3_s1_e6_c96 "
        "ir_r3_k3_s2_e6_c160 ir_r1_k3_s1_e6_c320",
        {"act": "relu6"},
    ),
    (
        "single_path_nas",
        "ds_r1_k3_s1_c16_noskip ir_r3_k3_s2_e3_c24 ir_r1_k5_s2_e6_c40 ir_r3_k3_s1_e3_c40 ir_r1_k5_s2_e6_c80 "
        "ir_r3_k3_s1_e3_c80 ir_r1_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96 ir_r4_k5_s2_e6_c192 ir_r1_k3_s1_e6_c320_noskip",
        {},
    ),
    (
        "mixnet_s",
        "ds_r1_k3_s1_e1_c16 ir_r1_k3_a1.1_p1.1_s2_e6_c24 ir_r1_k3_a1.1_p1.1_s1_e3_c24 ir_r1_k3.5.7_s2_e6_c40_se0.5_nsw "
        "ir_r3_k3.5_a1.1_p1.1_s1_e6_c40_se0.5_nsw ir_r1_k3.5.7_p1.1_s2_e6_c80_se0.25_nsw "
        "ir_r2_k3.5_p1.1_s1_e6_c80_se0.25_nsw ir_r1_k3.5.7_a1.1_p1.1_s1_e6_c120_se0.5_nsw "
        "ir_r2_k3.5.7.9_a1.1_p1.1_s1_e3_c120_se0.5_nsw ir_r1_k3.5.7.9.11_s2_e6_c200_se0.5_nsw "
        "ir_r2_k3.5.7.9_p1.1_s1_e6_c200_se0.5_nsw",
        {"se_act": None},
    ),
]


@pytest.mark.parametrize(("name", "lines", "settings"), TIMM, ids=[name for name, *_ in TIMM])
def test_timms_definitions_give_the_networks_of_the_zoo(name, lines, settings):
    stem, *body, classifier = zoo.get(name).blocks
    blocks = timm_notation.read(lines.split(), in_ch=stem.out_ch, divisor=8, **settings)
    head = body[len(blocks) :]  # timm's EfficientNets have their last convolution outside the lines
    assert [type(block) for block in head] == ([] if "mobilenet_v3" in name else [ConvBN])
    again = Arch(name=name, resolution_px=224, blocks=(stem, *blocks, *head, classifier))
    assert again == zoo.get(name)
    assert cost.params(again) == cost.params(zoo.get(name))


def test_squeezes_are_those_of_timms_mobilenet_v3():
    blocks = timm_notation.read(v3("small").split(), in_ch=16, divisor=8, **V3)
    assert [block.se_ch for block in blocks if block.se_ch] == [8, 24, 64, 64, 32, 40, 72, 144, 144]


def test_channels_are_rounded_as_told():
    lines = ["ir_r2_k3_e3.3_c20_se0.25"]
    assert [(b.mid_ch, b.out_ch, b.se_ch) for b in timm_notation.read(lines, in_ch=20)] == [(66, 20, 5)] * 2
    rounded = timm_notation.read(lines, in_ch=24, divisor=8)
    assert [(b.mid_ch, b.out_ch, b.se_ch) for b in rounded] == [(80, 24, 6)] * 2


def test_what_it_looks_like():
    assert timm_notation.write(zoo.get("mnasnet_a1"))[2:4] == [
        "ir_r2_k3_s2_e6_c24_nre",
        "ir_r3_k5_s2_e3_c40_se0.0833333_nre",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("er_r1_k3_c8", "'er' (a fused inverted residual) is not supported; allowed: cn, ds, dsa, ir"),
        ("xx_r1_k3_c8", "'xx' is no kind of block; allowed: cn, ds, dsa, ir"),
        ("ir_r1_k3_e6_c24_x9", "'x9' is not known; allowed: r, k, a, p"),
        ("ir_r1_k3_e6_c24_cc4", "'cc4' (experts) is not supported"),
        ("ir_r1_k3_e6_c24_nmi", "'nmi' (mish) is not supported"),
        ("ir_r1_k3_a3_e6_c24", "'a3' (an expansion with a kernel of its own) is not supported"),
        ("ir_r1_k3_e1.2.3_c24", "'e1.2.3' is not known"),
        ("ir_r1_k3_c8.5", "'c8.5' is not known"),
        ("ir_r1_k3_c9999999", "'c9999999' is not known"),
        ("ir_r1_k3_k5_c8", "k stands twice"),
        ("ir_r0_k3_c8", "r0; allowed: r1 to r1000"),
        ("ir_r1000000_k3_c8", "'r1000000' is not known"),
        ("ds_k3.5_c8", "several kernels or groups are supported for ir only"),
        ("ir_k3_e0_c8", "e0 leaves no channels"),
        ("ir_k3_c8_se0.01", "se0.01 leaves squeeze-and-excite no channels"),
        ("ir_r1_e6_c24", "lacks k; kernel and output channels are needed"),
        ("ir_r1_k4_e6_c24", "'ir_r1_k4_e6_c24': MBConv: kernel is 4; it must be odd"),
        (["ir_r1_k3_c8"], "is no line of text; give the lines of all stages in one list"),
    ],
)
def test_lines_that_are_not_in_this_notation(line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        timm_notation.read([line], in_ch=8)


def test_settings_of_the_reader_are_checked():
    with pytest.raises(ValueError, match="se_of='expansion'; allowed: gated, input"):
        timm_notation.read(["ir_k3_c8"], in_ch=8, se_of="expansion")
    with pytest.raises(ValueError, match="give a list of lines"):
        timm_notation.read("ir_k3_c8", in_ch=8)


def test_an_activation_after_the_projection():
    (block,) = timm_notation.read(["dsa_r1_k3_s1_c8_nhs"], in_ch=8)
    assert block == SepConv(in_ch=8, out_ch=8, kernel=3, act="hard_swish", out_act="hard_swish")  # never a shortcut


def test_ratios_that_need_many_digits_are_read_again():
    blocks = (MBConv(in_ch=99_991, mid_ch=312_343, out_ch=7, kernel=3, se_ch=3),)
    lines = timm_notation.write(Arch(name="", resolution_px=8, blocks=blocks))
    assert timm_notation.read(lines, in_ch=99_991, se_of="gated") == blocks


def test_blocks_with_and_without_a_shortcut_are_told_apart():
    block = MBConv(in_ch=16, mid_ch=48, out_ch=16, kernel=3)
    for skips in (["none", "identity"], ["identity", "none"], ["none", "none", "identity"], ["pool", "identity"]):
        blocks = tuple(replace(block, skip=skip) for skip in skips)
        arch = Arch(name="", resolution_px=8, blocks=blocks)
        assert timm_notation.read(timm_notation.write(arch), in_ch=16) == blocks


def test_what_the_notation_cannot_say_is_refused():
    block = SepConv(in_ch=16, out_ch=16, kernel=3, out_act="relu", skip="identity")
    with pytest.raises(ValueError, match="no activation after a projection that has a shortcut"):
        timm_notation.write(Arch(name="", resolution_px=8, blocks=(block,)))
    block = MBConv(in_ch=16, mid_ch=48, out_ch=16, kernel=3, act="hard_sigmoid")
    arch = Arch(name="", resolution_px=8, blocks=(block,))
    with pytest.raises(ValueError, match="no activation 'hard_sigmoid'"):
        timm_notation.write(arch)


def test_blocks_without_a_notation():
    with pytest.raises(ValueError, match="timm's notation has no PlainConv like block 0"):
        timm_notation.write(zoo.get("vgg16"))
