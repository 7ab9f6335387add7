"""NetAdapt: channels that belong together, inheritance, proposals, and the choice among them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import latency_luts
from netadapt.adapt import Rule, adapt
from netadapt.channels import groups, layer_groups, narrow
from netadapt.inherit import inherit
from netadapt.propose import Proposal, propose, ranking
from search_spaces import cost, rewrite, spaces, torch_net, zoo
from search_spaces.arch import Arch, Classifier, MBConv

A1 = zoo.get("mnasnet_a1")
V3 = zoo.get("mobilenet_v3_large")
EXPANSIONS = Rule(kinds=("expansion",))


def random_archs(n: int, *, rng_seed: int = 0, space: str = "mnasnet") -> list[Arch]:
    made = spaces.get(space, base_width=0.35, resolution_px=32, classes=10)
    return [made.decode(row) for row in made.sample(np.random.default_rng(rng_seed), n)]


def small(arch: Arch) -> Arch:
    return rewrite.classes(rewrite.small_image(rewrite.dropout(arch, 0.0), 32, min_px=2), 10)


# ---- groups


def test_groups_of_mnasnet_a1():
    found = {g.name: g.channels for g in groups(A1)}
    assert [n for n, g in zip(found, groups(A1), strict=True) if g.kind == "bottleneck"] == [
        "bottleneck of block 1",
        "bottleneck of blocks 2-3",
        "bottleneck of blocks 4-6",
        "bottleneck of blocks 7-10",
        "bottleneck of blocks 11-12",
        "bottleneck of blocks 13-15",
        "bottleneck of block 16",
    ]
    assert found["bottleneck of blocks 7-10"] == 80
    assert found["expansion of block 8"] == 480
    assert (found["stem"], found["head convolution"]) == (32, 1280)
    assert sum(g.kind == "expansion" for g in groups(A1)) == 15


def test_the_stem_of_mobilenet_v3_is_bound_to_its_first_block():
    stem = next(g for g in groups(V3) if g.kind == "stem")
    assert {block for block, _ in stem.producers} == {0, 1}
    narrower = narrow(V3, stem, 8)
    assert [b.in_ch for b in narrower.blocks[:3]] == [3, 8, 8]
    assert "hidden layer" in {g.name for g in groups(V3)}


def test_squeeze_and_excite_follows():
    by_input = narrow(A1, next(g for g in groups(A1) if g.name == "bottleneck of blocks 4-6"), 24)
    assert [b.se_ch for b in by_input.blocks[4:7]] == [6, 6, 6]  # block 4 reads the 24 channels of the stage before
    by_expansion = narrow(V3, next(g for g in groups(V3) if g.name == "expansion of block 15"), 480)
    assert by_expansion.blocks[15].se_ch == 120  # type: ignore[union-attr]


@pytest.mark.parametrize("space", ["mnasnet", "mobilenet_v3"])
def test_narrowing_random_networks(space):
    for arch in random_archs(12, space=space):
        for group in groups(arch):
            if group.channels <= 8:
                continue
            narrower = narrow(arch, group, group.channels - 8)  # Arch itself checks that channels fit
            assert cost.madds(narrower) < cost.madds(arch)
            assert cost.params(narrower) < cost.params(arch)
            same = {g.name: g.channels for g in groups(narrower)}
            assert same.pop(group.name) == group.channels - 8
            assert same == {g.name: g.channels for g in groups(arch) if g.name != group.name}
            assert layer_groups(narrower) == layer_groups(arch)


def test_a_group_of_another_network_is_refused():
    group = next(g for g in groups(A1) if g.kind == "stem")
    with pytest.raises(ValueError, match="has no stem with 32 channels"):
        narrow(V3, group, 8)
    with pytest.raises(ValueError, match="no kind of channels 'depth'; allowed: expansion, bottleneck, stem, head"):
        groups(A1, ["depth"])


# ---- inheritance


def weights_of(arch: Arch, rng_seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights with batch-norm statistics and scales that are not those of a new network."""
    generator = torch.Generator().manual_seed(rng_seed)
    state = torch_net.build(arch, generator=generator).state_dict()
    for name, value in state.items():
        if "norm" in name and value.ndim == 1:
            state[name] = torch.rand(value.shape, generator=generator) + 0.5
    return state


