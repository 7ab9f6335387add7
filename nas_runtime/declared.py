"""What a thing that is found by name lets be set: the fields of the dataclass that its parameter `settings` has.

    @dataclass(frozen=True, kw_only=True)
    class AnnealingSettings:
        cooling: float = 0.97

    class Annealing:
        def __init__(self, space, settings: AnnealingSettings | None = None, *, rng_seed: int = 0): ...

The annotation declares the settings, the dataclass checks their values. What has nothing to set has no such parameter.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import Field, asdict, fields, is_dataclass
from typing import Any

from nas_runtime.console import brief, did_you_mean
from nas_runtime.plain import is_mapping

__all__ = ["build", "call", "check_call", "defaults", "settings_class"]


def defaults(function: Callable[..., Any], what: str) -> dict[str, Any]:
    """Name to value of the settings that `function` declares; none if it has nothing to set.

    Args:
        function: a class, or what makes its objects.
        what: it is, for messages: ``controller my_package:Mine``.

    Raises:
        ValueError: its parameter `settings` has no dataclass all of whose fields have defaults.
    """
    kind = settings_class(function, what)
    try:
        made = kind() if kind else None
        return {name: value for name, value in asdict(made).items() if name in _names(kind)} if made else {}
    except TypeError as e:
        raise ValueError(f"{what}: its settings need a default each ({e})") from None


def build(function: Callable[..., Any], what: str, *given: Any, settings: Any = None, **named: Any) -> Any:
    """What `function` makes of `given`, `named` and `settings`.

    Args:
        what: it is, for messages.
        settings: name to value; the rest have their defaults.

    Raises:
        ValueError: no such setting, or a function that cannot be called so.
    """
    kind = settings_class(function, what)
    values: Any = {} if settings is None else settings
    known = sorted(_names(kind)) if kind else []
    allowed = ", ".join(known) or "none, it has no settings"
    if not is_mapping(values):
        raise ValueError(f"{what}: settings={brief(values)}; give {{name: value}}, allowed: {allowed}")
    for name in values:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ValueError(f"{what} has no setting {brief(name)!r}{hint}; allowed: {allowed}")
    if kind:
        named["settings"] = kind(**values)
    return call(function, what, *given, **named)


def call(function: Callable[..., Any], what: str, *given: Any, **named: Any) -> Any:
    """What `function` gives for `given` and `named`.

    Raises:
        ValueError: it is no function, or none that takes these; or it raises something.
    """
    check_call(function, what, *given, **named)
    try:
        return function(*given, **named)
    except (ValueError, OSError, MemoryError):  # which say what is wrong
        raise
    except Exception as e:  # anyone's code
        raise ValueError(f"{what} cannot be made ({brief(f'{type(e).__name__}: {e}', most=300)})") from e


def check_call(function: Callable[..., Any], what: str, *given: Any, **named: Any) -> None:
    """Refuses what cannot be called with `given` and `named`."""
    signature = _signature(function, what)
    try:
        signature.bind(*given, **named)
    except TypeError as e:
        values = ", ".join(
            [*(value if isinstance(value, str) else "..." for value in given), *(f"{name}=..." for name in named)]
        )
        raise ValueError(f"{what} cannot be called as ({brief(values)}): {e}") from None


def settings_fields(kind: Any) -> list[Field[Any]]:
    """Those fields of the dataclass `kind` that can be set."""
    return [field for field in fields(kind) if field.init]


def _names(kind: Any) -> list[str]:
    return [field.name for field in settings_fields(kind)]


def settings_class(function: Any, what: str) -> Any:
    """The dataclass of the parameter `settings`; None if there is none."""
    if "settings" not in _signature(function, what).parameters:
        return None
    try:
        annotation = inspect.signature(function, eval_str=True).parameters["settings"].annotation
    except NameError as e:  # imported for type checkers only
        raise ValueError(f"{what}: its annotations cannot be read ({e}); import that name at run time") from None
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and is_dataclass(kind):
            return kind
    raise ValueError(f"{what}: annotate its parameter settings with the dataclass of its settings")


def _signature(function: Any, what: str) -> inspect.Signature:
    if not callable(function):
        raise ValueError(f"{what} is {brief(repr(function))}; it must be a class or a function")
    return inspect.signature(function)
