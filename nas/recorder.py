"""The record of a search: its trials from the journal, from evaluations, or from earlier samples of equal networks."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nas.controllers import Controller
from nas.ends import Ends
from nas.journal import Journal, JournalError
from nas.objective import Costs, Objective, RewardFunction, valued
from nas.told import Outcome, told
from nas.trial import Evaluation, Trial, has_reward
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["MAX_FAILURES_IN_A_ROW", "EvaluationError", "Point", "Recorder", "Sampling"]

MAX_FAILURES_IN_A_ROW = 8


class EvaluationError(ValueError):
    """Every evaluation fails: something is wrong with the evaluator, not with the networks."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What is sampled, by what, for what and how often: all that the loop and Ray Tune have in common.

    Attributes:
        controller: learns after each batch.
        samples: number of trials.
        batch: trials between two updates of the controller.
        journal: gets each new trial; what it has settled (`Journal.settled`) is not evaluated again.
        on_trial: called with each trial as it is done, replayed ones included.
        ends: after each batch of new trials, whether the loop goes on.
    """

    space: SearchSpace
    controller: Controller
    objective: Objective[Any]
    samples: int
    batch: int = 8
    journal: Journal | None = None
    on_trial: Callable[[Trial], None] | None = None
    ends: Ends | None = None


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a controller proposed as a sample, and its network."""

    sample: int
    indices: tuple[int, ...]
    arch: Arch


class Recorder:
    """Makes the trials of a search, whatever evaluates them (the loop, Ray Tune), and keeps them."""

    def __init__(self, sampling: Sampling) -> None:
        self._space, self._objective = sampling.space, sampling.objective
        self._journal, self._on_trial = sampling.journal, sampling.on_trial
        self._settled = sampling.journal.settled(sampling.batch) if sampling.journal else {}
        self._known: dict[Arch, Trial] = {}  # the first result of each network
        self._costs: dict[int, Costs] = {}  # of samples under way
        self._failures = 0  # evaluations of this process that failed, one after the other

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
        now, note = self._objective.value(old.top1, old.latency_ms) if has_reward(old) else (old.reward, "")
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
        costs = self._objective.costs(point.arch)
        if costs.note:  # before hours are spent on such a network
            return self._record(_trial(point, Evaluation(top1=0.0, status="failed", note=costs.note), costs))
        if finished := self._finished(point):
            return self._record(finished)
        self._costs[point.sample] = costs
        return None

    def evaluated(self, point: Point, evaluation: Evaluation) -> Trial:
        """The trial of a point that was `begun`."""
        return self._record(self._objective.rewarded(_trial(point, evaluation, self._costs.pop(point.sample))))

    def told(self, trials: Sequence[Trial], last: int) -> np.ndarray:
        """(last,) what the controller is told of the last of all `trials` so far (`nas.told`); in a search for several
        targets (last, targets), by the reward for each."""
        judged_by_all = any(trial.status in ("stopped", "diverged") for trial in trials[len(trials) - last :])
        counting = trials if judged_by_all else trials[len(trials) - last :]
        columns = [told([self._outcome(t, reward) for t in counting], last) for reward in self._objective.told]
        return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)

    def failures(self, trials: Iterable[Trial]) -> str:
        """What ends the search after the next `trials`, the last `MAX_FAILURES_IN_A_ROW` evaluations having failed; ""
        if it goes on."""
        note = ""
        for trial in trials:
            if not self.is_settled(trial.sample) and trial.reused is None:
                self._failures = self._failures + 1 if trial.status == "failed" else 0
                note = trial.note
        broken = self._failures >= MAX_FAILURES_IN_A_ROW
        return f"the last {self._failures} evaluations failed; the latest: {note}" if broken else ""

    def rewarded(self, trials: Sequence[Trial]) -> list[Trial]:
        """`trials` by the reward that counts now, which is another one."""
        changed = [self._objective.rewarded(trial) for trial in trials]
        self._known = {trial.arch: trial for trial in reversed(changed) if trial.status != "failed"}
        return changed

    def _outcome(self, trial: Trial, of: RewardFunction) -> Outcome:
        if trial.status == "diverged":
            without, _ = valued(of, 0.0, trial.latency_ms)
            return Outcome(status="diverged", without=without)
        if trial.status == "failed":
            return Outcome(status="failed")

        def reward(top1: float) -> float:
            if top1 == trial.top1 and of is self._objective.reward:
                return trial.reward
            value, note = valued(of, min(1.0, max(0.0, top1)), trial.latency_ms)
            return math.nan if note else value

        return Outcome(status=trial.status, curve=trial.curve or (trial.top1,), reward=reward)

    def _finished(self, point: Point) -> Trial | None:
        """The trial of a point whose evaluation is in the journal, but whose reward failed then."""
        old = self._journal.trials.get(point.sample) if self._journal else None
        if old is None or old.indices != point.indices or not old.top1 or old.curve:  # a curve may be of a stopped one
            return None
        return self._objective.rewarded(replace(old, status="ok", note=""))

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


def _trial(point: Point, evaluation: Evaluation, costs: Costs) -> Trial:
    return Trial(
        sample=point.sample,
        indices=point.indices,
        arch=point.arch,
        top1=evaluation.top1,
        latency_ms=costs.latency_ms,
        reward=0.0,
        status=evaluation.status,
        seconds=evaluation.seconds,
        note=evaluation.note,
        curve=evaluation.curve,
        costs=costs.others,
    )
