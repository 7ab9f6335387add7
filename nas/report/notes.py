"""What a person should know before believing the result of a search. Remedies are named where they help only."""

import math
from collections.abc import Sequence

from nas.reward import Reward
from nas.trial import Trial
from nas_runtime.console import counted

__all__ = ["at_chance", "failures", "far_from_target", "settled"]

_LATE = 1000
_FEWEST = 100
_SETTLED = 0.05
_FAR_BELOW, _FAR_ABOVE = 0.7, 1.1  # of the target


def settled(trials: Sequence[Trial], *, space_size: float = math.inf, entropy: bool = True) -> str | None:
    """A note if the late samples, the last 1,000 or half of them all, are hardly ever another network.

    `reinforce` with its defaults has about 100 different networks among its samples 2,000 to 3,000 on
    `accel_nasbench`, evolution 1,000. A twentieth is the limit.

    Args:
        space_size: networks of the space; few networks cannot be many different ones.
        entropy: whether the controller has such a setting.
    """
    late = trials[-min(_LATE, len(trials) // 2) :] if len(trials) > 1 else ()
    different = len({trial.indices for trial in late})
    if len(late) < _FEWEST or different >= _SETTLED * min(len(late), space_size):
        return None
    return (
        f"The last {len(late)} samples are {different} different network{'s' * (different > 1)} only: the controller "
        "has settled, and more samples show little that is new. Remedies: another rng_seed, or "
        f"{'a larger controller.settings.entropy' if entropy else 'another controller'}."
    )


def at_chance(trials: Sequence[Trial], classes: int, images: int) -> str | None:
    """A note if no network is clearly better than one that guesses, whose top-1 is 1 / `classes`.

    A network may be above that by luck, the best of many by three standard errors: as much counts as chance, and so
    does half as much again, or a twentieth of what there is above it.

    Args:
        images: of the holdout, by which top-1 is known.
    """
    chance = 1 / classes
    luck = 3 * math.sqrt(chance * (1 - chance) / images)
    limit = chance + max(luck, min(0.5 * chance, 0.05 * (1 - chance)))
    good = [trial.top1 for trial in trials if trial.status == "ok"]
    if not good or max(good) > limit:
        return None
    return (
        f"No network is clearly better than chance (top-1 {chance:.2%} with {classes} classes; the best of the samples "
        f"has {max(good):.2%} of {counted(images, 'holdout image')}): their accuracies say nothing about them. "
        "Remedies: more evaluator.epochs, another evaluator.lr, more pictures, or a look at their labels."
    )


def far_from_target(
    winner: Trial, reward: Reward, *, trains: bool = True, wider: bool = True, narrower: bool = True
) -> str | None:
    """A note if the winner is much faster than the target, or slower.

    Args:
        reward: the one that counted at the end.
        trains: whether networks are trained, on a data set that may be another one.
        wider, narrower: whether there is a space of another width.
    """
    share = winner.latency_ms / reward.target_ms
    if _FAR_BELOW <= share <= _FAR_ABOVE:
        return None
    remedies = _remedies(reward, below=share < 1)
    if share < 1:
        remedies += ["a harder data set"] * trains + ["a wider space (space.base_width)"] * wider
        name = "hard" if reward.name == "soft" and not reward.w else reward.name
        why = _WHY_BELOW.get(name, "no slower network that was sampled has a better reward")
        return f"The winner needs only {share:.0%} of the target: {why}. Remedies: {_either(remedies)}."
    remedies += ["a narrower space (space.base_width)"] * narrower
    return f"The winner is {share - 1:.0%} over the target. Remedies: {_either(remedies)}."


_WHY_BELOW = {
    "soft": "on this data the reward pays more for speed than for accuracy",
    "hard": "no slower network that was sampled is more accurate",
    "absolute": "no network that was sampled gains as much by being slower as the reward gives for the target",
}


def _remedies(reward: Reward, *, below: bool) -> list[str]:
    if reward.name == "soft" and reward.w < 0:
        w = f"a {'smaller' if below else 'larger'} |w| (now {reward.w:g})"
        return ["reward=absolute", w]
    if reward.name == "absolute":
        return [f"a larger beta (now {-reward.beta:g})", "more samples"]
    return ["more samples"]


def failures(trials: Sequence[Trial]) -> list[str]:
    """Notes on evaluations that failed or were stopped early, and on many trainings that diverged."""
    lines = []
    failed = sum(trial.status == "failed" for trial in trials)
    stopped = sum(trial.status == "stopped" for trial in trials)
    diverged = sum(trial.status == "diverged" for trial in trials)
    if failed:
        lines.append(f"{failed} of {len(trials)} evaluations failed; the journal says why.")
    if stopped:
        lines.append(
            f"{stopped} of {len(trials)} trainings were stopped early: their accuracies cannot be compared with the "
            "others', so that they cannot win and are in no picture of accuracies."
        )
    if diverged > len(trials) / 10:
        lines.append(f"{diverged} of {len(trials)} trainings diverged; try a lower evaluator.lr.")
    return lines


def _either(remedies: Sequence[str]) -> str:
    """``a``, ``a, or b``, ``a, b, or c``."""
    *others, last = remedies
    return f"{', '.join(others)}, or {last}" if others else last
