"""Blocks in timm's notation: written, read again, and timm's own definitions read."""

from dataclasses import replace

import pytest

from search_spaces import timm_notation, zoo
from search_spaces.arch import Arch, Classifier, MBConv
from tests.conftest import random_archs

FAMILIES = [name for name in zoo.names(mobile=True) if name != "mobilenet_v1"] + ["mixnet_s", "mixnet_m"]


@pytest.mark.parametrize("arch", [*map(zoo.get, FAMILIES), *random_archs(30, rng_seed=4)], ids=lambda arch: arch.name)
def test_what_is_written_is_read_again(arch):
    blocks = tuple(block for block in arch.blocks if not isinstance(block, Classifier))
    gates = {(b.se_act, b.se_gate) for b in blocks if b.se_ch} or {("relu", "sigmoid")}
    ((se_act, se_gate),) = gates
    again = timm_notation.read(
        timm_notation.write(arch), in_ch=arch.in_ch, se_of="gated", se_act=se_act, se_gate=se_gate
    )
    assert again == blocks


@pytest.mark.parametrize(
    ("name", "stem_ch", "lines", "settings"),
    [
        (
            "mnasnet_a1",
            32,
            "ds_r1_k3_s1_e1_c16_noskip ir_r2_k3_s2_e6_c24 ir_r3_k5_s2_e3_c40_se0.25 ir_r4_k3_s2_e6_c80 "
            "ir_r2_k3_s1_e6_c112_se0.25 ir_r3_k5_s2_e6_c160_se0.25 ir_r1_k3_s1_e6_c320",
            {},
        ),
        (
            "efficientnet_b0",
            32,
            "ds_r1_k3_s1_e1_c16_se0.25 ir_r2_k3_s2_e6_c24_se0.25 ir_r2_k5_s2_e6_c40_se0.25 ir_r3_k3_s2_e6_c80_se0.25 "
            "ir_r3_k5_s1_e6_c112_se0.25 ir_r4_k5_s2_e6_c192_se0.25 ir_r1_k3_s1_e6_c320_se0.25",
            {"act": "swish", "se_act": "swish"},
        ),
        (
            "single_path_nas",
            32,
            "ds_r1_k3_s1_c16_noskip ir_r3_k3_s2_e3_c24 ir_r1_k5_s2_e6_c40 ir_r3_k3_s1_e3_c40 ir_r1_k5_s2_e6_c80 "
            "ir_r3_k3_s1_e3_c80 ir_r1_k5_s1_e6_c96 ir_r3_k5_s1_e3_c96 ir_r4_k5_s2_e6_c192 ir_r1_k3_s1_e6_c320_noskip",
            {},
        ),
    ],
)
def test_timms_definitions_give_the_networks_of_the_zoo(name, stem_ch, lines, settings):
    blocks = timm_notation.read(lines.split(), in_ch=stem_ch, **settings)
    assert blocks == zoo.get(name).blocks[1:-2]


def test_what_it_looks_like():
    assert timm_notation.write(zoo.get("mnasnet_a1"))[2:4] == [
        "ir_r2_k3_s2_e6_c24_nre",
        "ir_r3_k5_s2_e3_c40_se0.0833333_nre",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("er_r1_k3_c8", "'er' is no kind of block; allowed: cn, ds, ir"),
        ("ir_r1_k3_e6_c24_x9", "'x9' is not known; allowed: r, k, a, p"),
        ("ir_r1_e6_c24", "lacks k; kernel and output channels are needed"),
        ("ir_r1_k4_e6_c24", "kernel is 4; it must be odd"),
    ],
)
def test_lines_that_are_not_in_this_notation(line, message):
    with pytest.raises(ValueError, match=message):
        timm_notation.read([line], in_ch=8)


def test_blocks_with_and_without_a_shortcut_are_told_apart():
    block = MBConv(in_ch=16, mid_ch=48, out_ch=16, kernel=3)
    for skips in (["none", "identity"], ["identity", "none"], ["none", "none", "identity"], ["pool", "identity"]):
        blocks = tuple(replace(block, skip=skip) for skip in skips)
        arch = Arch(name="", resolution_px=8, blocks=blocks)
        assert timm_notation.read(timm_notation.write(arch), in_ch=16) == blocks


def test_what_the_notation_cannot_say_is_refused():
    with pytest.raises(ValueError, match="no activation after a projection"):
        timm_notation.write(zoo.get("mobilenet_v1"))
    block = MBConv(in_ch=16, mid_ch=48, out_ch=16, kernel=3, act="hard_sigmoid")
    arch = Arch(name="", resolution_px=8, blocks=(block,))
    with pytest.raises(ValueError, match="no activation 'hard_sigmoid'"):
        timm_notation.write(arch)


def test_blocks_without_a_notation():
    with pytest.raises(ValueError, match="timm's notation has no PlainConv like block 0"):
        timm_notation.write(zoo.get("vgg16"))
