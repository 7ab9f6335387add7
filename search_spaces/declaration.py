"""A space declared once: layers whose arguments may be choices.

Everything else follows: the choices, a point's network, the units that a latency table needs, what may stand at each
layer (for the latencies of whole batches and for shared weights), and the largest network. See `space.declare`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from search_spaces.arch import Arch, Block
from search_spaces.choice import Choice, Indices, listed
from search_spaces.lower import Unit, chain

__all__ = ["Declaration", "Layer", "OneOf", "Variants"]

_IMAGE_CH = 3
_MOST_COMBINATIONS = 1_000_000  # of what decides one layer: its blocks are listed
_MOST_REPEATS = 1000


@dataclass(frozen=True, init=False)
class OneOf:
    """A choice where it stands in a layer: one of several values.

    Args:
        name: of the choice. The same name is the same choice, wherever it stands; its values may differ from place to
            place, as the channels of a width for all layers.
        options: the values; or {option: value}, where the layer gets something else than what is recorded and shown.
        largest: the option of the largest network, which shared weights are trained on first. If None the largest
            number, or the last option where they are not all numbers.

    Raises:
        ValueError: what a `Choice` refuses, or `largest` is no option.

    Example:
        >>> OneOf("stage2.kernel", (3, 5))
        >>> OneOf("stage2.filters", {0.5: 16, 1.0: 32}), OneOf("stage2.op", {"conv": ConvBN, "separable": SepConv})
    """

    choice: Choice
    values: tuple[Any, ...]
    largest: Any

    def __init__(self, name: str, options: Sequence[Any] | Mapping[Any, Any], *, largest: Any = None) -> None:
        mapped = isinstance(options, Mapping)
        choice = Choice(name, tuple(options) if mapped else options)  # type: ignore[arg-type]
        if largest is None:
            numbers = all(isinstance(option, int | float) for option in choice.options)
            largest = max(choice.options) if numbers else choice.options[-1]
        if largest not in choice.options:
            raise ValueError(f"choice {name!r}: the largest is {largest!r}; allowed: {listed(choice.options)}")
        object.__setattr__(self, "choice", choice)
        object.__setattr__(self, "values", tuple(options.values()) if mapped else choice.options)
        object.__setattr__(self, "largest", largest)

    @property
    def name(self) -> str:
        return self.choice.name

    @property
    def options(self) -> tuple[Any, ...]:
        return self.choice.options


@dataclass(frozen=True, init=False)
class Layer:
    """A layer of a network, or several alike one after the other.

    Args:
        build: ``build(in_ch=..., **arguments)`` gives the block, or several, or None for none. A kind of blocks will
            do, as ``Layer(ConvBN, out_ch=32, kernel=3)``, and any function that can be pickled.
        arguments: values, or `OneOf`. Two have a meaning of their own: ``repeat`` (1 if absent) is how often the layer
            stands there, 0 for not at all, each reading what the one before it gives; of these only the first has the
            ``stride``, the others 1. All have the same choices: where each is to have its own, declare them one by one.

    Raises:
        ValueError: `build` is no function.
    """

    build: Callable[..., Block | tuple[Block, ...] | None]
    fixed: Mapping[str, Any]
    chosen: Mapping[str, OneOf]

    def __init__(self, build: Callable[..., Block | tuple[Block, ...] | None], /, **arguments: Any) -> None:
        if not callable(build):
            raise ValueError(f"a layer is built by {build!r}; give a kind of blocks, or a function that gives one")
        chosen = {name: value for name, value in arguments.items() if isinstance(value, OneOf)}
        object.__setattr__(self, "build", build)
        object.__setattr__(self, "fixed", {name: value for name, value in arguments.items() if name not in chosen})
        object.__setattr__(self, "chosen", chosen)


@dataclass(frozen=True, kw_only=True)
class Variants:
    """What may stand at one layer of the declaration.

    Attributes:
        choices: names of those that decide it: the layer's own, and those which decide the channels and the size of
            what it reads; in the space's order.
        units: the different runs of units, each maybe empty.
        index: (N,) which of `units` each of the N combinations of the choices' options has, the last choice changing
            fastest.
    """

    choices: tuple[str, ...]
    units: tuple[tuple[Unit, ...], ...]
    index: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The layers of a space.

    Args:
        name: of the space and its networks.
        resolution_px: of their images, which have three channels; it may be a choice.

    Raises:
        ValueError: no layers, or one name for choices that differ.
    """

    name: str
    resolution_px: int | OneOf
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or not all(isinstance(layer, Layer) for layer in self.layers):
            raise ValueError(
                f"space {self.name!r}: layers are {self.layers!r}; give at least one Layer, and only these"
            )
        _ = self.choices

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # without what is derived

    @cached_property
    def leaves(self) -> dict[str, OneOf]:
        """By name, in the order of the choices: that of the layers and their arguments. One that stands in several
        places comes after all that stand before the last of them."""
        found: dict[str, OneOf] = {}
        for leaf in self._all_leaves():
            before = found.pop(leaf.name, leaf)
            if (before.options, before.largest) != (leaf.options, leaf.largest):
                raise ValueError(
                    f"space {self.name!r}: {leaf.name!r} is one of {listed(before.options)} in one place and one of "
                    f"{listed(leaf.options)} in another, or has two largest ones; give two choices two names"
                )
            found[leaf.name] = leaf
        return found

    def _all_leaves(self) -> Iterator[OneOf]:
        if isinstance(self.resolution_px, OneOf):
            yield self.resolution_px
        for layer in self.layers:
            yield from layer.chosen.values()

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """Those of a layer that another choice may leave out matter only where it does not (`Choice.when`)."""
        layers = Counter(name for layer in self.layers for name in {leaf.name for leaf in layer.chosen.values()})
        if isinstance(self.resolution_px, OneOf):
            layers[self.resolution_px.name] += 1
        found = {name: leaf.choice for name, leaf in self.leaves.items()}
        for layer in self.layers:
            repeat = layer.chosen.get("repeat")
            if repeat and not all(repeat.values):
                there = tuple(option for option, n in zip(repeat.options, repeat.values, strict=True) if n)
                for leaf in layer.chosen.values():
                    if leaf.name != repeat.name and layers[leaf.name] == 1:
                        found[leaf.name] = Choice(leaf.name, leaf.options, when=(repeat.name, there))
        return tuple(found.values())

    @property
    def largest(self) -> dict[str, Any]:
        """{name: option} of the network with the most channels and layers, built as is known to train well."""
        return {name: leaf.largest for name, leaf in self.leaves.items()}

    def decode(self, indices: Indices) -> Arch:
        """The network of a point (C,), whose indices are of the space."""
        blocks = tuple(block for layer in self.blocks(indices) for block in layer)
        return Arch(name=self.name, resolution_px=self._resolution_px(indices), blocks=blocks)

    def blocks(self, indices: Indices) -> list[tuple[Block, ...]]:
        """Of a point (C,) the blocks that each layer gives."""
        picks = indices.tolist() if isinstance(indices, np.ndarray) else indices
        found, in_ch = [], _IMAGE_CH
        for plan in self._plans:
            blocks = plan.blocks(in_ch, tuple([picks[c] for c in plan.columns]))
            found.append(blocks)
            in_ch = blocks[-1].out_ch if blocks else in_ch
        return found

    def variants(self) -> Iterator[Variants]:
        """Layer by layer what may stand there, without going through all networks.

        A layer depends on its own choices and on what decides the channels and the size that it reads: which that are
        is found out on the way.

        Raises:
            ValueError: a layer has too many combinations, or does not fit what it reads.
        """
        names, sizes = list(self.leaves), [len(choice.options) for choice in self.choices]
        before, reads, shapes = self._images()
        for plan in self._plans:
            columns = sorted({*before, *plan.columns})
            options = [sizes[c] for c in columns]
            if (n := prod(options)) > _MOST_COMBINATIONS:
                raise ValueError(
                    f"space {self.name!r}: {plan.where} depends on {len(columns)} choices with {n:,} combinations; "
                    f"allowed: {_MOST_COMBINATIONS:,}. Fix some, or let fewer layers in a row be left out"
                )
            picks = dict(zip(columns, np.indices(options).reshape(len(columns), n), strict=True))  # (N,) each
            read = np.broadcast_to(reads[tuple(picks[c] for c in before)], n)
            rows = np.stack([read, *(picks[c] for c in plan.columns)])
            numbers = np.ravel_multi_index(tuple(rows), [len(shapes), *(sizes[c] for c in plan.columns)])
            _, first, index = np.unique(numbers, return_index=True, return_inverse=True)
            units, after = [], []
            for number, *own in zip(*rows[:, first].tolist(), strict=True):
                in_ch, height, width = shapes[number]
                units.append(chain(plan.new_blocks(in_ch, own), (height, width)))
                after.append(units[-1][-1].out_shape if units[-1] else shapes[number])
            yield Variants(choices=tuple(names[c] for c in columns), units=tuple(units), index=index)
            shapes = sorted(set(after))
            reads = np.array([shapes.index(shape) for shape in after])[index].reshape(options)
            before, reads = _what_matters(columns, reads)

    def _images(self) -> tuple[list[int], np.ndarray, list[tuple[int, int, int]]]:
        """What the first layer reads: the choice that decides it, the number of the shape for each option, shapes."""
        sizes = self.resolution_px
        if not isinstance(sizes, OneOf):
            return [], np.zeros((), int), [(_IMAGE_CH, sizes, sizes)]
        shapes = [(_IMAGE_CH, px, px) for px in sizes.values]
        return [list(self.leaves).index(sizes.name)], np.arange(len(shapes)), shapes

    def _resolution_px(self, indices: Indices) -> int:
        if not isinstance(self.resolution_px, OneOf):
            return self.resolution_px
        return self.resolution_px.values[indices[list(self.leaves).index(self.resolution_px.name)]]

    @cached_property
    def _plans(self) -> list["_Plan"]:
        number = {name: c for c, name in enumerate(self.leaves)}
        return [_Plan(f"layer {i}", layer, number) for i, layer in enumerate(self.layers, 1)]


