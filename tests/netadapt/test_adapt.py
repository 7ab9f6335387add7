"""Algorithm 1 by hand: what is cut, who is kept, and which filters stay."""

import pytest
import torch

from netadapt.adapt import Adaptation, Rule, adapt
from netadapt.channels import groups, narrow
from netadapt.inherit import inherit
from netadapt.propose import narrowest, propose
from search_spaces import torch_net, zoo
from search_spaces.arch import Arch, Classifier, MBConv

A1 = zoo.get("mnasnet_a1")
FOUR, EIGHT = "expansion of block 4", "expansion of block 8"  # of 72 and 480 channels


def by_two_expansions(arch: Arch) -> float:
    """1 ms for a channel of block 4's expansion, 3 ms for one of block 8's: 1512 ms for MnasNet-A1."""
    return 1.0 * arch.blocks[4].mid_ch + 3.0 * arch.blocks[8].mid_ch  # type: ignore[union-attr]


class Told:
    """Accuracies by group, a step at a time, and what was asked."""

    def __init__(self, *top1: dict[str, float]) -> None:
        self.top1, self.parents, self.kept = top1, [], []

    def evaluate(self, step, proposals, parent_top1):
        self.parents.append(parent_top1)
        return {i: self.top1[step - 1][p.group] for i, p in enumerate(proposals)}

    def keep(self, step, proposals, kept):
        self.kept.append(proposals[kept].group)


def go(tuner: Told, *, target_ms: float = 1490.0, on_step=None, **settings) -> Adaptation:
    """A step that saves 8 ms in block 4 or 24 ms in block 8."""
    rule = Rule(**{"delta": 0.005, "kinds": ("expansion",), **settings})
    given = {"seed_top1": 0.7, "latency_ms": by_two_expansions, "target_ms": target_ms, "on_step": on_step}
    return adapt(A1, tuner, rule=rule, **given)


def test_a_step_is_judged_from_the_one_before():
    """First 0.15 of accuracy for 24 ms are better than 0.1 for 8 ms; then, from 0.55, both gain, and 0.05 times 8 ms is
    more than 0.01 times 24 ms. From the seed's 0.7 both would lose, and block 8 less for a millisecond."""
    tuner = Told({FOUR: 0.60, EIGHT: 0.55}, {FOUR: 0.60, EIGHT: 0.56})
    found = go(tuner, target_ms=1480.0)
    assert tuner.kept == [EIGHT, FOUR]
    assert tuner.parents == [0.7, 0.55]
    assert [(s.number, s.top1, s.proposals, s.kept.saved_ms) for s in found.steps] == [
        (1, 0.55, 2, 24.0),
        (2, 0.6, 2, 8),
    ]
    assert (found.seed_ms, found.latency_ms, found.stopped) == (1512.0, 1480.0, "")
    assert (found.seed, found.seed_top1, found.target_ms) == (A1, 0.7, 1480.0)


def test_the_paper_s_own_rule_keeps_the_most_accurate():
    tuner = Told({FOUR: 0.60, EIGHT: 0.55}, {FOUR: 0.58, EIGHT: 0.57}, {FOUR: 0.5, EIGHT: 0.5})
    go(tuner, selection="accuracy", target_ms=1480.0)
    assert tuner.kept == [FOUR, FOUR, EIGHT]  # of equally accurate ones the one that saves more


def test_cuts_are_shares_of_the_seeds_latency_and_decay():
    found = go(Told(*[{FOUR: 0.7, EIGHT: 0.7}] * 9), delta=0.02, decay=0.5, target_ms=1400.0)
    assert [step.cut_ms for step in found.steps] == pytest.approx(
        [0.02 * 1512 * 0.5**i for i in range(len(found.steps))]
    )
    assert [step.kept.saved_ms for step in found.steps] == [48.0, 24.0, 24.0, 24.0]  # of block 8, in steps of 24 ms
    for wrong in ({"delta": 0.0}, {"delta": 1.0}, {"decay": 0.0}, {"decay": 1.1}):
        with pytest.raises(ValueError, match="allowed: 0 < delta < 1, 0 < decay <= 1"):
            go(Told(), **wrong)


def test_a_step_is_told_when_it_is_done():
    told = []
    found = go(Told({FOUR: 0.6, EIGHT: 0.6}), on_step=told.append)
    assert tuple(told) == found.steps != ()


def test_proposals_end_at_8_channels_and_are_multiples_of_8():
    """Of 20 channels 16 come first; where only 8 save enough, 8 are proposed; where nothing does, none."""
    block = MBConv(in_ch=16, mid_ch=20, out_ch=16, kernel=3)
    arch = Arch(name="", resolution_px=8, blocks=(block, Classifier(in_ch=16, out_ch=10)))

    def widths(least: int) -> list[int]:
        """Proposed where networks of at most `least` expanded channels are faster."""

        def latency_ms(arch: Arch) -> float:
            return 1.0 if arch.blocks[0].mid_ch <= least else 2.0  # type: ignore[union-attr]

        return [p.after for p in propose(arch, latency_ms, cut_ms=1.0, kinds=("expansion",))]

    assert [widths(least) for least in (19, 16, 15, 8, 7)] == [[16], [16], [8], [8], []]


def test_nothing_is_narrower_than_the_narrowest():
    arch = narrowest(A1)
    assert {group.channels for group in groups(arch)} == {8}
    kept = {group.name: group.channels for group in groups(narrowest(A1, ("expansion",)))}
    assert {n for name, n in kept.items() if name.startswith("expansion")} == {8}
    assert kept["bottleneck of blocks 7-10"] == 80


@pytest.mark.parametrize(
    ("of_block_2", "of_block_3", "stays"),
    [
        ({7: [1, 1, 1, 1], 8: [3]}, {}, 8),  # squares, not magnitudes: 9 against 4
        ({7: [4]}, {8: [3]}, 7),  # of all layers that write the channels, not of the last one
        ({7: [3], 8: [2]}, {8: [2.4]}, 8),  # 9 against 4 + 5.76, and not of the first one
        ({7: [2], 8: [2]}, {}, 7),  # of equal ones the first
    ],
)
def test_filters_stay_by_the_squares_of_all_that_write_a_channel(of_block_2, of_block_3, stays):
    """Of 24 channels of a bottleneck 8 stay: seven large ones, and one of two."""
    group = next(g for g in groups(A1) if g.name == "bottleneck of blocks 2-3")
    weights = torch_net.build(A1, generator=torch.Generator().manual_seed(0)).state_dict()
    names = [f"blocks.{block}.{name}.conv.weight" for block, name in group.producers]
    for name, filters in zip(names, (of_block_2, of_block_3), strict=True):
        weights[name].zero_()
        weights[name][:7, 0] = 10.0
        for channel, values in filters.items():
            weights[name][channel, : len(values), 0, 0] = torch.tensor(values, dtype=torch.float32)
    child = narrow(A1, group, 8)
    inherited, _ = inherit(A1, child, weights)
    for name in names:
        assert torch.equal(inherited[name], weights[name][[*range(7), stays]])
