"""`Choice` and `SearchSpace`: a set of networks, each an int vector."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from nas_runtime.console import brief, counted, did_you_mean
from search_spaces.arch import Arch
from search_spaces.lower import Unit
from search_spaces.parts import MAX_CHANNELS, MAX_SIZE_PX, check_text

__all__ = ["Choice", "Indices", "Part", "SearchSpace", "check_skeleton"]

Indices = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class Choice:
    """A named decision, like ``Choice("block3.kernel", (3, 5))``.

    Attributes:
        options: at least one, all different; plain values, as JSON has them.
        when: (name, options) of another choice: this one matters only where that one has one of these options, like
            the kernel of a layer that another choice leaves out. None: it always matters.

    Raises:
        ValueError: a name that is no text, options that are none, equal or no plain values, another form of `when`.
    """

    name: str
    options: tuple[Any, ...]
    when: tuple[str, tuple[Any, ...]] | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "a choice's name")
        if not isinstance(self.options, tuple | list):
            raise ValueError(f"choice {self.name!r}: options are {self.options!r}; give a tuple of them")
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise ValueError(f"choice {self.name!r} has no options; give at least one")
        for option in self.options:
            if not _is_plain(option):
                raise ValueError(
                    f"choice {self.name!r}: option {option!r} is no plain value; allowed: texts, finite numbers, "
                    "true, false, None, and tuples of them"
                )
        if len(set(self.options)) < len(self.options):
            twice = next(option for option, times in Counter(self.options).items() if times > 1)
            raise ValueError(f"choice {self.name!r} has the option {twice!r} twice; options must differ")
        if self.when is not None:
            named = isinstance(self.when, tuple) and len(self.when) == 2 and isinstance(self.when[0], str)
            if (
                not named
                or not isinstance(self.when[1], tuple)
                or not self.when[1]
                or not all(map(_is_plain, self.when[1]))
            ):
                raise ValueError(
                    f"choice {self.name!r}: when is {self.when!r}; give the name of a choice and a tuple of its options"
                )


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
        decode: pure function of an int vector (C,), one option index for each choice, to the `Arch`. Called as
            ``space.decode(indices)``, it refuses what are no indices of the space, with a ValueError.
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
        for part in self.parts:
            if unknown := set(part.choices) - set(names):
                raise ValueError(f"space {self.name!r}: a part depends on {sorted(unknown)[0]!r}, which is no choice")
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
                f"allowed: {_listed(by_name[name].options)}"
            )

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
                raise ValueError(f"{name} is {options[name]!r}; allowed: {_listed(choice.options)}")
        return np.array([choice.options.index(options[name]) for name, choice in names.items()])

    def check(self, indices: Indices) -> np.ndarray:
        """`indices` as an int array (C,).

        Raises:
            ValueError: no whole numbers, a wrong length, or an index outside its choice.
        """
        return _checked(self.name, self.choices, indices)


@dataclass(frozen=True)
class _Decode:
    """A space's own function, called with indices of the space only."""

    space: str
    choices: tuple[Choice, ...]
    function: Callable[[Indices], Arch]

    def __call__(self, indices: Indices) -> Arch:
        found = self.function(_checked(self.space, self.choices, indices))
        if not isinstance(found, Arch):
            kind = type(found).__name__
            raise ValueError(f"space {self.space!r}: decode gave {kind} for {list(indices)}; it must give an Arch")
        return found


def _checked(space: str, choices: tuple[Choice, ...], indices: Indices) -> np.ndarray:
    """See `SearchSpace.check`."""
    if not isinstance(indices, np.ndarray):
        try:
            indices = list(indices)
        except TypeError:
            raise ValueError(f"space {space!r} takes a list of {len(choices)}, not {brief(indices)}") from None
        if any(isinstance(i, bool | np.bool_) for i in indices):
            raise ValueError(f"space {space!r} takes indices, which are whole numbers, not true and false")
    try:
        array = np.asarray(indices)
    except ValueError:  # lists of different lengths
        raise ValueError(f"space {space!r} takes a list of {len(choices)}, not a list of lists") from None
    if array.shape != (len(choices),):
        raise ValueError(f"space {space!r} has {counted(len(choices), 'choice')}, not shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise ValueError(f"space {space!r} takes indices, which are whole numbers, not values of type {array.dtype}")
    for choice, i in zip(choices, array.tolist(), strict=True):
        if not 0 <= i < len(choice.options):
            raise ValueError(f"space {space!r}: {choice.name}: index {i} is outside 0..{len(choice.options) - 1}")
    return array.astype(np.int64, copy=False)


def _is_plain(option: Any) -> bool:
    """Whether it is the same after JSON, but for tuples."""
    if option is None or isinstance(option, str | bool | int):
        return True
    try:
        hash(option)
        json.dumps(option, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _listed(options: Sequence[Any]) -> str:
    shown = ", ".join(map(repr, options[:20]))
    return f"{shown} and {len(options) - 20} more" if len(options) > 20 else shown


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
