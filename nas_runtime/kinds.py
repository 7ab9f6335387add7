"""What the value of an option may be: each kind reads a value, says what it allows, and what is wrong with another.

The numbers, ``bool`` and ``Literal`` of pydantic are described by `kind_of`; the others are marks on a type, which
pydantic reads values with:

>>> class Show(Options):
...     device: Text = Field(description="a table's name or file")
...     spaces: Annotated[tuple[str, ...], Several(lambda: ("mnasnet", "mobilenet_v3"))] = Field(description="...")
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from nas_runtime.console import brief, did_you_mean
from nas_runtime.plain import is_list, is_mapping
from nas_runtime.registry import DOTTED, Registry, is_dotted

__all__ = [
    "LARGEST",
    "Among",
    "AnyPath",
    "Free",
    "FreeMark",
    "Kind",
    "Mark",
    "Number",
    "Paths",
    "Several",
    "Text",
    "is_number",
    "items_of",
    "kind_of",
    "named_in",
    "some_of",
    "written",
]

LARGEST = 10**9
"""Of whole numbers that have no other limit: more is a slip, and would only be found when memory runs out."""
LONGEST = 1000
"""Characters of a text or path."""


class Kind(ABC):
    """What values may be."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What is allowed, in few words."""

    @abstractmethod
    def refusal(self, value: Any) -> str:
        """What a message says behind ``name=value``."""


class Mark(Kind):
    """A kind that stands on a type and reads values of it."""

    @abstractmethod
    def read(self, value: Any) -> Any:
        """The value as it is used.

        Raises:
            ValueError: it is not allowed.
        """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


@dataclass(frozen=True)
class Number(Kind):
    """A finite number within ``low <= x <= high`` and ``x > above``; pydantic reads it."""

    whole: bool
    low: float | None = None
    high: float | None = None
    above: float | None = None

    @property
    def words(self) -> str:
        kind = "whole number" if self.whole else "number"
        low = f"above {_digits(self.above)}" if self.above is not None else _digits(self.low)
        if self.high is None or (self.whole and self.high >= LARGEST):
            return f"{kind}, {low}" + " or more" * (self.above is None) if low else kind
        return f"{kind}, {low} to {self.high:,.15g}" if low else f"{kind}, up to {self.high:,.15g}"

    def refusal(self, value: Any) -> str:
        beyond = isinstance(value, int) and self.high is not None and value > self.high
        high = None if self.high == LARGEST and not beyond else self.high
        limits = [
            f"above {_digits(self.above)}" if self.above is not None else "",
            f"at least {_digits(self.low)}" if self.low is not None else "",
            f"at most {_digits(high)}" if high is not None else "",
        ]
        kind = "a whole number" if self.whole else "a number"
        return f": it must be {' '.join([kind, ' and '.join(filter(None, limits))]).strip()}"


class _Flag(Kind):
    @property
    def words(self) -> str:
        return "true or false"

    def refusal(self, value: Any) -> str:
        return ": it must be true or false"


@dataclass(frozen=True)
class Among(Mark):
    """One of `names`, which are asked for when a value is read.

    Attributes:
        more: whether another name is allowed as well.
        or_else: what `more` allows, in words.
    """

    names: Callable[[], Iterable[str]]
    more: Callable[[str], bool] | None = None
    or_else: str = ""

    @property
    def words(self) -> str:
        return ", ".join([*self.names(), *filter(None, [self.or_else])])

    def read(self, value: Any) -> str:
        if isinstance(value, str) and (value in self.names() or (self.more and self.more(value))):
            return value
        raise ValueError

    def refusal(self, value: Any) -> str:
        return f"{did_you_mean(brief(value), self.names())}; allowed: {self.words}"


def named_in(registry: Registry) -> Among:
    """A name that `registry` knows, or a dotted one; nothing is imported."""
    return Among(registry.names, more=is_dotted, or_else=f"or your own: {DOTTED}")


@dataclass(frozen=True)
class Several(Mark):
    """A tuple of at least one of `names`, from a list; one name stands for a list of it.

    Attributes:
        empty: whether there may be none; null is none, too.
        more, or_else: see `Among`.
    """

    names: Callable[[], Iterable[str]]
    empty: bool = False
    more: Callable[[str], bool] | None = None
    or_else: str = ""

    @property
    def words(self) -> str:
        names = ", ".join([*self.names(), *filter(None, [self.or_else])])
        return f"some of {names}" + "; [] for none" * self.empty

    def read(self, value: Any) -> tuple[str, ...]:
        items = items_of(value, self.empty)
        if self._wrong(items) or not (items or self.empty):
            raise ValueError
        return tuple(items)

    def refusal(self, value: Any) -> str:
        wrong = self._wrong(items_of(value, self.empty))
        return (did_you_mean(brief(wrong[0]), self.names()) if wrong else "") + f"; allowed: {self.words}"

    def _wrong(self, items: list[Any]) -> list[Any]:
        names = tuple(self.names())
        return [item for item in items if item not in names and not (self.more and self.more(item))]


