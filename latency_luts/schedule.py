"""What a table is made of, and in which groups and how often it is timed: here, on a node, or on a bundle's device."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from latency_luts import last_layers
from latency_luts.known import published
from latency_luts.measure import identity
from latency_luts.options import MeasurementHere
from latency_luts.table import Identity
from search_spaces import cost, rewrite, spaces, text
from search_spaces.arch import Arch
from search_spaces.lower import Unit, lower
from search_spaces.options import Space
from search_spaces.space import SearchSpace
from search_spaces.zoo.published import TABLE3

__all__ = ["how_of", "network_name", "space_of", "together", "units_and_samples"]

BURSTS = 3  # of each chain: a unit varies more from chain to chain than from run to run
NETWORK_TURNS = 5  # of the whole networks, between the chains
NETWORK_BURSTS = 12  # a turn
FIT_SAMPLES = 32
CHAINS_TOGETHER = 16  # graphs that take turns
NETWORKS_TOGETHER = 128  # the more, the less does the machine's changing speed tell them apart
_TOGETHER_BYTES = 2 << 30  # and their weights at most


def units_and_samples(space: SearchSpace) -> tuple[set[Unit], dict[str, Arch]]:
    """What a table for `space` is made of: all its units and those of the MobileNetV3 paper's table 3 for images of the
    same size, and the random networks of the space that the correction is fitted to.

    Last layers are those of `last_layers.MEASURED`, whatever the space has: they stand for all numbers of classes.

    Raises:
        ValueError: the space cannot list its units.
    """
    rows = space.sample(np.random.default_rng(0), FIT_SAMPLES)
    samples = [rewrite.classes(space.decode(row), last_layers.MEASURED[-1]) for row in rows]
    resolution_px = samples[0].resolution_px
    references = {
        rewrite.resolution(item.arch, resolution_px) for item in published("pixel1") if item.source_set == TABLE3
    }
    units = {*space.units(), *(unit for arch in references for unit in lower(arch))}
    return last_layers.for_measuring(units), {network_name(arch): arch for arch in samples}


def network_name(arch: Arch) -> str:
    """A name that tells one random network of a space from another."""
    return f"{arch.name}-{hashlib.sha256(text.to_json(arch).encode()).hexdigest()[:6]}"


def together(chains: Sequence[Arch], number: int) -> Iterator[list[Arch]]:
    """Stretches of `chains` that take turns: at most `number`, whose weights fit into memory."""
    group: list[Arch] = []
    size_bytes = 0
    for chain in chains:
        its = 4 * cost.params(chain)
        if group and (len(group) == number or size_bytes + its > _TOGETHER_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(chain)
        size_bytes += its
    if group:
        yield group


def space_of(options: Space) -> SearchSpace:
    """The search space that a command asks for, for measuring."""
    return spaces.get(
        options.name,
        base_width=options.base_width,
        resolution_px=options.px,
        classes=last_layers.MEASURED[-1],
    )


def how_of(options: MeasurementHere) -> Identity:
    """This machine, measured as a command asks.

    Raises:
        ValueError: see `measure.identity`.
    """
    return identity(threads=options.threads, batch=options.batch, dtype=options.dtype, runtime=options.runtime)
