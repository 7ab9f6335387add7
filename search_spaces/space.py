"""`SearchSpace`: a set of networks, each an int vector; and `declare`, which makes one from its layers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from nas_runtime.console import did_you_mean
from search_spaces.arch import Arch
from search_spaces.blocks.fields import MAX_CHANNELS, MAX_SIZE_PX, check_text
from search_spaces.choice import Choice, Indices, check_indices, listed
from search_spaces.declaration import Declaration, Layer, OneOf
from search_spaces.lower import Unit

__all__ = ["Choice", "Indices", "Layer", "OneOf", "SearchSpace", "check_skeleton", "declare"]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Networks indexed by one option of each of C choices.

    Attributes:
        name: what it is called in records and messages.
        choices: the C decisions, in the order in which a controller takes them.
        decode: pure function of an int vector (C,), one option index for each choice, to the `Arch`. Called as
            ``space.decode(indices)``, it refuses what are no indices of the space, with a ValueError.
        declaration: what the space was made from (see `declare`). None for a space that is a function alone: it can be
            searched, but its units cannot be listed, its networks cannot share weights, and the latencies of a batch
            are looked up one by one.

    Example:
        >>> choices = (Choice("kernel", (3, 5)), Choice("layers", (1, 2)))
        >>> space = SearchSpace(name="mine", choices=choices, decode=my_function)
        >>> space.encode({"kernel": 5, "layers": 1})
        array([1, 0])
    """

    name: str
    choices: tuple[Choice, ...]
    decode: Callable[[Indices], Arch]
    declaration: Declaration | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "a space's name")
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices:
            raise ValueError(f"space {self.name!r} has no choices; give at least one")
        names = {choice.name: choice for choice in self.choices}
        if len(names) < len(self.choices):
            twice = next(name for name, times in Counter(c.name for c in self.choices).items() if times > 1)
            raise ValueError(f"space {self.name!r} has two choices named {twice!r}; names must differ")
        if not callable(self.decode):
            raise ValueError(f"space {self.name!r}: decode is {self.decode!r}; give a function of indices to an Arch")
        for choice in self.choices:
            if choice.when is not None:
                self._check_condition(choice, names)
        function = self.decode.function if isinstance(self.decode, _Decode) else self.decode
        object.__setattr__(self, "decode", _Decode(space=self.name, choices=self.choices, function=function))

    def _check_condition(self, choice: Choice, by_name: Mapping[str, Choice]) -> None:
        assert choice.when is not None
        name, options = choice.when
        if name not in by_name:
            raise ValueError(
                f"space {self.name!r}: choice {choice.name!r} depends on {name!r}, which is no choice"
                f"{did_you_mean(name, by_name)}"
            )
        if by_name[name].when is not None:
            raise ValueError(
                f"space {self.name!r}: choice {choice.name!r} depends on {name!r}, which itself depends on a choice; "
                "allowed: choices that always matter"
            )
        if wrong := [option for option in options if option not in by_name[name].options]:
            raise ValueError(
                f"space {self.name!r}: choice {choice.name!r} is for {name}={wrong[0]!r}; "
                f"allowed: {listed(by_name[name].options)}"
            )

    @property
    def size(self) -> int:
        """Number of index vectors. Different vectors may decode to the same network."""
        return prod(len(choice.options) for choice in self.choices)

    def declared(self) -> Declaration:
        """What the space was made from.

        Raises:
            ValueError: it is a function alone.
        """
        if self.declaration is None:
            raise ValueError(
                f"space {self.name!r} is a function alone, so its units cannot be listed and its networks cannot share "
                "weights; declare its layers (search_spaces.space.declare)"
            )
        return self.declaration

    @property
    def largest(self) -> np.ndarray:
        """(C,) the point of the largest network (see `OneOf`), which shared weights are trained on first.

        Raises:
            ValueError: the space is a function alone.
        """
        return self.encode(self.declared().largest)

    def units(self) -> frozenset[Unit]:
        """Every unit that some network of the space has: what its latency table needs.

        Raises:
            ValueError: the space is a function alone.
        """
        return frozenset(unit for layer in self.declared().variants() for units in layer.units for unit in units)

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n, C) uniformly random index vectors.

        Raises:
            ValueError: `n` is no whole number of at least 0.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"space {self.name!r}: {n!r} samples; it must be a whole number of at least 0")
        return rng.integers(0, [len(choice.options) for choice in self.choices], size=(n, len(self.choices)))

    def active(self, indices: np.ndarray) -> np.ndarray:
        """(n, C) bools: which choices of the points `indices` (n, C) matter (see `Choice.when`)."""
        indices = np.asarray(indices)
        if indices.ndim != 2 or indices.shape[1] != len(self.choices):
            raise ValueError(f"space {self.name!r} takes indices (n, {len(self.choices)}), not {indices.shape}")
        found = np.ones(indices.shape, dtype=bool)
        for c, (column, places) in self._conditions.items():
            found[:, c] = np.isin(indices[:, column], places)
        return found

    def canonical(self, indices: np.ndarray) -> np.ndarray:
        """(n, C) the points `indices` (n, C) with the first option wherever a choice does not matter: equal for points
        of the same network."""
        return np.where(self.active(indices), indices, 0)

    @cached_property
    def _conditions(self) -> dict[int, tuple[int, list[int]]]:
        """Number of a conditional choice to the number and the options' indices of the choice that it depends on."""
        number = {choice.name: i for i, choice in enumerate(self.choices)}
        return {
            c: (number[choice.when[0]], [self.choices[number[choice.when[0]]].options.index(o) for o in choice.when[1]])
            for c, choice in enumerate(self.choices)
            if choice.when is not None
        }

    def mutate(self, rng: np.random.Generator, indices: Indices) -> np.ndarray:
        """(C,) a copy of `indices` with one choice that matters set to another of its options."""
        out = self.check(indices).copy()
        active = self.active(out[None])[0]
        open_choices = [i for i, choice in enumerate(self.choices) if active[i] and len(choice.options) > 1]
        if open_choices:
            i = rng.choice(open_choices)
            out[i] = (out[i] + rng.integers(1, len(self.choices[i].options))) % len(self.choices[i].options)
        return out

    def neighbours(self, point: np.ndarray) -> np.ndarray:
        """(n, C) the points that differ from `point` (C,) in one choice at most, choice by choice."""
        rows = []
        for c, choice in enumerate(self.choices):
            changed = np.repeat(point[None], len(choice.options), axis=0)
            changed[:, c] = np.arange(len(choice.options))
            rows.append(changed)
        return np.concatenate(rows)

    def describe(self, indices: Indices) -> dict[str, Any]:
        """{choice name: option} of an index vector (C,)."""
        return {c.name: c.options[i] for c, i in zip(self.choices, self.check(indices), strict=True)}

    def encode(self, options: Mapping[str, Any]) -> np.ndarray:
        """(C,) the index vector of {choice name: option}; the inverse of `describe`.

        Raises:
            ValueError: a choice is missing or unknown, or has no such option.
        """
        names = {choice.name: choice for choice in self.choices}
        if not isinstance(options, Mapping):
            raise ValueError(f"space {self.name!r}: {options!r} is no choice of options; give {{name: option}}")
        if unknown := [name for name in options if name not in names]:
            raise ValueError(f"space {self.name!r} has no choice {unknown[0]!r}{did_you_mean(str(unknown[0]), names)}")
        if missing := [name for name in names if name not in options]:
            raise ValueError(f"space {self.name!r}: choice {missing[0]!r} is missing; give an option for each choice")
        for name, choice in names.items():
            if options[name] not in choice.options:
                raise ValueError(f"{name} is {options[name]!r}; allowed: {listed(choice.options)}")
        return np.array([choice.options.index(options[name]) for name, choice in names.items()])

    def check(self, indices: Indices) -> np.ndarray:
        """`indices` as an int array (C,).

        Raises:
            ValueError: no whole numbers, a wrong length, or an index outside its choice.
        """
        return check_indices(self.name, self.choices, indices)


