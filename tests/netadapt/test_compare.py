"""Redesigns of a network, and an adapted network beside others."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import latency_luts
from netadapt import compare
from netadapt.adapt import Rule
from netadapt.channels import groups, narrow
from search_spaces import cost, redesign, zoo
from search_spaces.arch import Classifier, ConvBN, MBConv, SepConv

A1 = zoo.get("mnasnet_a1")
V3 = zoo.get("mobilenet_v3_large")


def test_the_way_from_mnasnet_a1_to_mobilenet_v3_large():
    ours = redesign.apply(A1, ["mobilenet_v3"])
    pairs = compare.matched(ours, V3)
    changed = {
        i: (ours.blocks[i].mid_ch, V3.blocks[j].mid_ch)  # type: ignore[union-attr]
        for i, j in pairs
        if ours.blocks[i].mid_ch != V3.blocks[j].mid_ch  # type: ignore[union-attr]
    }
    assert list(changed.values()) == [(96, 64), (144, 72), (480, 200), (480, 184), (480, 184)]
    for i, (_, theirs) in changed.items():
        group = next(g for g in groups(ours) if g.name == f"expansion of block {i}")
        ours = narrow(ours, group, theirs)
    assert ours == V3
    assert compare.distance(ours, V3) == 0


def test_redesigns_one_by_one():
    stem = redesign.small_stem(A1)
    assert (stem.blocks[0].out_ch, stem.blocks[1].in_ch, stem.blocks[1].skip) == (16, 16, "identity")  # type: ignore[union-attr]
    assert 10e6 <= cost.madds(A1) - cost.madds(stem) <= 12e6  # "10 million MAdds"
    last = redesign.efficient_last_stage(A1)
    # "30 millions": at 7 px the projection 960 -> 320, the depthwise 3x3 and 320 -> 1280, less 960 -> 1280 at 1 px
    saved = 49 * (960 * 320 + 9 * 960 + 320 * 1280) - 960 * 1280
    assert cost.madds(A1) - cost.madds(last) == saved == 34_317_760
    assert last.blocks[-2:] == (
        ConvBN(in_ch=160, out_ch=960, kernel=1, act="hard_swish"),
        Classifier(in_ch=960, hidden_ch=1280, out_ch=1000),
    )
    swish = redesign.hard_swish(A1)
    assert [b.act for b in swish.blocks[6:8]] == ["relu", "hard_swish"]
    assert cost.madds(swish) == cost.madds(A1)
    quarter = redesign.se_quarter(A1)
    assert [(b.se_ch, b.se_gate) for b in quarter.blocks[4:6]] == [(24, "hard_sigmoid"), (32, "hard_sigmoid")]  # type: ignore[union-attr]
    assert redesign.apply(V3, ["mobilenet_v3"]) == V3  # nothing to change


def test_redesigns_that_do_not_fit():
    with pytest.raises(ValueError, match="no redesign 'swish'; allowed: mobilenet_v3"):
        redesign.apply(A1, ["swish"])
    tied = replace(
        A1, blocks=(A1.blocks[0], SepConv(in_ch=32, out_ch=32, kernel=3, skip="identity"),
                    replace(A1.blocks[1], in_ch=32), *A1.blocks[2:]),
    )  # fmt: skip
    with pytest.raises(ValueError, match="the shortcut of block 1 fixes the width of the stem"):
        redesign.small_stem(tied)
    with pytest.raises(ValueError, match="does not end with an MBConv"):
        redesign.efficient_last_stage(replace(A1, blocks=(*A1.blocks[:2], Classifier(in_ch=16, out_ch=10))))


def test_distance():
    doubled = replace(
        V3,
        blocks=tuple(replace(b, mid_ch=2 * b.mid_ch) if isinstance(b, MBConv) else b for b in V3.blocks),
    )
    assert compare.distance(doubled, V3) == pytest.approx(1.0)
    assert compare.distance(A1, V3) == pytest.approx(
        np.mean([np.log2(96 / 64), 1, 0, 0, 0, 0, np.log2(480 / 200), *[np.log2(480 / 184)] * 2, 0, 0, 0, 0, 0])
    )
    assert compare.distance(zoo.get("mobilenet_v3_small"), V3) is None


def test_uniform_scaling_meets_the_target():
    latency_ms = latency_luts.load("pixel1").latency_ms
    target_ms = 0.8 * latency_ms(A1)
    scaled = compare.uniform(A1, latency_ms, target_ms)
    assert 0.98 * target_ms < latency_ms(scaled) <= target_ms
    chance = compare.by_chance(A1, latency_ms=latency_ms, target_ms=0.95 * latency_ms(A1), rule=Rule(), rng_seed=1)
    assert chance.latency_ms <= 0.95 * latency_ms(A1)
    again = compare.by_chance(A1, latency_ms=latency_ms, target_ms=0.95 * latency_ms(A1), rule=Rule(), rng_seed=1)
    assert chance == again


def test_steps_drawn_by_chance_do_not_end_at_the_network_that_they_are_compared_with():
    latency_ms = latency_luts.load("pixel1").latency_ms
    one_step = partial(compare.by_chance, A1, latency_ms=latency_ms, target_ms=0.999 * latency_ms(A1), rule=Rule())
    free = one_step(rng_seed=1)
    assert len(free.steps) == 1
    assert one_step(rng_seed=1, other_than=free.arch).arch != free.arch
    assert one_step(rng_seed=1, other_than=A1) == free
    alone = one_step(rule=Rule(kinds=("head",)))  # one proposal: there is no other network
    assert one_step(rule=Rule(kinds=("head",)), other_than=alone.arch).arch == alone.arch


@pytest.mark.parametrize(
    ("name", "ms", "published"),
    [
        ("mnasnet_a1", 1.0, "mobilenet_v3_large"),  # corresponds to it, however fast it is
        ("mobilenet_v3_small", 1000.0, "mobilenet_v3_small"),
        ("mnasnet_b1", 30.0, "mobilenet_v3_small"),  # corresponds to neither: 3 times 10 ms, 3.3 times less than 100 ms
        ("mnasnet_b1", 33.0, "mobilenet_v3_large"),  # though 10 ms are nearer in milliseconds
    ],
)
def test_the_published_network_is_the_one_that_corresponds_or_the_one_nearer_in_latency(name, ms, published):
    arch = zoo.get(name, resolution_px=96, classes=7)
    known = {"mobilenet_v3_large": 100.0, "mobilenet_v3_small": 10.0}
    found = compare.published_for(arch, lambda other: ms if other == arch else known[other.name])
    assert (found.name, found.resolution_px, found.classes) == (published, 96, 7)
