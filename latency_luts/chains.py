"""Chains: networks made of the units that a table needs, so that every unit is timed inside a network.

A unit's time depends on what runs around it (see `on_device`), so that it is measured beside several neighbours.
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

    A network starts at an image where the units allow it, and ends at a classifier. A unit that fits to no other stands
    between two 1x1 convolutions, which are not among `units`.

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

    chains = []
    while (fewest := min(count, default=contexts)) < contexts:
        chain = [count.index(fewest)]
        count[chain[0]] += 1
        for forward in (False, True):
            same = 0
            while len(chain) < _LONGEST:
                end = ordered[chain[-1] if forward else chain[0]]
                fitting = by_in[end.out_shape] if forward else by_out[end.in_shape]
                if same >= _SAME_SHAPE:
                    fitting = [i for i in fitting if not keeps_shape[i]]
                if not fitting:
                    break
                step = min(fitting, key=count.__getitem__)
                same = same + 1 if keeps_shape[step] else 0
                chain = [*chain, step] if forward else [step, *chain]
                count[step] += 1
        chains.append(_network([ordered[i] for i in chain]))
    return chains


def _network(chain: list[Unit]) -> Arch:
    blocks = [each.block for each in chain]
    first = chain[0]
    if first.in_shape[0] > 3:  # no image: something has to have produced this input
        blocks.insert(0, ConvBN(in_ch=first.in_shape[0], out_ch=first.in_shape[0], kernel=1))
    return Arch(name="chain", resolution_px=first.in_shape[1], blocks=tuple(blocks))
