"""What a controller is told of a sample: its reward, and of one that has none, what can be said of it honestly.

The loop and Ray Tune have this one rule:

- ``ok``: its reward.
- ``stopped``, a training that a scheduler like ASHA (arXiv:1810.05934) ended early: the reward of the accuracy that it
  would have had at the end. Its own is that of a shorter training, and no controller can compare the two; to tell
  nothing would hide what most of the networks came to, and leave those that did well. So each epoch that it lacks adds
  to its accuracy what that epoch added, on average, to the networks that were trained on through it, whether they were
  stopped later or not. (Not to its reward: where a network is so slow that its accuracy counts half, an epoch adds
  half as much.) Who is trained on is decided by what they had before the epoch. As long as what an epoch adds does not
  depend on that, the estimate is right on average, and where the curves of all networks are parallel it is exact; where
  better networks gain more, it is too high for the stopped ones, where worse ones catch up, too low. Some always do:
  those whose accuracy was low by chance. The accuracies of those stopped after one epoch keep their order.
- ``diverged``: at least as bad as the worst network so far, as 0, and as its own network without any accuracy.
- ``failed``: nothing (NaN), since the evaluation broke, not the network.

An estimate is for the controller only: trials keep what was measured, and a stopped one is never a winner.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np

__all__ = ["Outcome", "told"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a sample.

    Attributes:
        status: one of `nas.trial.STATUSES`.
        curve: accuracies after each epoch, the last at the end, or that one alone; empty where the status is another
            than ``ok`` or ``stopped``.
        reward: of an accuracy with this network, NaN if there is none. By default the accuracy itself: where rewards
            are all that is known, they take the place of accuracies.
        without: the reward of its network without any accuracy, which counts where the status is ``diverged``.
    """

    status: str
    curve: tuple[float, ...] = ()
    reward: Callable[[float], float] = float
    without: float = 0.0


def told(outcomes: Sequence[Outcome], last: int) -> np.ndarray:
    """(last,) what the controller is told of the last outcomes of all so far, NaN for nothing."""
    gains = _gains(outcomes)
    epochs = max((len(o.curve) for o in outcomes if o.status == "ok"), default=0)

    def value(outcome: Outcome) -> float:
        if outcome.status == "ok":
            return outcome.reward(outcome.curve[-1])
        done = len(outcome.curve)
        if outcome.status == "stopped" and done < epochs:
            return outcome.reward(outcome.curve[-1] + math.fsum(gains[done - 1 : epochs - 1]))
        return math.nan

    def lowest() -> float:
        return min([0.0, *(v for v in map(value, outcomes) if not math.isnan(v))])

    recent = outcomes[len(outcomes) - last :]
    worst = lowest() if any(o.status == "diverged" for o in recent) else 0.0
    return np.array([min(worst, o.without) if o.status == "diverged" else value(o) for o in recent])


def _gains(outcomes: Sequence[Outcome]) -> list[float]:
    """What the second epoch, the third, and so on added on average."""
    added: list[list[float]] = []
    for curve in dict.fromkeys(outcome.curve for outcome in outcomes):  # samples of one network have one
        for epoch, (before, after) in enumerate(pairwise(curve)):
            if epoch == len(added):
                added.append([])
            added[epoch].append(after - before)
    return [fmean(gains) for gains in added]
