"""The trials of a search, batch by batch: taken from the journal, evaluated, or shared by equal networks."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas.executor import cause
from nas.journal import Journal, JournalError
from nas.trial import Evaluation, Trial, number
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["MAX_FAILURES_IN_A_ROW", "EvaluationError", "RewardFunction", "Samples", "known_latency_ms"]

MAX_FAILURES_IN_A_ROW = 8

RewardFunction = Callable[[float, float], float]
"""(top1, latency_ms) to the number to maximise."""


class EvaluationError(ValueError):
    """Every evaluation fails: something is wrong with the evaluator, not with the networks."""


@dataclass(frozen=True, kw_only=True)
class _Point:
    sample: int
    indices: tuple[int, ...]
    arch: Arch


class Samples:
    """The trials of a search so far, and what makes the next ones.

    Args:
        run: evaluates networks that were evaluated so often before; yields (position, evaluation) in any order.
        again: whether a network that was evaluated before is evaluated again; else its first result counts again.
        journal: gets each new trial; those that it has settled are not evaluated again.
        batch: points between two updates of the controller.

    Attributes:
        trials: in order.
        reward: the one that counts now; see `change_reward`.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        run: Callable[[int, Sequence[Arch]], Iterator[tuple[int, Evaluation]]],
        again: bool,
        latency_ms: Callable[[Arch], float],
        reward: RewardFunction,
        journal: Journal | None,
        batch: int,
        on_trial: Callable[[Trial], None] | None,
    ) -> None:
        self.trials: list[Trial] = []
        self.reward = reward
        self._space, self._run, self._again, self._latency_ms = space, run, again, latency_ms
        self._journal, self._on_trial = journal, on_trial
        self._settled = journal.settled(batch) if journal else {}
        self._known: dict[Arch, Trial] = {}  # the first result of each network
        self._times: Counter[Arch] = Counter()  # samples of each network
        self._failures = 0  # evaluations of this process that failed, one after the other

    def add(self, indices: np.ndarray) -> None:
        """Makes the trials of the next points (n, C).

        Raises:
            JournalError: the journal has others.
            EvaluationError: the last `MAX_FAILURES_IN_A_ROW` evaluations failed.
        """
        first = len(self.trials)
        made: dict[int, Trial] = {}
        todo: list[tuple[int, _Point]] = []  # samples of its network before, point
        for sample, row in enumerate(indices, first):
            point = _Point(sample=sample, indices=tuple(int(i) for i in row), arch=self._space.decode(row))
            if old := self._settled.get(sample):
                made[sample] = self._replayed(old, point)
            else:
                todo.append((self._times[point.arch], point))
            self._times[point.arch] += 1
        for trial in self._evaluated_again(todo) if self._again else self._evaluated_once([p for _, p in todo]):
            made[trial.sample] = trial
        self.trials += [made[sample] for sample in range(first, first + len(indices))]
        self._stop_if_nothing_works(self.trials[first:])

    def told(self, n: int) -> np.ndarray:
        """(n,) what the controller is told of the last `n` trials: a diverged training is at least as bad as the worst
        network so far, and as its own network without any accuracy; a failed evaluation says nothing about its network
        (NaN)."""
        worst = min((trial.reward for trial in self.trials if trial.status == "ok"), default=0.0)

        def told(trial: Trial) -> float:
            if trial.status == "failed":
                return math.nan
            if trial.status == "ok":
                return trial.reward
            without, _ = _value(self.reward, 0.0, trial.latency_ms)
            return min(0.0, worst, without)

        return np.array([told(trial) for trial in self.trials[len(self.trials) - n :]])

    def change_reward(self, reward: RewardFunction) -> None:
        """Another reward, for the trials so far as well."""
        self.reward = reward
        self.trials = [_rewarded(trial, reward) for trial in self.trials]
        self._known = {trial.arch: trial for trial in reversed(self.trials) if trial.status != "failed"}

    def _replayed(self, old: Trial, point: _Point) -> Trial:
        if old.indices != point.indices:
            raise JournalError(
                f"sample {old.sample} of the journal is not what this search proposes; "
                "its settings or the program have changed: start again in another run_dir"
            )
        now, note = _value(self.reward, old.top1, old.latency_ms) if old.status == "ok" else (old.reward, "")
        if note or not math.isclose(now, old.reward, rel_tol=1e-9, abs_tol=1e-12):
            raise JournalError(
                f"sample {old.sample} of the journal has reward {old.reward:.9g} (top-1 {old.top1:.6g} at "
                f"{old.latency_ms:.6g} ms), but in this search {note or f'the reward is {now:.9g}'}; use the "
                "reward that the journal was begun with, or another journal"
            )
        return self._take(old)

    def _evaluated_again(self, todo: Sequence[tuple[int, _Point]]) -> Iterator[Trial]:
        for before in sorted({before for before, _ in todo}):
            yield from self._evaluated(before, [point for n, point in todo if n == before])

    def _evaluated_once(self, todo: Sequence[_Point]) -> Iterator[Trial]:
        """One evaluation for all points of a network; if it fails, one for the next of them."""
        while todo:
            new: dict[Arch, _Point] = {}
            for point in todo:
                if point.arch not in self._known:
                    new.setdefault(point.arch, point)
            yield from self._evaluated(0, list(new.values()))
            todo = [point for point in todo if new.get(point.arch) != point]
            for point in todo:
                if first := self._known.get(point.arch):
                    yield self._record(
                        replace(first, sample=point.sample, indices=point.indices, seconds=0.0, reused=first.sample)
                    )
            todo = [point for point in todo if point.arch not in self._known]

    def _evaluated(self, before: int, points: Sequence[_Point]) -> Iterator[Trial]:
        able = []
        for point in points:  # before hours are spent on a network whose latency is not known
            latency_ms, note = known_latency_ms(self._latency_ms, point.arch)
            if note:
                failed = Evaluation(top1=0.0, status="failed", note=note)
                yield self._record(_trial(point, failed, math.nan))
            elif finished := self._finished(point):
                yield self._record(finished)
            else:
                able.append((point, latency_ms))
        for i, evaluation in self._run(before, [point.arch for point, _ in able]):
            point, latency_ms = able[i]
            yield self._record(_rewarded(_trial(point, evaluation, latency_ms), self.reward))

    def _finished(self, point: _Point) -> Trial | None:
        """The trial of a point whose evaluation is in the journal, but whose reward failed then."""
        old = self._journal.trials.get(point.sample) if self._journal else None
        if old is None or old.indices != point.indices or not old.top1:
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

    def _stop_if_nothing_works(self, trials: Sequence[Trial]) -> None:
        note = ""
        for trial in trials:
            if trial.sample not in self._settled and trial.reused is None:
                self._failures = self._failures + 1 if trial.status == "failed" else 0
                note = trial.note
        if self._failures >= MAX_FAILURES_IN_A_ROW:
            raise EvaluationError(f"the last {self._failures} evaluations failed; the latest: {note}")


