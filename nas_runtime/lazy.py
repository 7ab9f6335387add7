"""Public names of a package, imported when they are first asked for: `lazily`."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, public: Sequence[str], values: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A ``__getattr__`` for the ``__init__`` of `package` (PEP 562), so that importing the package stays cheap.

    Args:
        public: its ``__all__``: modules of the package, and values.
        values: module of the package to those of its values that are public.
    """
    module_of = {name: module for module, names in values.items() for name in names}

    def get(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{module_of.get(name, name)}")
        value = getattr(module, name) if name in module_of else module
        setattr(sys.modules[package], name, value)
        return value

    return get
