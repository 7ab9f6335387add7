"""What an experiment's command line says: ``name=value`` for each of its options."""

import math
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from experiments import provenance
from nas_runtime.command import run_plain
from nas_runtime.console import brief, did_you_mean

__all__ = ["read", "run"]

_KINDS = {int: "a whole number above 0", float: "a number, 0 or more"}
_LARGEST = 10**9


def run(main: Callable[[], None]) -> None:
    """Calls `main`, which may `read` options; what is wrong ends the program with one line."""

    def call(arguments: list[str]) -> None:
        provenance.began()
        main()

    call.__module__ = main.__module__  # whose text is the help
    run_plain(call)


def read(
    defaults: Mapping[str, Any], allowed: Mapping[str, Collection[str]] | None = None, *, needed: Collection[str] = ()
) -> dict[str, Any]:
    """The options of this command, those that are not given as in `defaults`.

    Args:
        defaults: by name; what is given becomes of the same type: a str, int (above 0, or 0 if the default is), float,
            or a tuple of such, given as ``a,b``. The option ``path``, if it is given, is a file or folder that exists.
        allowed: the values that some of the options may have.
        needed: those that must be given.

    Raises:
        ValueError: an option that is not known, or a value that is not allowed.
    """
    options, given = dict(defaults), set()
    for argument in sys.argv[1:]:
        name, equals, value = argument.partition("=")
        if name not in defaults or not equals:
            known = f"there are {', '.join(f'{name}=' for name in defaults)}" if defaults else "there are no options"
            raise ValueError(f"{brief(argument)}{did_you_mean(name, defaults) if equals else ''}; {known}")
        options[name] = _read(name, value, defaults[name], (allowed or {}).get(name))
        given.add(name)
    if missing := set(needed) - given:
        raise ValueError(f"{min(missing)}= is missing")
    return options


def _read(name: str, text: str, default: Any, allowed: Collection[str] | None) -> Any:
    several = isinstance(default, tuple)
    kind = type(default[0] if several else default)
    least = 1 if kind is int and default else 0
    values = [_value(name, part, kind, least) for part in (text.split(",") if several else [text])]
    if allowed is not None and (wrong := [value for value in values if value not in allowed]):
        raise ValueError(
            f"{name}={brief(wrong[0])}{did_you_mean(brief(wrong[0]), allowed)}; allowed: {', '.join(allowed)}"
        )
    return tuple(dict.fromkeys(values)) if several else values[0]


def _value(name: str, text: str, kind: type, least: int) -> Any:
    if kind is str:
        if name == "path" and not Path(text).exists():
            raise ValueError(f"path={brief(text)}: there is no such file or folder")
        return text
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not least <= value < math.inf:
        raise ValueError(f"{name}={brief(text)}; it must be {_KINDS[kind]}")
    if value > _LARGEST:
        raise ValueError(f"{name}={brief(text)}; it must be at most {_LARGEST}")
    return value
