"""The record of a search: its trials from the journal, from evaluations, or from earlier samples of equal networks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.executor import cause
from nas.journal import Journal, JournalError
from nas.told import Outcome, told
from nas.trial import Evaluation, Trial, number
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["Point", "Recorder", "RewardFunction"]

RewardFunction = Callable[[float, float], float]
"""(top1, latency_ms) to the number to maximise."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a controller proposed as a sample, and its network."""

    sample: int
    indices: tuple[int, ...]
    arch: Arch


class Recorder:
    """Makes the trials of a search, whatever evaluates them (the loop, Ray Tune), and keeps them.

    Args:
        journal: gets each new trial; those that it has settled are not evaluated again.
        batch: points between two updates of the controller.
        on_trial: called with each trial as it is done, replayed ones included.

    Attributes:
        reward: the one that counts now; see `change_reward`.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        latency_ms: Callable[[Arch], float],
        reward: RewardFunction,
        journal: Journal | None,
        batch: int,
        on_trial: Callable[[Trial], None] | None,
    ) -> None:
        self.reward = reward
        self._space, self._latency_ms = space, latency_ms
        self._journal, self._on_trial = journal, on_trial
        self._settled = journal.settled(batch) if journal else {}
        self._known: dict[Arch, Trial] = {}  # the first result of each network
        self._ms: dict[int, float] = {}  # latencies of samples under way

    def point(self, sample: int, indices: Sequence[int] | np.ndarray) -> Point:
        """A proposal (C,)."""
        return Point(sample=sample, indices=tuple(int(i) for i in indices), arch=self._space.decode(indices))

    def is_settled(self, sample: int) -> bool:
        """Whether the journal had the sample when the search began, for good."""
        return sample in self._settled

    def replayed(self, point: Point) -> Trial | None:
        """The trial that the journal has settled; None if there is none.

        Raises:
            JournalError: it is of another point, or was given another reward.
        """
        old = self._settled.get(point.sample)
        if old is None:
            return None
        if old.indices != point.indices:
            raise JournalError(
                f"sample {old.sample} of the journal is not what this search proposes; "
                "its settings or the program have changed: start again in another run_dir"
            )
        now, note = _value(self.reward, old.top1, old.latency_ms) if _has_reward(old) else (old.reward, "")
        if note or not math.isclose(now, old.reward, rel_tol=1e-9, abs_tol=1e-12):
            raise JournalError(
                f"sample {old.sample} of the journal has reward {old.reward:.9g} (top-1 {old.top1:.6g} at "
                f"{old.latency_ms:.6g} ms), but in this search {note or f'the reward is {now:.9g}'}; use the "
                "reward that the journal was begun with, or another journal"
            )
        return self._take(old)

    def is_known(self, arch: Arch) -> bool:
        """Whether a network was evaluated, and did not fail."""
        return arch in self._known

    def reused(self, point: Point) -> Trial | None:
        """The first result of the point's network again, as this sample's; None if there is none."""
        first = self._known.get(point.arch)
        if first is None:
            return None
        return self._record(
            replace(first, sample=point.sample, indices=point.indices, seconds=0.0, reused=first.sample)
        )

    def begun(self, point: Point) -> Trial | None:
        """The trial if nothing is to be evaluated: the latency is not known, or the evaluation is in the journal but
        its reward failed then. None: `evaluated` comes next."""
        latency_ms, note = _known_latency_ms(self._latency_ms, point.arch)
        if note:  # before hours are spent on such a network
            return self._record(_trial(point, Evaluation(top1=0.0, status="failed", note=note), math.nan))
        if finished := self._finished(point):
            return self._record(finished)
        self._ms[point.sample] = latency_ms
        return None

    def evaluated(self, point: Point, evaluation: Evaluation) -> Trial:
        """The trial of a point that was `begun`."""
        return self._record(_rewarded(_trial(point, evaluation, self._ms.pop(point.sample)), self.reward))

    def told(self, trials: Sequence[Trial], last: int) -> np.ndarray:
        """(last,) what the controller is told of the last of all `trials` so far (`nas.told`)."""
        judged_by_all = any(trial.status in ("stopped", "diverged") for trial in trials[len(trials) - last :])
        return told([self._outcome(t) for t in (trials if judged_by_all else trials[len(trials) - last :])], last)

    def change_reward(self, reward: RewardFunction, trials: Sequence[Trial]) -> list[Trial]:
        """Another reward from now on; gives `trials` with it."""
        self.reward = reward
        changed = [_rewarded(trial, reward) for trial in trials]
        self._known = {trial.arch: trial for trial in reversed(changed) if trial.status != "failed"}
        return changed

    def _outcome(self, trial: Trial) -> Outcome:
        if trial.status == "diverged":
            without, _ = _value(self.reward, 0.0, trial.latency_ms)
            return Outcome(status="diverged", without=without)
        if trial.status == "failed":
            return Outcome(status="failed")

        def reward(top1: float) -> float:
            if top1 == trial.top1:
                return trial.reward
            value, note = _value(self.reward, min(1.0, max(0.0, top1)), trial.latency_ms)
            return math.nan if note else value

        return Outcome(status=trial.status, curve=trial.curve or (trial.top1,), reward=reward)

    def _finished(self, point: Point) -> Trial | None:
        """The trial of a point whose evaluation is in the journal, but whose reward failed then."""
        old = self._journal.trials.get(point.sample) if self._journal else None
        if old is None or old.indices != point.indices or not old.top1 or old.curve:  # a curve may be of a stopped one
            return None
        return _rewarded(replace(old, status="ok", note=""), self.reward)

    def _record(self, trial: Trial) -> Trial:
        if self._journal:
            self._journal.append(trial)
        return self._take(trial)

    def _take(self, trial: Trial) -> Trial:
        if trial.status != "failed":
            self._known.setdefault(trial.arch, trial)
        if self._on_trial:
            self._on_trial(trial)
        return trial


def _known_latency_ms(latency_ms: Callable[[Arch], float], arch: Arch) -> tuple[float, str]:
    """Milliseconds, or NaN and why they are not known."""
    try:
        ms = number("latency_ms", latency_ms(arch))
    except Exception as e:  # like a reward, it is anyone's code
        return math.nan, f"the latency is not known: {cause(e)}"
    return (ms, "") if 0 < ms < math.inf else (math.nan, f"the latency is {ms:g} ms; it must be above 0 and finite")


def _trial(point: Point, evaluation: Evaluation, latency_ms: float) -> Trial:
    return Trial(
        sample=point.sample,
        indices=point.indices,
        arch=point.arch,
        top1=evaluation.top1,
        latency_ms=latency_ms,
        reward=0.0,
        status=evaluation.status,
        seconds=evaluation.seconds,
        note=evaluation.note,
        curve=evaluation.curve,
    )


def _has_reward(trial: Trial) -> bool:
    return trial.status in ("ok", "stopped")


def _rewarded(trial: Trial, reward: RewardFunction) -> Trial:
    """`trial` with its reward; failed if there is none."""
    if not _has_reward(trial):
        return trial
    value, note = _value(reward, trial.top1, trial.latency_ms)
    return replace(trial, reward=value, status="failed" if note else trial.status, note=note or trial.note)


def _value(reward: RewardFunction, top1: float, latency_ms: float) -> tuple[float, str]:
    """The reward, or 0 and why there is none."""
    try:
        value = number("reward", reward(top1, latency_ms))
    except Exception as e:  # a reward is anyone's code
        return 0.0, f"the reward is not known: {cause(e)}"
    return (value, "") if math.isfinite(value) else (0.0, f"the reward is {value}")
