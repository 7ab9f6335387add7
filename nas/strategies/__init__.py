"""Strategies: how a search judges networks, by name.

Each is one module with a function ``read(settings)`` that gives a `contract.Strategy`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from nas.strategies.reading import check_unused

if TYPE_CHECKING:
    from nas.strategies.contract import Strategy
    from nas_runtime.settings import Settings

__all__ = ["names", "read_strategy"]

_MODULES = {
    "proxy_training": "nas.strategies.own_training",
    "shared_weights": "nas.strategies.shared_weights",
    "surrogate": "nas.strategies.surrogate",
}


def names() -> tuple[str, ...]:
    return tuple(_MODULES)


def read_strategy(settings: "Settings") -> "Strategy":
    """The strategy that the command line asks for.

    Raises:
        ValueError: a value that is not allowed, or does not go with another; a data set that is not there.
    """
    name = settings.choice("evaluator.name", names())
    check_unused(settings, name)
    return import_module(_MODULES[name]).read(settings)
