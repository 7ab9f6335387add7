"""The search itself: propose, evaluate, reward, observe, journal."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nas.controllers import Controller, inform
from nas.executor import Evaluate, Executor, SerialExecutor
from nas.journal import Journal, JournalError
from nas.trial import Evaluation, Trial
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["EvaluationError", "best", "search"]

MAX_FAILURES_IN_A_ROW = 8

RewardFunction = Callable[[float, float], float]


class EvaluationError(ValueError):
    """Every evaluation fails: something is wrong with the evaluator, not with the networks."""


def search(
    *,
    space: SearchSpace,
    controller: Controller,
    evaluate: Evaluate,
    latency_ms: Callable[[Arch], float],
    reward: RewardFunction,
    samples: int,
    batch: int = 8,
    executor: Executor | None = None,
    journal: Journal | None = None,
    on_trial: Callable[[Trial], None] | None = None,
    adjust_after: int | None = None,
    adjust: Callable[[Sequence[Trial]], RewardFunction] | None = None,
    evaluate_again: Callable[[int], Evaluate] | None = None,
    latency_ms_batch: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[Trial]:
    """Searches `space` and returns the trials in order.

    The controller learns after each batch, whatever order its evaluations finish in, so that a search is the same for
    every executor. A journal is replayed: trials that it has are not evaluated again, and the controller, being
    deterministic, comes to where it was.

    Args:
        evaluate: network to top-1 in [0, 1], or to an `Evaluation`.
        reward: (top1, latency_ms) to the number to maximise. A failed or diverged evaluation has reward 0.
        samples: number of trials.
        batch: trials between two updates of the controller.
        executor: where evaluations run; in this process if None.
        on_trial: called with each trial as it is done, replayed ones included.
        adjust_after, adjust: after so many good trials `adjust` is called with all of them, once; what it returns is
            the reward of all trials that are returned, and the controller is told of all of them again.
        evaluate_again: gives for n = 1, 2, ... what evaluates a network that was evaluated n times before, like a
            training with another seed. None: such a network is not evaluated again, its first result counts again.
        latency_ms_batch: milliseconds (n,) of points (n, C), for controllers that use what is known beforehand;
            `reward` must then be linear in the accuracy, and grow with it where it is to learn from.

    Raises:
        JournalError: the journal belongs to another search.
        EvaluationError: `MAX_FAILURES_IN_A_ROW` evaluations failed one after the other.
    """
    executor = executor or SerialExecutor()
    done = dict(journal.trials) if journal else {}
    trials: list[Trial] = []
    first_seen: dict[Arch, Trial] = {}
    times: Counter[Arch] = Counter()  # evaluations of each network
    if latency_ms_batch:
        inform(controller, latency_ms_batch, reward)
    for start in range(0, samples, batch):
        # always a whole batch, so that a search with more samples begins as this one does
        indices = controller.propose(batch)[: samples - start]
        points = [tuple(int(i) for i in row) for row in indices]
        archs = [space.decode(row) for row in indices]
        finished: dict[int, Trial] = {}  # position in the batch -> trial

        def finish(position: int, trial: Trial, finished: dict[int, Trial] = finished) -> None:
            finished[position] = trial
            if journal and trial.sample not in journal.trials:
                journal.append(trial)
            if on_trial:
                on_trial(trial)

        waiting: dict[int, list[int]] = {}  # evaluations before -> positions
        reused: list[int] = []
        for i, arch in enumerate(archs):
            before, anew = times[arch], evaluate_again is not None or arch not in times
            times[arch] += anew
            if old := done.get(start + i):
                if old.indices != points[i]:
                    raise JournalError(
                        f"sample {old.sample} of the journal is not what this search proposes; "
                        "its settings or the program have changed: start again in another run_dir"
                    )
                finish(i, old)
                first_seen.setdefault(arch, old)
            elif anew:
                waiting.setdefault(before, []).append(i)
            else:
                reused.append(i)
        for before, positions in sorted(waiting.items()):
            how = evaluate_again(before) if evaluate_again and before else evaluate
            for j, evaluation in executor.run(how, [archs[i] for i in positions]):
                i = positions[j]
                finish(i, _trial(start + i, points[i], archs[i], evaluation, latency_ms(archs[i]), reward))
                first_seen.setdefault(archs[i], finished[i])
        for i in reused:
            finish(i, _reuse(first_seen[archs[i]], start + i, points[i]))
        trials += [finished[i] for i in range(len(archs))]
        _stop_if_nothing_works(trials)
        controller.observe(indices, _told(trials, len(archs), reward))
        if adjust and adjust_after is not None and sum(t.status == "ok" for t in trials) >= adjust_after:
            reward, adjust = adjust(trials), None
            trials = [_rewarded(trial, reward) for trial in trials]
            first_seen = {trial.arch: trial for trial in reversed(trials)}
            if latency_ms_batch:
                inform(controller, latency_ms_batch, reward)
            controller.observe(np.array([trial.indices for trial in trials]), _told(trials, len(trials), reward))
    return trials


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest reward, the earliest of equals.

    Raises:
        ValueError: no trial has status ``ok``.
    """
    good = [trial for trial in trials if trial.status == "ok"]
    if not good:
        note = next((trial.note for trial in trials if trial.note), "")
        raise ValueError(f"none of {len(trials)} networks could be evaluated{': ' + note if note else ''}")
    return max(good, key=lambda trial: (trial.reward, -trial.sample))


