"""`Evaluation` and `Trial`: what an evaluator answers, and the record of one sample."""

from dataclasses import dataclass
from typing import Any

from search_spaces.arch import Arch

__all__ = ["STATUSES", "Evaluation", "Trial"]

STATUSES = ("ok", "diverged", "failed")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluator found out about a network.

    Attributes:
        top1: accuracy on the holdout in [0, 1]; 0 unless the status is ``ok``.
        status: ``ok``; ``diverged``: the training became NaN, which is a result; ``failed``: the evaluation
            itself broke, and `note` says why.
        seconds: how long it took.
        state: what else the evaluator passes on, like trained weights; no journal keeps it.
    """

    top1: float
    status: str = "ok"
    seconds: float = 0.0
    note: str = ""
    state: Any = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One sample of a search.

    Attributes:
        sample: its number, from 0 in the order in which the controller proposed them.
        indices: the point of the search space.
        reused: the sample whose evaluation this one shares, being the same network; None if evaluated itself.
    """

    sample: int
    indices: tuple[int, ...]
    arch: Arch
    top1: float
    latency_ms: float
    reward: float
    status: str = "ok"
    seconds: float = 0.0
    note: str = ""
    reused: int | None = None
