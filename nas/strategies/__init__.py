"""Strategies: how a search judges networks, by name.

Each that is shipped is a module with a function ``read(options)``, which gives a `contract.Strategy`; those of others
are read by `plugged`.
"""

from typing import TYPE_CHECKING

from nas.strategies import plugged
from nas.strategies.reading import check_unused
from nas_runtime.registry import Registry

if TYPE_CHECKING:
    from nas.search_options import SearchOptions
    from nas.strategies.contract import Strategy

__all__ = ["EVALUATORS", "names", "read_strategy"]

EVALUATORS = Registry(
    "evaluator",
    "platform_aware_nas.evaluators",
    {
        "proxy_training": "nas.strategies.own_training:read",
        "shared_weights": "nas.strategies.shared_weights:read",
        "surrogate": "nas.strategies.surrogate:read",
    },
)
"""Functions that read the strategies that are shipped, and evaluators of others (`plugged`), by name."""


def names() -> tuple[str, ...]:
    """Those that are shipped, and those that installed packages declare."""
    return EVALUATORS.names()


def read_strategy(options: "SearchOptions") -> "Strategy":
    """The strategy that the command line asks for.

    Raises:
        ValueError: a value does not go with another; a data set is not there.
    """
    name = options.evaluator.name
    evaluator = EVALUATORS.get(name)
    check_unused(options)
    return evaluator(options) if name in EVALUATORS.shipped else plugged.read(evaluator, options)
