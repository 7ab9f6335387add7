"""`Mixtures`: networks in which some choices are not made, but all of their operators averaged.

TuNAS warms shared weights up with them ("op warmup", arXiv:2008.06120, section 4; ``Switch`` in tunas/rematlib): where
an operator is chosen, as the size of a kernel, squeeze-and-excite or not, a layer or none, the outputs of all options
are averaged with equal weights; where filters are chosen, the largest option stands. Only what differs is computed
several times: a layer with three kernels has one expansion, three depthwise convolutions and one projection.

Which choices are which is read from the space: options of *filters* give the largest network the same blocks with
other channels, those of *operators* other blocks.

Between the options of a layer weights belong to its own position. (Of a network without averages a layer takes the
first free position of those where it may stand, see `Layout.positions`: two points that stand for the same network
share all weights.)
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from graphlib import TopologicalSorter
from itertools import product

import numpy as np

from nas.supernet.routes import Mean, Route, Step, Stretch, keyed, with_done
from search_spaces.arch import Block
from search_spaces.ops import Op
from search_spaces.space import SearchSpace

__all__ = ["Mixtures", "averaged", "operators"]


class Mixtures:
    """The networks of a space, and what lies between them.

    Args:
        route: gives the way of a point (C,) through the shared weights.
        kernels: see `nas.supernet.phases.KERNELS`.

    Attributes:
        operators: (C,) bools, see `operators`.
    """

    def __init__(self, space: SearchSpace, route: Callable[[np.ndarray], Route], kernels: str) -> None:
        self.space, self.operators = space, operators(space)
        self._route, self._kernels = route, kernels
        number = {choice.name: c for c, choice in enumerate(space.choices)}
        self._columns = [[number[name] for name in layer.choices] for layer in space.declared().variants()]
        self._blocks: dict[tuple[int, ...], tuple[Block, ...]] = {}

    def route(self, point: np.ndarray, mixed: np.ndarray) -> Route:
        """The way of the network `point` (C,), with all operators of the choices `mixed` (C,) averaged.

        Options are left out that would change the channels or the image's size from one layer to the next. The result's
        `Route.arch` is that of the point.
        """
        route = self._route(point)
        if not mixed.any():
            return route
        columns = [[c for c in columns if mixed[c]] for columns in self._columns]
        options = [list(product(*(range(len(self.space.choices[c].options)) for c in own))) for own in columns]
        points = [np.repeat(point[None], len(own), axis=0) for own in options]
        for variants, own, values in zip(points, columns, options, strict=True):
            variants[:, own] = values
        self._look_at(point, columns, options)
        stretches, last = [], -1
        for layer in range(len(points)):
            blocks = self._blocks_of(layer, point)
            variants = [self._blocks_of(layer, variant) for variant in points[layer]]
            last += len(blocks)
            if blocks:
                steps = averaged(layer, [v for v in variants if _fits(v, blocks)], self._kernels)
                stretches.append(Stretch(layer, blocks[0].in_ch, last, steps, route.arch.norm_eps))
        return replace(route, stretches=tuple(stretches))

    def spread(self, point: np.ndarray, mixed: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
        """(n, C) networks that the one of `route` is the average of, drawn at random."""
        return np.where(mixed, self.space.sample(rng, n), point)

    def _look_at(self, point: np.ndarray, columns: list[list[int]], options: list[list[tuple[int, ...]]]) -> None:
        """Keeps the blocks of all layers for each of their options, of as few networks as possible: each has another
        variant of every layer."""
        for i in range(max(map(len, options))):
            variant = point.copy()
            for own, values in zip(columns, options, strict=True):
                variant[own] = values[i % len(values)]
            for layer in range(len(columns)):
                self._blocks_of(layer, variant)

    def _blocks_of(self, layer: int, point: np.ndarray) -> tuple[Block, ...]:
        """The blocks of a layer for a point's options, for the images of the data set."""
        key = (layer, *point[self._columns[layer]].tolist())
        if key not in self._blocks:
            blocks = self._route(point).arch.blocks  # of all layers
            lengths = map(len, self.space.declared().blocks(point))
            for number, (columns, length) in enumerate(zip(self._columns, lengths, strict=True)):
                self._blocks[number, *point[columns].tolist()], blocks = blocks[:length], blocks[length:]
        return self._blocks[key]


