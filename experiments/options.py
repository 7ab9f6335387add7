"""What an experiment's command line says: ``name=value`` for each of its options."""

import math
import sys
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["read"]

_KINDS = {int: "a whole number above 0", float: "a number, 0 or more"}


def read(defaults: Mapping[str, Any], allowed: Mapping[str, Collection[str]] | None = None) -> dict[str, Any]:
    """The options of this command, those that are not given as in `defaults`; ends the program with one line if one is
    wrong.

    Args:
        defaults: by name; what is given becomes of the same type: a str, int (above 0, or 0 if the default is), float,
            or a tuple of such, given as ``a,b``.
        allowed: the values that some of the options may have.
    """
    options = dict(defaults)
    for argument in sys.argv[1:]:
        name, _, value = argument.partition("=")
        if name not in defaults or "=" not in argument:
            sys.exit(f"error: {argument}; there are {', '.join(f'{name}=' for name in defaults)}")
        default, choices = defaults[name], (allowed or {}).get(name)
        several = isinstance(default, tuple)
        values = (
            [_value(name, text, default[0] if several else default) for text in value.split(",")]
            if several
            else [_value(name, value, default)]
        )
        if choices is not None and (wrong := [each for each in values if each not in choices]):
            sys.exit(f"error: {name}={wrong[0]}; allowed: {', '.join(choices)}")
        options[name] = tuple(dict.fromkeys(values)) if several else values[0]
    return options


def _value(name: str, text: str, default: Any) -> Any:
    kind = type(default)
    if kind is str:
        return text
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not 0 <= value < math.inf or (kind is int and value == 0 < default):
        sys.exit(f"error: {name}={text}; it must be {_KINDS[kind]}")
    return value