class _Plan:
    """Gives a layer's blocks for indices of its options.

    Attributes:
        where: the layer, for messages.
        columns: numbers of its choices, in the order of its arguments.
    """

    def __init__(self, where: str, layer: Layer, number: Mapping[str, int]) -> None:
        self.where = f"{where} ({getattr(layer.build, '__name__', 'a function')})"
        self.columns = tuple(number[leaf.name] for leaf in layer.chosen.values())
        self._layer, self._values = layer, [(name, leaf.values) for name, leaf in layer.chosen.items()]
        self._known: dict[tuple[int, ...], tuple[Block, ...]] = {}

    def blocks(self, in_ch: int, picks: tuple[int, ...]) -> tuple[Block, ...]:
        """For one index of each of `columns`; remembered.

        Raises:
            ValueError: they cannot be built.
        """
        key = (in_ch, *picks)
        if key not in self._known:
            self._known[key] = self.new_blocks(in_ch, picks)
        return self._known[key]

    def new_blocks(self, in_ch: int, picks: Sequence[int]) -> tuple[Block, ...]:
        """As `blocks`, built anew: of all options at once there are too many to be worth remembering."""
        arguments = dict(self._layer.fixed)
        for (name, values), i in zip(self._values, picks, strict=True):
            arguments[name] = values[i]
        try:
            return _blocks(self._layer.build, in_ch, arguments)
        except (AttributeError, TypeError, ValueError) as e:
            raise ValueError(f"{self.where}: {e}") from e


def _blocks(
    build: Callable[..., Block | tuple[Block, ...] | None], in_ch: int, arguments: dict[str, Any]
) -> tuple[Block, ...]:
    """The blocks of a layer."""
    repeat = arguments.pop("repeat", 1)
    if not isinstance(repeat, int) or not 0 <= repeat <= _MOST_REPEATS:
        raise ValueError(f"repeat is {repeat!r}; allowed: whole numbers from 0 to {_MOST_REPEATS}")
    blocks: list[Block] = []
    for i in range(repeat):
        if i and "stride" in arguments:
            arguments["stride"] = 1
        made = build(in_ch=in_ch, **arguments)
        if isinstance(made, tuple):
            blocks += made
        elif made is not None:
            blocks.append(made)
        in_ch = blocks[-1].out_ch if blocks else in_ch
    return tuple(blocks)


def _what_matters(columns: list[int], values: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Those of the axes `columns` of `values` along which they are not all equal, and the values along these alone."""
    for axis in reversed(range(len(columns))):
        if (values == values.take([0], axis)).all():
            columns, values = [*columns[:axis], *columns[axis + 1 :]], values.take(0, axis)
    return columns, values
