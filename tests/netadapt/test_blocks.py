"""Blocks that leave, and kernels that become smaller: what is left computes what the parent did without them."""

import numpy as np
import pytest
import torch

import latency_luts
from netadapt import report
from netadapt.adapt import Rule, adapt
from netadapt.blocks import aligned, removable, smaller_kernels, without
from netadapt.channels import groups, narrow
from netadapt.inherit import inherit
from netadapt.propose import KINDS, narrowest, propose
from search_spaces import lower, zoo
from search_spaces.arch import Arch, MBConv, Mobile
from tests.netadapt.test_netadapt import net_of, random_archs, small, weights_of

A1 = zoo.get("mnasnet_a1")
X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def answers(arch: Arch, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return net_of(arch, weights)(X)


def test_blocks_with_a_shortcut_may_leave_of_equal_ones_the_last():
    assert removable(A1) == (3, 6, 10, 12, 15)
    assert [A1.blocks[i] == A1.blocks[i - 1] for i in removable(A1)] == [False, True, True, False, True]
    assert A1.blocks[2] != A1.blocks[3]  # which has another stride
    group = next(g for g in groups(A1) if g.name == "expansion of block 5")
    assert removable(narrow(A1, group, 40)) == (3, 5, 6, 10, 12, 15)
    assert removable(zoo.get("mobilenet_v1")) == ()


@pytest.mark.parametrize("space", ["mnasnet", "mobilenet_v3"])
def test_a_network_without_a_block_is_the_parent_whose_block_adds_nothing(space):
    checked = 0
    for arch in [small(A1), *random_archs(4, space=space)]:
        for place in removable(arch)[:3]:
            weights = weights_of(arch)
            last = [op.name for op in arch.blocks[place].ops() if f"blocks.{place}.{op.name}.norm.weight" in weights][
                -1
            ]
            for name in ("weight", "bias"):
                weights[f"blocks.{place}.{last}.norm.{name}"].zero_()
            weights[f"blocks.{place}.{last}.norm.running_mean"].zero_()
            child = without(arch, place)
            found, (moments,) = inherit(arch, child, weights, [weights])
            assert torch.allclose(answers(arch, weights), answers(child, found), rtol=1e-3, atol=1e-4)
            assert moments.keys() == found.keys()
            checked += 1
    assert checked >= 6


def test_a_smaller_kernel_is_the_middle_of_the_larger():
    arch = small(A1)
    place = next(i for i, block in enumerate(arch.blocks) if isinstance(block, MBConv) and block.kernel == 5)
    ((kernel, child),) = smaller_kernels(arch, place)
    narrower = child.blocks[place]
    assert isinstance(narrower, MBConv)
    assert (kernel, narrower.kernel) == (3, 3)
    weights = weights_of(arch)
    middle = weights[f"blocks.{place}.depthwise.conv.weight"]
    rim = torch.ones_like(middle, dtype=torch.bool)
    rim[:, :, 1:-1, 1:-1] = False
    middle[rim] = 0
    found, _ = inherit(arch, child, weights)
    assert torch.allclose(answers(arch, weights), answers(child, found), rtol=1e-3, atol=1e-4)
    other = zoo.get("proxyless_r")
    seven = next(i for i, block in enumerate(other.blocks) if isinstance(block, MBConv) and block.kernel == 7)
    assert [kernel for kernel, _ in smaller_kernels(other, seven)] == [5, 3]
    assert list(smaller_kernels(arch, 0)) == []


def test_blocks_are_found_again_among_those_of_the_parent():
    rng = np.random.default_rng(0)
    for arch in [A1, *random_archs(10, rng_seed=3, space="mobilenet_v3")]:
        child, left = arch, list(range(len(arch.blocks)))
        for _ in range(3):
            group = groups(child)[rng.integers(len(groups(child)))]
            child = narrow(child, group, max(1, round(group.channels * 0.9)))
            if places := removable(child):
                place = int(rng.choice(places))
                child = without(child, place)
                del left[place]
        found = aligned(arch, child)
        assert len(found) == len(child.blocks)
        assert list(found) == sorted(set(found))
        same = [(block.stride, block.kernel) for i in found if isinstance(block := arch.blocks[i], Mobile)]
        assert same == [(block.stride, block.kernel) for block in child.blocks if isinstance(block, Mobile)]
    ((_, smaller),) = smaller_kernels(A1, 4)
    with pytest.raises(ValueError, match="do not have the same blocks"):
        aligned(smaller, A1)  # a larger kernel cannot be inherited
    for other in (zoo.get("mobilenet_v3_large"), zoo.get("mnasnet_small")):
        with pytest.raises(ValueError, match="do not have the same blocks"):
            aligned(A1, other)


def test_importance_goes_with_its_block():
    arch = small(A1)
    child = without(arch, 6)
    group = next(g for g in groups(child) if g.name == "expansion of block 6")  # block 7 of the parent
    child = narrow(child, group, group.channels - 8)
    weights = weights_of(arch)
    matters = {
        (i, op): torch.arange(weights[f"{name.rpartition('.')[0]}.weight"].shape[0], dtype=torch.float32)
        for name in weights
        if name.endswith(("conv.weight", "linear.weight"))
        for _, number, op, *_ in [name.split(".")]
        for i in [int(number)]
    }
    found, _ = inherit(arch, child, weights, by="taylor", importance=matters)
    assert torch.equal(found["blocks.6.expand.conv.weight"], weights["blocks.7.expand.conv.weight"][8:])


def test_proposals_take_blocks_and_kernels_and_an_adaptation_reaches_its_target():
    latency_ms = latency_luts.load("pixel1").latency_ms
    seed_ms = latency_ms(A1)
    proposals = propose(A1, latency_ms, cut_ms=0.002 * seed_ms, kinds=("depth", "kernel"))
    assert {p.group for p in proposals if p.kind == "depth"} == {f"block {i} left out" for i in (3, 6, 10, 12, 15)}
    assert {(p.before, p.after) for p in proposals if p.kind == "depth"} == {(1, 0)}
    assert {(p.before, p.after) for p in proposals if p.kind == "kernel"} == {(5, 3)}
    assert all(p.saved_ms >= 0.002 * seed_ms * 0.999 for p in proposals)

    class Tuner:
        """Likes smaller kernels, then blocks that leave, then the rest."""

        def evaluate(self, step, proposals, parent_top1):
            return {i: KINDS.index(p.kind) / 100 for i, p in enumerate(proposals)}

        def keep(self, step, proposals, kept):
            pass

    rule = Rule(kinds=KINDS, selection="accuracy", delta=0.002)
    found = adapt(A1, Tuner(), seed_top1=0.7, latency_ms=latency_ms, target_ms=0.45 * seed_ms, rule=rule)
    assert found.latency_ms <= 0.45 * seed_ms
    assert {"kernel", "depth"} <= {step.kept.kind for step in found.steps}
    assert len(found.arch.blocks) < len(A1.blocks)
    shown = groups(A1)
    channels = report._channels(A1, found.arch, shown)
    assert min(channels) == 0  # of blocks that have left
    assert max(np.array(channels) - [group.channels for group in shown]) <= 0
    least = narrowest(A1, KINDS)
    assert removable(least) == ()
    assert {block.kernel for block in least.blocks if isinstance(block, Mobile)} <= {1, 3}
    assert latency_ms(least) < latency_ms(narrowest(A1))
    assert lower.lower(least)
