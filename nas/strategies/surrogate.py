"""``evaluator=surrogate``: what a polynomial says of the networks of `accel_nasbench`."""

import functools
from typing import TYPE_CHECKING

from nas.executor import Evaluate
from nas.strategies.untrained import Untrained
from nas.surrogate import Surrogate

if TYPE_CHECKING:
    from nas.search_options import SearchOptions

__all__ = ["read"]

_CLASSES = 1000


def read(options: "SearchOptions") -> Untrained:
    """The strategy as the command line asks for it.

    Raises:
        ValueError: the surrogate's file is missing or damaged.
    """
    surrogate = Surrogate.load()

    def evaluator(rng_seed: int) -> Evaluate:
        return functools.partial(surrogate.evaluate, rng_seed=rng_seed)

    return Untrained(
        name="the surrogate",
        space="accel_nasbench",
        evaluator=evaluator,
        classes=_CLASSES,
        accuracy="top-1 after a short training on ImageNet, as predicted",
        about=surrogate.describe(),
        caution=surrogate.caution(),
    )
