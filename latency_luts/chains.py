"""Chains: networks made of the units that a table needs, so that every unit is timed inside a network.

A unit's time depends on what runs around it (see `on_device`), so that it is measured beside several neighbours, and
beside such as it has in networks: the layers of a stage are alike, so that a unit which keeps its input's shape follows
one of its own kind. Behind dense convolutions, whose weights leave little in the caches, a depthwise-separable unit
takes longer than behind another one of its kind.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np

from latency_luts.key import key
from search_spaces.arch import Arch, ConvBN
from search_spaces.lower import Unit

__all__ = ["cover"]

_LONGEST = 24
_SAME_SHAPE = 1  # units in a row that keep their input's shape: so chains weigh what random networks of a space weigh


def cover(
    units: Collection[Unit], rng: np.random.Generator, *, contexts: int = 1, done: Mapping[Unit, int] | None = None
) -> list[Arch]:
    """Networks in which each of `units` stands at least `contexts` times, less the times it was `done` before.

    A network starts at an image where the units allow it, and ends at a classifier. A unit that keeps its input's shape
    follows one of its own kind where there is one. A unit that fits to no other stands behind a 1x1 convolution, which
    is not among `units`.

    Raises:
        ValueError: a unit whose input is not square.
    """
    ordered = sorted(units, key=key)
    for each in ordered:
        if each.in_shape[1] != each.in_shape[2]:
            raise ValueError(f"unit {key(each)} has no square input; networks have")
    ordered = [ordered[i] for i in rng.permutation(len(ordered))]
    count = [(done or {}).get(each, 0) for each in ordered]
    by_in, by_out = defaultdict(list), defaultdict(list)
    for i, each in enumerate(ordered):
        by_in[each.in_shape].append(i)
        by_out[each.out_shape].append(i)
    keeps_shape = [each.in_shape == each.out_shape for each in ordered]
    kinds = [_kind(each) for each in ordered]

    def alike(first: int, second: int) -> bool:
        return kinds[first] == kinds[second] or not keeps_shape[second]

    chains = []
    while (fewest := min(count, default=contexts)) < contexts:
        chain = [count.index(fewest)]
        count[chain[0]] += 1
        for forward in (False, True):
            same = 0
            while len(chain) < _LONGEST:
                end = chain[-1] if forward else chain[0]
                fitting = by_in[ordered[end].out_shape] if forward else by_out[ordered[end].in_shape]
                if same >= _SAME_SHAPE:
                    fitting = [i for i in fitting if not keeps_shape[i]]
                if not fitting:
                    break
                like = [i for i in fitting if (alike(end, i) if forward else alike(i, end))]
                step = min(like or fitting, key=count.__getitem__)
                same = same + 1 if keeps_shape[step] else 0
                chain = [*chain, step] if forward else [step, *chain]
                count[step] += 1
        chains.append(_network([ordered[i] for i in chain]))
    return chains


def _kind(each: Unit) -> tuple[str, bool]:
    """What the layers of a stage have in common: the block's type, and whether it has squeeze-and-excite, after which a
    dense convolution leaves its output in another memory layout."""
    return type(each.block).__name__, getattr(each.block, "se_ch", 0) > 0


def _network(chain: list[Unit]) -> Arch:
    blocks = [each.block for each in chain]
    first = chain[0]
    if first.in_shape[0] > 3:  # no image: something has to have produced this input
        blocks.insert(0, ConvBN(in_ch=first.in_shape[0], out_ch=first.in_shape[0], kernel=1))
    return Arch(name="chain", resolution_px=first.in_shape[1], blocks=tuple(blocks))
