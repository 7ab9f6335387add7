"""What can be chosen by name, from this project or from anybody's: controllers, spaces, data sets and the like.

A kind of thing has one `Registry`. It knows three sorts of names:

- those that this project ships: ``random``;
- those that an installed package declares, as an entry point of the kind's group::

      [project.entry-points."platform_aware_nas.controllers"]
      annealing = "my_package:Annealing"

- dotted names, ``my_package.module:attribute``, of anything that can be imported; the current directory is a place to
  import from, as it is with ``python -m``.

Nothing is imported before it is asked for, and what is shipped cannot be replaced under its name.
"""

import functools
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from nas_runtime.console import brief, did_you_mean

__all__ = ["DOTTED", "Registry", "is_dotted"]

DOTTED = "package.module:attribute"
"""How a dotted name is written."""


@dataclass(frozen=True)
class Registry:
    """The things of one kind, by name.

    Attributes:
        kind: what one is called in messages: ``controller``.
        group: of the entry points of others: ``platform_aware_nas.controllers``.
        shipped: name to ``module:attribute``.

    Example:
        >>> shapes = Registry("shape", "my_package.shapes", {"ordered": "collections:OrderedDict"})
        >>> shapes.get("ordered"), shapes.get("decimal:Decimal")
        (<class 'collections.OrderedDict'>, <class 'decimal.Decimal'>)
    """

    kind: str
    group: str
    shipped: Mapping[str, str]

    def names(self) -> tuple[str, ...]:
        """Those that are shipped, in their order, and those of installed packages. Imports none of them."""
        return (*self.shipped, *sorted(set(_entry_points(self.group)) - set(self.shipped)))

    def get(self, name: object) -> Any:
        """What `name` stands for.

        Raises:
            ValueError: no such name, a name that two packages declare, or what it stands for cannot be imported; in
                one line, with what to do.
        """
        if is_dotted(name):
            return _load(name, f"{self.kind} {brief(name)}")
        shipped = self.shipped.get(name) if isinstance(name, str) else None
        declared = list(_entry_points(self.group).get(name, ())) if isinstance(name, str) else []
        if shipped and not declared:
            return _load(shipped, f"{self.kind} {name}")
        if not declared:
            hint = did_you_mean(str(name), self.names())
            raise ValueError(
                f"no {self.kind} {brief(repr(name))}{hint}; there are: {', '.join(self.names())}; your own: {DOTTED}"
            )
        if len(declared) > 1 or shipped:
            packages = [*["this project"] * bool(shipped), *(point.package for point in declared)]
            raise ValueError(
                f"{self.kind} {name} is declared by {' and by '.join(packages)}; uninstall or rename one, or say which "
                f"by a dotted name: {declared[-1].value}"
            )
        return _load(declared[0].value, f"{self.kind} {name} of {declared[0].package}")


def is_dotted(name: object) -> TypeGuard[str]:
    """Whether `name` says itself where it is to be found: ``package.module:attribute``."""
    return isinstance(name, str) and ":" in name


@dataclass(frozen=True)
class _Declared:
    """An entry point: what it stands for, and the package that declares it."""

    value: str
    package: str


@functools.cache
def _entry_points(group: str) -> Mapping[str, tuple[_Declared, ...]]:
    """The entry points of `group` by name, each name with all that is declared for it."""
    found: dict[str, dict[str, _Declared]] = {}
    for point in importlib.metadata.entry_points(group=group):
        package = point.dist.name if point.dist else "a package without a name"
        found.setdefault(point.name, {}).setdefault(point.value, _Declared(point.value, package))
    return {name: tuple(declared.values()) for name, declared in found.items()}


def _load(dotted: str, what: str) -> Any:
    """The attribute that ``package.module:attribute`` names; `what` is for messages."""
    module_name, _, path = (part.strip() for part in dotted.partition(":"))
    if not all(part.isidentifier() for part in [*module_name.split("."), *path.split(".")]):
        raise ValueError(f"{what}: write {DOTTED}")
    found: Any = _module(module_name, what)
    for name in path.split("."):
        if not hasattr(found, name):
            hint = did_you_mean(name, [other for other in dir(found) if not other.startswith("_")])
            raise ValueError(f"{what}: {module_name} has no {brief(name)!r}{hint}")
        found = getattr(found, name)
    return found


def _module(name: str, what: str) -> Any:
    here = os.getcwd()
    if not {"", here} & set(sys.path):
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as e:  # the module's own code runs, which can raise anything
        why = str(e) if isinstance(e, ImportError) else f"{type(e).__name__}: {e}"
        absent = isinstance(e, ModuleNotFoundError) and f"{name}.".startswith(f"{e.name}.")
        remedy = "; install it, or run the command in the folder that it is in" if absent else ""
        raise ValueError(f"{what}: {brief(name)} cannot be imported ({brief(why, most=300)}){remedy}") from e
