"""`Choice` and `SearchSpace`: a set of networks, each an int vector."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from search_spaces.arch import Arch
from search_spaces.lower import Unit

__all__ = ["Choice", "Indices", "Part", "SearchSpace", "check_skeleton"]

Indices = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Choice:
    """A named decision, like ``Choice("block3.kernel", (3, 5))``.

    Attributes:
        when: (name, options) of another choice: this one matters only where that one has one of these options, like
            the kernel of a layer that another choice leaves out. None: it always matters.
    """

    name: str
    options: tuple[Any, ...]
    when: tuple[str, tuple[Any, ...]] | None = None

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"choice {self.name!r} has no options; give at least one")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of a network that depends on a few of the choices only.

    A space that is made of parts can list its units, and the latency of its networks can be looked up part by part.

    Attributes:
        choices: names of the choices that decide which units stand here.
        units: gives them, in order, for one option of each of `choices`; it may give none.
    """

    choices: tuple[str, ...]
    units: Callable[..., tuple[Unit, ...]]


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Networks indexed by one option of each of C choices.

    Attributes:
        name: what it is called in records and messages.
        choices: the C decisions, in the order in which a controller takes them.
        decode: pure function of an int vector (C,), one option index for each choice, to the `Arch`.
        parts: the stretches of a network, in order: together the units of `decode`'s network for the same options.
            Empty where the space is not made of parts; then its units cannot be listed.
        largest_options: options of the network `largest`, by the last word of a choice's name, where it does not have
            the last one: {"skip": "identity"}.

    Example:
        >>> choices = (Choice("kernel", (3, 5)), Choice("layers", (1, 2)))
        >>> space = SearchSpace(name="mine", choices=choices, decode=my_function)
        >>> space.encode({"kernel": 5, "layers": 1})
        array([1, 0])
    """

    name: str
    choices: tuple[Choice, ...]
    decode: Callable[[Indices], Arch]
    parts: tuple[Part, ...] = ()
    largest_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [choice.name for choice in self.choices]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"space {self.name!r} has two choices named {sorted(twice)[0]!r}; names must differ")
        if not names:
            raise ValueError(f"space {self.name!r} has no choices; give at least one")
        by_name = {choice.name: choice for choice in self.choices}
        for choice in self.choices:
            if choice.when is None:
                continue
            name, options = choice.when
            if name not in by_name or by_name[name].when is not None or not set(options) <= set(by_name[name].options):
                raise ValueError(
                    f"space {self.name!r}: choice {choice.name!r} is for {name!r} in {options}; "
                    "allowed: options of a choice that is for all networks itself"
                )
        for part in self.parts:
            if unknown := set(part.choices) - set(names):
                raise ValueError(f"space {self.name!r}: a part depends on {sorted(unknown)[0]!r}, which is no choice")

    @property
    def size(self) -> int:
        """Number of index vectors. Different vectors may decode to the same network."""
        return prod(len(choice.options) for choice in self.choices)

    @property
    def largest(self) -> np.ndarray:
        """(C,) the point of the network with the most channels and layers, built as is known to train well.

        Weights that all networks share are trained on it first.
        """
        options = {c.name: self.largest_options.get(c.name.rsplit(".", 1)[-1], c.options[-1]) for c in self.choices}
        return self.encode(options)

    def units(self) -> frozenset[Unit]:
        """Every unit that some network of the space has: what its latency table needs.

        Raises:
            ValueError: the space is not made of parts.
        """
        if not self.parts:
            raise ValueError(f"space {self.name!r} cannot list its units; give it `parts`")
        return frozenset(unit for part in self.parts for units in self.part_units(part) for unit in units)

    def part_units(self, part: Part) -> Iterator[tuple[Unit, ...]]:
        """The units of `part` for every combination of options, the last of its choices changing fastest."""
        options = {choice.name: choice.options for choice in self.choices}
        return (part.units(*combination) for combination in product(*(options[name] for name in part.choices)))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n, C) uniformly random index vectors."""
        return rng.integers(0, [len(choice.options) for choice in self.choices], size=(n, len(self.choices)))

    def active(self, indices: np.ndarray) -> np.ndarray:
        """(n, C) bools: which choices of the points `indices` (n, C) matter (see `Choice.when`)."""
        indices = np.asarray(indices)
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

    def describe(self, indices: Indices) -> dict[str, Any]:
        """{choice name: option} of an index vector (C,)."""
        return {c.name: c.options[i] for c, i in zip(self.choices, self.check(indices), strict=True)}

    def encode(self, options: Mapping[str, Any]) -> np.ndarray:
        """(C,) the index vector of {choice name: option}; the inverse of `describe`.

        Raises:
            ValueError: a choice is missing or unknown, or has no such option.
        """
        names = [choice.name for choice in self.choices]
        if wrong := set(names) ^ set(options):
            raise ValueError(f"space {self.name!r}: choice {sorted(wrong)[0]!r} is missing or unknown")
        for choice in self.choices:
            if options[choice.name] not in choice.options:
                raise ValueError(f"{choice.name} is {options[choice.name]!r}; allowed: {choice.options}")
        return np.array([choice.options.index(options[choice.name]) for choice in self.choices])

    def check(self, indices: Indices) -> np.ndarray:
        """`indices` as an int array (C,).

        Raises:
            ValueError: wrong length, or an index outside its choice.
        """
        array = np.asarray(indices)
        if array.shape != (len(self.choices),):
            raise ValueError(f"space {self.name!r} has {len(self.choices)} choices, not shape {array.shape}")
        for choice, i in zip(self.choices, array, strict=True):
            if not 0 <= i < len(choice.options):
                raise ValueError(f"{choice.name}: index {i} is outside 0..{len(choice.options) - 1}")
        return array


def check_skeleton(base_width: float, resolution_px: int, classes: int) -> None:
    """Refuses what no space of networks that halve their image five times can be made of.

    Raises:
        ValueError: a base_width outside (0, 4], a resolution below 32 px or fewer than 2 classes.
    """
    if not 0 < base_width <= 4:
        raise ValueError(f"space.base_width is {base_width}; allowed: above 0, up to 4")
    if resolution_px < 32:
        raise ValueError(f"space.resolution_px is {resolution_px}; allowed: 32 or more (the network halves it 5 times)")
    if classes < 2:
        raise ValueError(f"space.classes is {classes}; allowed: 2 or more")