def operators(space: SearchSpace) -> np.ndarray:
    """(C,) bools: which choices are of operators; the others are of filters."""
    of_operators = []
    for c, choice in enumerate(space.choices):
        points = np.repeat(space.largest[None], len(choice.options), axis=0)
        points[:, c] = np.arange(len(choice.options))
        networks = [space.decode(point).blocks for point in points]
        kinds = {tuple(type(block) for block in blocks) for blocks in networks}
        channels = {tuple(_channels(block) for block in blocks) for blocks in networks}
        of_operators.append(len(set(networks)) > 1 and (len(kinds) > 1 or len(channels) == 1))
    return np.array(of_operators)


def averaged(layer: int, variants: Sequence[tuple[Block, ...]], kernels: str) -> tuple[Step, ...]:
    """The steps of a layer whose output is the average over `variants`, as the operators that they share are computed
    once: two are one where their blocks are of a kind and have the same channels.

    Where they differ in their own parameters, their outputs are averaged; where they read different values, these.
    Weights are the numbers of variants. One without blocks passes on what it gets.
    """
    ops: dict[str, Counter[tuple[Op, str]]] = {}
    reads: dict[str, list[Counter[str]]] = {}
    ends: Counter[str] = Counter()
    for blocks in variants:
        source = ""
        for number, block in enumerate(blocks):
            prefix, last = f"{number}.{type(block).__name__}{_channels(block)}.", source
            for op, key in keyed(block, (layer, number), kernels):
                name = prefix + op.name
                ops.setdefault(name, Counter())[_unread(op), key] += 1
                slots = reads.setdefault(name, [Counter() for _ in op.inputs])
                for slot, read in zip(slots, op.inputs, strict=True):
                    slot[last if read == "input" else prefix + read] += 1
                source = name
        ends[source] += 1
    steps: list[Step] = []
    before = {name: {read for slot in slots for read in slot if read} for name, slots in reads.items()}
    for name in TopologicalSorter(before).static_order():
        inputs = tuple(_mean(steps, f"{name}<{i}", slot) for i, slot in enumerate(reads[name]))
        own: Counter[str] = Counter()
        for i, ((op, key), n) in enumerate(ops[name].items()):
            steps.append(Step(f"{name}/{i}" if len(ops[name]) > 1 else name, inputs, op, key))
            own[steps[-1].name] = n
        _mean(steps, name, own)
    _mean(steps, "end", ends)
    return with_done(steps)


def _mean(steps: list[Step], name: str, values: Counter[str]) -> str:
    """The name of the step that averages some values: the new one `name`, or of the only value."""
    if len(values) == 1:
        return next(iter(values))
    steps.append(Step(name, tuple(values), Mean(tuple(n / values.total() for n in values.values()))))
    return name


def _fits(variant: tuple[Block, ...], blocks: tuple[Block, ...]) -> bool:
    """Whether `variant` can stand where `blocks` stand: the same channels go in and come out, and where it has
    no blocks, the image keeps its size."""
    ends = blocks[0].in_ch, blocks[-1].out_ch
    if variant:
        return (variant[0].in_ch, variant[-1].out_ch) == ends
    return ends[0] == ends[1] and all(getattr(block, "stride", 1) == 1 for block in blocks)


@lru_cache(maxsize=100_000)
def _channels(block: Block) -> tuple[int, ...]:
    """The channels of `block`, but for those inside squeeze-and-excite, which a variant may lack."""
    return tuple(getattr(block, f.name) for f in fields(block) if f.name.endswith("_ch") and f.name != "se_ch")


@lru_cache(maxsize=100_000)
def _unread(op: Op) -> Op:
    """The operator without the names of what it reads."""
    return replace(op, inputs=())
