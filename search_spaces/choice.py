"""`Choice`: a named decision, and the check of a point's indices."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas_runtime.console import brief, counted
from search_spaces.blocks.fields import check_text

__all__ = ["Choice", "Indices", "check_indices", "listed"]

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


def check_indices(space: str, choices: tuple[Choice, ...], indices: Indices) -> np.ndarray:
    """`indices` as an int array (C,), one for each of the `choices` of the space named `space`.

    Raises:
        ValueError: no whole numbers, a wrong length, or an index outside its choice.
    """
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
    return array.astype(np.int64)


def listed(options: Sequence[Any]) -> str:
    """The options in a message: at most 20 of them."""
    shown = ", ".join(map(repr, options[:20]))
    return f"{shown} and {len(options) - 20} more" if len(options) > 20 else shown


def _is_plain(option: Any) -> bool:
    """Whether it is the same after JSON, but for tuples."""
    if option is None or isinstance(option, str | bool | int):
        return True
    if isinstance(option, float):
        return math.isfinite(option)
    try:
        hash(option)
        json.dumps(option, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