def some_of(registry: Registry) -> Several:
    """Names that `registry` knows, or dotted ones, or none; nothing is imported."""
    return Several(registry.names, empty=True, more=is_dotted, or_else=f"or your own: {DOTTED}")


class _Text(Mark):
    @property
    def words(self) -> str:
        return "text"

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not value or not value.isprintable() or len(value) > LONGEST:
            raise ValueError
        return value

    def refusal(self, value: Any) -> str:
        return f": it must be a {self.words} of at most {LONGEST} characters{_quote(value)}"


class _Path(Mark):
    @property
    def words(self) -> str:
        return "path"

    def read(self, value: Any) -> Path:
        if isinstance(value, Path):
            return value
        if not isinstance(value, str) or not value or "\0" in value or len(value) > LONGEST:
            raise ValueError
        try:
            return Path(value).expanduser()
        except RuntimeError:  # ~somebody who is not known here
            raise ValueError from None

    def refusal(self, value: Any) -> str:
        return f": it must be a {self.words} of at most {LONGEST} characters{_quote(value)}"


class FreeMark(Mark):
    """Of `Free`."""

    @property
    def words(self) -> str:
        return "names with values"

    def read(self, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not is_mapping(value) or not all(isinstance(name, str) for name in value):
            raise ValueError
        return dict(value)

    def refusal(self, value: Any) -> str:
        return ": it must be names with values; leave it out, or set its values one by one"


class _Paths(Mark):
    @property
    def words(self) -> str:
        return "paths"

    def read(self, value: Any) -> tuple[Path, ...]:
        return tuple(_Path().read(item) for item in items_of(value, empty=True))

    def refusal(self, value: Any) -> str:
        return ": it must be a path, or several, like [runs/a,runs/b]"


Text = Annotated[str, _Text()]
"""A printable text that is not empty."""
AnyPath = Annotated[Path, _Path()]
"""A path, ``~`` expanded; whether it is there is not looked at."""
Paths = Annotated[tuple[Path, ...], _Paths()]
"""Paths; null is none."""
Free = Annotated[dict[str, Any], FreeMark()]
"""Names and values that others know; null is none."""


@dataclass(frozen=True)
class _OrNull(Kind):
    """What `kind` allows, or null: its meaning says what that means."""

    kind: Kind

    @property
    def words(self) -> str:
        return self.kind.words

    def refusal(self, value: Any) -> str:
        return f"{self.kind.refusal(value)}, or null"


def kind_of(field: FieldInfo) -> Kind:
    """What a field that is no group may be."""
    return _kind(field.annotation, field.metadata)


def _kind(annotation: Any, metadata: Iterable[Any]) -> Kind:
    if marks := [mark for mark in metadata if isinstance(mark, Kind)]:
        return marks[0]
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return _kind(inner, [*marks, *metadata])
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = (inner for inner in get_args(annotation) if inner is not type(None))
        return _OrNull(_kind(inner, metadata))
    if get_origin(annotation) is Literal:
        return Among(lambda: get_args(annotation))
    if annotation is bool:
        return _Flag()
    if annotation in (int, float):
        return _number(annotation is int, metadata)
    raise TypeError(f"options of the type {annotation} are not described here")


def _number(whole: bool, metadata: Iterable[Any]) -> Number:
    number = Number(whole)
    for limit in metadata:
        if isinstance(limit, Ge):
            number = replace(number, low=limit.ge)
        elif isinstance(limit, Gt):
            number = replace(number, above=limit.gt)
        elif isinstance(limit, Le):
            number = replace(number, high=limit.le)
        else:
            raise TypeError(f"the limit {limit} is not described here")
    return number


def written(value: Any) -> str:
    """A value as a person writes it on a command line, for a message."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return brief(value)


def items_of(value: Any, empty: bool) -> list[Any]:
    """What stands in a list; of a value that is none, itself; of null nothing, if there may be none."""
    if value is None and empty:
        return []
    return value if is_list(value) else [value]


def is_number(value: object) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _digits(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _quote(value: Any) -> str:
    """How a number becomes a text: on the command line it is one only in quotes, which the shell must not take."""
    return f"; write '\"{brief(value)}\"'" if isinstance(value, int | float) else ""
