"""Evaluators of others: ``evaluator=my_package:Judge``.

Such a class is made as ``Judge(rng_seed=0)``, or as ``Judge(settings, rng_seed=0)`` where it has something to set (see
`nas_runtime.declared`), and has ``evaluate(arch)``, which gives the top-1 in [0, 1] or a `nas.trial.Evaluation`. It may
say ``accuracy``, what that top-1 is in words, and ``classes``, the number it is for. Nothing is trained with it, and
the best sample wins. One that is a whole `nas.strategies.contract.Strategy` is taken as it is.
"""

from typing import TYPE_CHECKING, Any

from nas.executor import Evaluate
from nas.strategies.untrained import Untrained
from nas_runtime.declared import build, check_call

if TYPE_CHECKING:
    from nas.search_options import SearchOptions
    from nas.strategies.contract import Strategy

__all__ = ["read"]

_CLASSES = 1000
_STRATEGY = (
    *("classes", "accuracy", "sample_accuracy", "notes", "policy"),
    *("check", "describe", "describe_images", "estimate", "open"),
)


def read(judge: Any, options: "SearchOptions") -> "Strategy":
    """The strategy of somebody's evaluator `judge`.

    Raises:
        ValueError: it cannot be made so, or has no method ``evaluate``.
    """
    name, own = options.evaluator.name, getattr(options.evaluator, "settings", {})
    what = f"evaluator {name}"

    def make(rng_seed: int) -> Any:
        return build(judge, what, rng_seed=rng_seed, settings=own)

    made = make(options.rng_seed)
    absent = [name for name in _STRATEGY if not hasattr(made, name)]
    if not absent:
        return made
    if callable(getattr(made, "open", None)) and not callable(getattr(made, "evaluate", None)):
        raise ValueError(f"{what} has open, but no {absent[0]}; see nas.strategies.contract.Strategy")
    if not callable(getattr(made, "evaluate", None)):
        raise ValueError(f"{what} has no method evaluate(arch), which gives the top-1 of a network")

    check_call(made.evaluate, f"{what}: its method evaluate", "arch")

    def evaluator(rng_seed: int) -> Evaluate:
        return (made if rng_seed == options.rng_seed else make(rng_seed)).evaluate

    accuracy = getattr(made, "accuracy", f"top-1 as {name} says")
    classes = getattr(made, "classes", _CLASSES)
    return Untrained(name=what, evaluator=evaluator, classes=classes, accuracy=accuracy, about=accuracy, fast=False)
