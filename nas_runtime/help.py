"""What ``--help`` prints of a command, from the declarations of its options; and the same as a page of Markdown."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_runtime.kinds import written
from nas_runtime.options import CommandOptions, Declared, Options, declared
from nas_runtime.plain import is_list, is_mapping

__all__ = ["Choice", "plain", "shown", "table", "text"]

_COLUMN = 34  # where meanings begin
_WIDEST = 120  # characters of a line

_FLAGS = {
    "-m name=a,b": "one job for each value",
    "--cfg job": "prints all options as they are composed, and stops",
    "--config-dir DIR": "your own files beside those of conf/, as DIR/target/mine.yaml for +target=mine",
}


@dataclass(frozen=True)
class Choice:
    """A group of options that is chosen by the name of a file.

    Attributes:
        chosen: the name; None: nothing is, and ``+group=name`` chooses.
        names: of all its files.
    """

    chosen: str | None
    names: Sequence[str]


def text(kind: type[CommandOptions], values: Mapping[str, Any], choices: Mapping[str, Choice]) -> str:
    """The help of a command, for a terminal.

    Args:
        values: composed, plain; a value that is missing is ``???``.
        choices: the groups that its command line can choose.
    """
    added = "".join(f" [+{name}=NAME]" for name, choice in choices.items() if choice.chosen is None)
    lines = [f"usage: python -m {kind.command} [name=value ...]{added}", "", *_wrapped(kind.__doc__ or "", "")]
    if choices:
        lines += ["", "groups, each a file of conf/:"]
        for name, choice in choices.items():
            given = f"+{name}=NAME" if choice.chosen is None else f"{name}={choice.chosen}"
            lines += _row(given, ", ".join(choice.names))
    lines += ["", "options, with their defaults:"]
    for name, option, value in _options(kind, values, choices):
        missing = value == "???"
        said = f"{option.meaning} ({option.kind.words})"
        lines += _row(f"{name}=", f"to be given: {said}") if missing else _row(f"{name}={shown(value)}", said)
    lines += ["", "besides:"]
    for flag, meaning in _FLAGS.items():
        lines += _row(flag, meaning)
    return "\n".join(lines)


def table(kind: type[CommandOptions], values: Mapping[str, Any], within: Sequence[str]) -> str:
    """A table in Markdown: the options of the command in one of the groups `within`, or with none those in no group.

    Args:
        values: composed, plain; a value that is missing is ``???``.
    """
    options = dict(declared(kind, values))
    rows = ["| option | default | meaning | allowed |", "|---|---|---|---|"]
    for name, value in _leaves(values):
        if name in options and name.split(".")[0] in within:
            option = options[name]
            default = "to be given" if value == "???" else f"`{shown(value)}`"
            rows.append(
                " | ".join([f"| `{name}`", default, _escaped(option.meaning), f"{_escaped(option.kind.words)} |"])
            )
    return "\n".join(rows)


def plain(about: str, *kinds: type[Options]) -> str:
    """The help of a command that has no file in conf/: the text `about` it, and its options with their defaults."""
    lines = [about.strip()]
    for kind in kinds:
        lines += ["", *_wrapped((kind.__doc__ or "").splitlines()[0], "")]
        for name, option in declared(kind, {}):
            default = kind.model_fields[name].default
            lines += _row(f"{name}={shown(default)}", f"{option.meaning} ({option.kind.words})")
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A value as it is written on a command line."""
    if is_list(value):
        return f"[{','.join(map(shown, value))}]"
    return written(value)


def _options(
    kind: type[CommandOptions], values: Mapping[str, Any], choices: Mapping[str, Choice]
) -> Iterator[tuple[str, Declared, Any]]:
    """Options with their values in the order of conf/: those of the command itself first, then group by group."""
    options = dict(declared(kind, values))
    for own in (True, False):
        for name, value in _leaves(values):
            if (name.split(".")[0] not in choices) == own and name in options:
                yield name, options[name], value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if is_mapping(value):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _escaped(text: str) -> str:
    """`text` for Markdown, in whose tables a bar ends a cell."""
    return "".join(f"\\{c}" if c in "|<*_`" else c for c in text)


def _row(left: str, right: str) -> list[str]:
    first, *others = _wrapped(right, " " * _COLUMN)
    left = f"  {left}"
    if len(left) < _COLUMN - 1:
        return [left + first[len(left) :], *others]
    return [left, first, *others]


def _wrapped(paragraph: str, indent: str) -> list[str]:
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    words = " ".join(paragraph.split())
    return textwrap.wrap(
        words, max(width, _COLUMN + 40), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    ) or [indent]