@dataclass(frozen=True)
class _Decode:
    """A space's own function, called with indices of the space only."""

    space: str
    choices: tuple[Choice, ...]
    function: Callable[[Indices], Arch]

    def __call__(self, indices: Indices) -> Arch:
        found = self.function(check_indices(self.space, self.choices, indices))
        if not isinstance(found, Arch):
            kind = type(found).__name__
            raise ValueError(f"space {self.space!r}: decode gave {kind} for {list(indices)}; it must give an Arch")
        return found


def declare(name: str, layers: Sequence[Layer], *, resolution_px: int | OneOf) -> SearchSpace:
    """The space of the networks that the layers give one after the other.

    Args:
        name: of the space and its networks.
        layers: the first reads images of three channels.
        resolution_px: of these images.

    Raises:
        ValueError: no choices, one name for choices that differ, or layers that give no network.

    Example:
        >>> layers = [
        ...     Layer(ConvBN, out_ch=16, kernel=3, stride=2),
        ...     Layer(
        ...         ConvBN,
        ...         out_ch=OneOf("filters", (16, 24, 32)),
        ...         kernel=OneOf("kernel", (3, 5)),
        ...         repeat=OneOf("layers", (1, 2, 3)),
        ...         stride=2,
        ...     ),
        ...     Layer(Classifier, out_ch=10),
        ... ]
        >>> space = declare("mine", layers, resolution_px=32)
        >>> space.size
        18
    """
    declaration = Declaration(name=name, resolution_px=resolution_px, layers=tuple(layers))
    space = SearchSpace(name=name, choices=declaration.choices, decode=declaration.decode, declaration=declaration)
    space.decode(space.largest)  # says what is wrong with a layer
    return space


def check_skeleton(base_width: float, resolution_px: int, classes: int) -> None:
    """Refuses what no space of networks that halve their image five times can be made of.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or too large for an `Arch`, fewer than 2
            classes, or values of another kind.
    """
    if isinstance(base_width, bool) or not isinstance(base_width, int | float) or not 0 < base_width <= 4:
        raise ValueError(f"space.base_width is {base_width!r}; allowed: above 0, up to 4")
    if not isinstance(resolution_px, int) or not 32 <= resolution_px <= MAX_SIZE_PX:
        raise ValueError(
            f"space.resolution_px is {resolution_px!r}; allowed: 32 or more (the network halves it 5 times), whole, at "
            f"most {MAX_SIZE_PX}"
        )
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= MAX_CHANNELS:
        raise ValueError(f"space.classes is {classes!r}; allowed: 2 or more, whole, at most {MAX_CHANNELS}")