def net_of(arch: Arch, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    net = torch_net.Net(arch)
    net.load_state_dict(weights)
    return net.eval()


@pytest.mark.parametrize("by", ["l2", "bn_scale", "truncate"])
def test_with_nothing_removed_the_network_is_unchanged(by):
    for arch in random_archs(3):
        weights = weights_of(arch)
        same, (moments,) = inherit(arch, arch, weights, [weights], by=by)
        assert all(torch.equal(same[name], weights[name]) for name in weights)
        assert all(torch.equal(moments[name], weights[name]) for name in weights)


@pytest.mark.parametrize("by", ["l2", "truncate"])
@pytest.mark.parametrize("space", ["mnasnet", "mobilenet_v3"])
def test_inherited_networks_equal_the_masked_parent(by, space):
    """Channels whose readers are zero count for nothing: the network without them computes the same."""
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    checked = 0
    for arch in [small(A1), *random_archs(3, space=space)]:
        ends = layer_groups(arch)
        for group in groups(arch)[::3]:
            if group.channels <= 8:
                continue
            child = narrow(arch, group, group.channels - 8)
            weights = weights_of(arch)
            written = ends[group.producers[0]][1]
            kept = kept_rows(arch, child, group, weights, by)
            removed = [c for c in range(group.channels) if c not in kept]
            # se_reduce narrows too where squeeze-and-excite follows: those gates are closed to what they read as well
            for (i, name), (read, _) in ends.items():
                weight = weights.get(f"blocks.{i}.{name}.conv.weight", weights.get(f"blocks.{i}.{name}.linear.weight"))
                assert weight is not None
                if read == written and weight.shape[1] != 1:
                    weight[:, removed] = 0
                if name == "se_expand":
                    fewer = child.blocks[i].se_ch  # type: ignore[union-attr]
                    reduce = weights[f"blocks.{i}.se_reduce.conv.weight"].flatten(1).square().sum(1)
                    order = reduce.argsort(descending=True, stable=True) if by == "l2" else torch.arange(len(reduce))
                    weight[:, order[fewer:]] = 0
            if kept_rows(arch, child, group, weights, by) != kept:
                continue  # a layer that reads what it writes: the mask has changed which filters are largest
            inherited, _ = inherit(arch, child, weights, by=by)
            with torch.inference_mode():
                assert torch.allclose(net_of(arch, weights)(x), net_of(child, inherited)(x), rtol=1e-3, atol=1e-4)
            checked += 1
    assert checked > 10


def kept_rows(arch, child, group, weights, by) -> list[int]:
    """Which channels of `group` stay, told by marks in a copy of the weights of its first producer."""
    if by == "truncate":
        return list(range(group.channels - 8))
    norms = torch.zeros(group.channels)
    for i, name in group.producers:
        kind = "linear" if isinstance(arch.blocks[i], Classifier) else "conv"
        norms += weights[f"blocks.{i}.{name}.{kind}.weight"].flatten(1).square().sum(1)
    return norms.argsort(descending=True, stable=True)[: group.channels - 8].tolist()


@pytest.mark.parametrize("name", sorted(set(zoo.names()) - set(zoo.names(mobile=True))))
def test_networks_of_other_blocks_are_refused(name):
    with pytest.raises(ValueError, match=f"network '{name}.*' cannot be narrowed: its block . is a "):
        groups(zoo.get(name))


@pytest.mark.parametrize("name", zoo.names(mobile=True))
def test_every_mobile_network_of_the_zoo_can_be_narrowed_everywhere(name):
    arch = child = small(zoo.get(name))
    for place in range(len(groups(arch))):
        group = groups(child)[place]
        child = narrow(child, group, group.channels - 8) if group.channels > 8 else child
    assert cost.params(child) < cost.params(arch)
    weights, _ = inherit(arch, child, weights_of(arch))
    net = torch_net.Net(child)
    net.load_state_dict(weights)
    assert net.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_squeeze_of_one_channel_is_no_depthwise_kernel():
    block = MBConv(in_ch=16, mid_ch=64, out_ch=16, kernel=3, se_ch=2)
    arch = Arch(name="", resolution_px=8, blocks=(block, Classifier(in_ch=16, out_ch=10)))
    child = narrow(arch, groups(arch)[0], 24)
    assert child.blocks[0] == replace(block, mid_ch=24, se_ch=1)
    weights, _ = inherit(arch, child, weights_of(arch))
    assert weights["blocks.0.se_expand.conv.weight"].shape == (24, 1, 1, 1)
    torch_net.Net(child).load_state_dict(weights)


def test_a_network_without_a_classifier_is_refused():
    with pytest.raises(ValueError, match="cannot be narrowed: its last block is no Classifier"):
        groups(replace(A1, blocks=A1.blocks[:-1]))


def test_the_largest_filters_stay():
    arch = small(zoo.get("mnasnet_small"))
    group = next(g for g in groups(arch) if g.kind == "expansion" and g.channels > 16)
    weights = weights_of(arch)
    block, name = group.producers[0]
    filters = weights[f"blocks.{block}.{name}.conv.weight"]
    filters[::2] *= 100
    child = narrow(arch, group, group.channels // 2)
    kept, _ = inherit(arch, child, weights, by="l2")
    assert torch.equal(kept[f"blocks.{block}.{name}.conv.weight"], filters[::2])
    depthwise = f"blocks.{block}.depthwise.conv.weight"
    assert torch.equal(kept[depthwise], weights[depthwise][::2])
    first, _ = inherit(arch, child, weights, by="truncate")
    assert torch.equal(first[f"blocks.{block}.{name}.conv.weight"], filters[: len(filters) // 2])


def test_wider_networks_get_new_channels():
    child = small(A1)
    group = next(g for g in groups(child) if g.name == "expansion of block 4")
    parent = narrow(child, group, 40)
    weights = weights_of(parent)
    found, (moments,) = inherit(parent, child, weights, [weights], rng_seed=3)
    name = "blocks.4.expand.conv.weight"
    assert torch.equal(found[name][:40], weights[name])
    assert found[name][40:].abs().sum() > 0  # as in a new network
    assert moments[name][40:].abs().sum() == 0


def test_weights_that_do_not_fit_are_named():
    weights = weights_of(small(A1))
    with pytest.raises(
        ValueError, match=r"blocks.0.conv.conv.weight is \(32, 3, 3, 3\) in the weights, but \(16, 3, 3, 3\)"
    ):
        torch_net.check_weights(small(V3), weights)
    del weights["blocks.3.expand.norm.running_var"]
    with pytest.raises(ValueError, match="the weights lack blocks.3.expand.norm.running_var"):
        torch_net.check_weights(small(A1), weights)
    with pytest.raises(ValueError, match="do not have the same blocks"):
        inherit(small(A1), small(V3), weights_of(small(A1)))


# ---- proposals


def test_proposals_are_the_widest_that_save_enough():
    model = latency_luts.load("pixel1")
    cut_ms = 0.01 * model.latency_ms(A1)
    found = propose(A1, model.latency_ms, cut_ms=cut_ms, kinds=("expansion", "bottleneck", "stem", "head"))
    assert len(found) == len({p.group for p in found}) > 15
    for proposal in found:
        assert proposal.saved_ms >= cut_ms * (1 - 1e-6)
        assert proposal.latency_ms == pytest.approx(model.latency_ms(proposal.arch))
        assert proposal.after % 8 == 0
        group = next(g for g in groups(A1) if g.name == proposal.group)
        assert (proposal.kind, proposal.before) == (group.kind, group.channels)
        if proposal.after + 8 < proposal.before:
            wider = narrow(A1, group, proposal.after + 8)
            assert model.latency_ms(A1) - model.latency_ms(wider) < cut_ms


def proposal(saved_ms: float) -> Proposal:
    return Proposal(arch=A1, group="g", kind="expansion", before=16, after=8, latency_ms=1.0, saved_ms=saved_ms)


def test_ranking():
    one, two, three = proposal(1.0), proposal(2.0), proposal(3.0)
    # losing 1 point for 1 ms is worse than losing 1.5 points for 2 ms
    assert ranking([one, two], [0.69, 0.685], 0.70) == [1, 0]
    # a gain comes before any loss; of gains the larger product of gain and cut; no change is no gain
    assert ranking([one, two, three], [0.71, 0.709, 0.699], 0.70) == [1, 0, 2]
    assert ranking([one, two, three], [0.70, 0.70, 0.701], 0.70) == [2, 1, 0]  # ties: the one that saves more
    assert ranking([two, two], [0.5, 0.5], 0.70) == [0, 1]
    assert ranking([one, three], [0.69, 0.685], 0.70, "accuracy") == [0, 1]
    assert ranking([two, two], [0.5, 0.5], 0.70, "accuracy") == [0, 1]
    with pytest.raises(ValueError, match="no selection 'loss'; allowed: ratio, accuracy"):
        ranking([one], [0.5], 0.5, "loss")


class ByWidth:
    """Accuracy as a sum over groups: some are worth more than others, so that the best path is known."""

    def __init__(self, worthless: str) -> None:
        self.worthless, self.kept = worthless, []

    def evaluate(self, step, proposals, parent_top1):
        return {i: parent_top1 - (0 if p.group == self.worthless else 0.01) for i, p in enumerate(proposals)}

    def keep(self, step, proposals, kept):
        self.kept.append(proposals[kept].group)


def test_adapt_keeps_what_costs_least():
    latency_ms = latency_luts.load("pixel1").latency_ms
    seed_ms = latency_ms(A1)
    tuner = ByWidth("expansion of block 8")
    found = adapt(A1, tuner, seed_top1=0.7, latency_ms=latency_ms, target_ms=0.97 * seed_ms, rule=EXPANSIONS)
    assert tuner.kept == ["expansion of block 8"] * len(found.steps)
    assert found.latency_ms <= 0.97 * seed_ms
    ms = [step.kept.latency_ms for step in found.steps]
    assert ms == sorted(ms, reverse=True)
    assert found.stopped == ""


def test_adapt_stops_where_nothing_is_left():
    latency_ms = latency_luts.load("pixel1").latency_ms
    found = adapt(
        A1, ByWidth(""), seed_top1=0.7, latency_ms=latency_ms, target_ms=1.0, rule=replace(EXPANSIONS, delta=0.2)
    )
    assert found.stopped.startswith("nothing that may be narrowed saves another")
    assert found.latency_ms > 1.0
    with pytest.raises(ValueError, match="the target is 500 ms, but the seed takes"):
        adapt(A1, ByWidth(""), seed_top1=0.7, latency_ms=latency_ms, target_ms=500)
