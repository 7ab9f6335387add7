"""An adapted network beside others: the published one, the seed scaled uniformly, and adaptations by chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from netadapt.adapt import Adaptation, Rule, adapt
from netadapt.propose import Proposal
from search_spaces import rewrite, zoo
from search_spaces.arch import Arch, MBConv

__all__ = ["by_chance", "distance", "expansions", "matched", "published_for", "uniform"]

_DRAWS = 100


def expansions(arch: Arch) -> list[tuple[int, MBConv]]:
    """The blocks with an expansion, and their places."""
    return [(i, block) for i, block in enumerate(arch.blocks) if isinstance(block, MBConv)]


def matched(arch: Arch, other: Arch) -> list[tuple[int, int]]:
    """Places of the expansions of `arch` and `other` that correspond: same order, kernels and strides.

    One may have more at its end (the last block of MnasNet, which MobileNetV3 moved behind the pooling). Empty if the
    networks do not correspond.
    """
    ours, theirs = expansions(arch), expansions(other)
    pairs = list(zip(ours, theirs, strict=False))
    if any((a.kernel, a.stride) != (b.kernel, b.stride) for (_, a), (_, b) in pairs):
        return []
    return [(i, j) for (i, _), (j, _) in pairs] if abs(len(ours) - len(theirs)) <= 1 else []


def distance(arch: Arch, other: Arch) -> float | None:
    """The mean of |log2| of the ratio of corresponding expansions: 0 if all are equal, 1 if each is twice as wide or
    half as wide; None if the networks do not correspond."""
    pairs = matched(arch, other)
    if not pairs:
        return None
    widths = [(_mid_ch(arch, i), _mid_ch(other, j)) for i, j in pairs]
    return float(np.mean([abs(math.log2(a / b)) for a, b in widths]))


def _mid_ch(arch: Arch, i: int) -> int:
    block = arch.blocks[i]
    assert isinstance(block, MBConv)
    return block.mid_ch


def uniform(seed: Arch, latency_ms: Callable[[Arch], float], target_ms: float) -> Arch:
    """`seed` scaled uniformly to `target_ms`: the largest width multiplier, in hundredths, that meets it.

    Channels are multiples of 8, 4, 2 or 1, whichever comes nearest: multiples of 8 are the rule, but too coarse to
    compare narrow networks at one latency.

    Raises:
        ValueError: not even the multiplier 0.05 meets it.
    """
    fitting = []
    for divisor in (8, 4, 2, 1):
        for percent in range(100, 4, -1):
            scaled = rewrite.width_multiplier(seed, percent / 100, divisor)
            ms = latency_ms(scaled)
            if ms <= target_ms * (1 + 1e-9):
                fitting.append((ms, scaled))
                break
    if not fitting:
        raise ValueError(f"no width multiplier of {seed.name!r} meets {target_ms:.2f} ms")
    return max(fitting, key=lambda pair: pair[0])[1]


class _Chance:
    """A tuner that draws accuracies: every proposal is as likely to be kept as any other."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def evaluate(self, step: int, proposals: Sequence[Proposal], parent_top1: float) -> Mapping[int, float]:
        return dict(enumerate(self._rng.random(len(proposals)).tolist()))

    def keep(self, step: int, proposals: Sequence[Proposal], kept: int) -> None:
        pass


def by_chance(
    seed: Arch,
    *,
    latency_ms: Callable[[Arch], float],
    target_ms: float,
    rule: Rule,
    rng_seed: int = 0,
    other_than: Arch | None = None,
) -> Adaptation:
    """An adaptation of `seed` in which each step keeps a proposal drawn at random.

    Args:
        rule: which proposals there are; its selection does not matter.
        other_than: the network that chance is compared with. Adaptations that end at that one are drawn again; it is
            returned only if 100 of them end there.
    """
    chance, rule = _Chance(np.random.default_rng(rng_seed)), replace(rule, selection="accuracy")

    def drawn() -> Adaptation:
        return adapt(seed, chance, seed_top1=0.0, latency_ms=latency_ms, target_ms=target_ms, rule=rule)

    adaptation = drawn()
    for _ in range(_DRAWS - 1):
        if adaptation.arch != other_than:
            break
        adaptation = drawn()
    return adaptation


def published_for(arch: Arch, latency_ms: Callable[[Arch], float]) -> Arch:
    """MobileNetV3-Large or -Small for images and classes like those of `arch`: the one that corresponds to it, else the
    one nearer in latency."""
    sizes = {"resolution_px": arch.resolution_px, "classes": arch.blocks[-1].out_ch}
    both = [zoo.get(name, **sizes) for name in ("mobilenet_v3_large", "mobilenet_v3_small")]
    for candidate in both:
        if matched(arch, candidate):
            return candidate
    ms = latency_ms(arch)
    return min(both, key=lambda other: abs(math.log(latency_ms(other) / ms)))