def known_latency_ms(latency_ms: Callable[[Arch], float], arch: Arch) -> tuple[float, str]:
    """Milliseconds, or NaN and why they are not known."""
    try:
        ms = number("latency_ms", latency_ms(arch))
    except Exception as e:  # like a reward, it is anyone's code
        return math.nan, f"the latency is not known: {cause(e)}"
    return (ms, "") if 0 < ms < math.inf else (math.nan, f"the latency is {ms:g} ms; it must be above 0 and finite")


def _trial(point: _Point, evaluation: Evaluation, latency_ms: float) -> Trial:
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
    )


def _rewarded(trial: Trial, reward: RewardFunction) -> Trial:
    """`trial` with its reward; failed if there is none."""
    if trial.status != "ok":
        return trial
    value, note = _value(reward, trial.top1, trial.latency_ms)
    return replace(trial, reward=value, status="failed" if note else "ok", note=note or trial.note)


def _value(reward: RewardFunction, top1: float, latency_ms: float) -> tuple[float, str]:
    """The reward, or 0 and why there is none."""
    try:
        value = number("reward", reward(top1, latency_ms))
    except Exception as e:  # a reward is anyone's code
        return 0.0, f"the reward is not known: {cause(e)}"
    return (value, "") if math.isfinite(value) else (0.0, f"the reward is {value}")
