"""What a search's trials say about the search itself: that it has settled, or that its networks have learnt nothing."""

import math
from collections.abc import Sequence

from nas.trial import Trial

__all__ = ["at_chance", "settled"]

_LATE = 1000
_FEWEST = 100
_SETTLED = 0.05


def settled(trials: Sequence[Trial], *, space_size: float = math.inf) -> str | None:
    """A note if the late samples, the last 1,000 or half of them all, are hardly ever another network.

    `reinforce` with its defaults has about 100 different networks among its samples 2,000 to 3,000 on
    `accel_nasbench`, evolution 1,000. A twentieth is the limit.

    Args:
        space_size: networks of the space; few networks cannot be many different ones.
    """
    late = trials[-min(_LATE, len(trials) // 2) :] if len(trials) > 1 else ()
    different = len({trial.indices for trial in late})
    if len(late) < _FEWEST or different >= _SETTLED * min(len(late), space_size):
        return None
    return (
        f"The last {len(late)} samples are {different} different network{'s' * (different > 1)} only: the controller "
        "has settled, and more samples show little that is new. Remedies: another rng_seed, controller=evolution, or a "
        "larger controller.settings.entropy."
    )


def at_chance(trials: Sequence[Trial], classes: int) -> str | None:
    """A note if no network is better than one that guesses, whose top-1 is 1 / `classes`.

    On few images a network may be above that by luck: half as much again, or a twentieth of what there is above it,
    counts as chance.
    """
    chance = 1 / classes
    limit = chance + min(0.5 * chance, 0.05 * (1 - chance))
    good = [trial.top1 for trial in trials if trial.status == "ok"]
    if not good or max(good) > limit:
        return None
    return (
        f"No network is better than chance (top-1 {chance:.2%} with {classes} classes; the best of the samples has "
        f"{max(good):.2%}): their accuracies say nothing about them. Remedies: more evaluator.epochs, another "
        "evaluator.lr, or a look at the labels of the data."
    )