def _trial(
    sample: int,
    indices: tuple[int, ...],
    arch: Arch,
    evaluation: Evaluation,
    latency_ms: float,
    reward: RewardFunction,
) -> Trial:
    ok = evaluation.status == "ok"
    value = reward(evaluation.top1, latency_ms) if ok else 0.0
    status, note = evaluation.status, evaluation.note
    if not math.isfinite(value):
        value, status, note = 0.0, "failed", f"the reward is {value}"
    return Trial(
        sample=sample,
        indices=indices,
        arch=arch,
        top1=evaluation.top1 if ok else 0.0,
        latency_ms=latency_ms,
        reward=value,
        status=status,
        seconds=evaluation.seconds,
        note=note,
    )


def _told(trials: Sequence[Trial], n: int, reward: RewardFunction) -> np.ndarray:
    """(n,) what the controller is told of the last `n` trials: a diverged training is at least as bad as the worst
    network so far, and as its own network without any accuracy; a failed evaluation says nothing about its network
    (NaN)."""
    worst = min((trial.reward for trial in trials if trial.status == "ok"), default=0.0)

    def told(trial: Trial) -> float:
        if trial.status == "failed":
            return math.nan
        return trial.reward if trial.status == "ok" else min(0.0, worst, reward(0.0, trial.latency_ms))

    return np.array([told(trial) for trial in trials[len(trials) - n :]])


def _rewarded(trial: Trial, reward: RewardFunction) -> Trial:
    return replace(trial, reward=reward(trial.top1, trial.latency_ms)) if trial.status == "ok" else trial


def _reuse(trial: Trial, sample: int, indices: tuple[int, ...]) -> Trial:
    return Trial(
        sample=sample,
        indices=indices,
        arch=trial.arch,
        top1=trial.top1,
        latency_ms=trial.latency_ms,
        reward=trial.reward,
        status=trial.status,
        note=trial.note,
        reused=trial.sample,
    )


def _stop_if_nothing_works(trials: Sequence[Trial]) -> None:
    last = trials[-MAX_FAILURES_IN_A_ROW:]
    if len(last) == MAX_FAILURES_IN_A_ROW and all(trial.status == "failed" for trial in last):
        raise EvaluationError(f"the last {len(last)} evaluations failed; the latest: {last[-1].note}")
