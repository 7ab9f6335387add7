"""The search itself: propose, evaluate, reward, observe, journal."""

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import numpy as np

from nas.controllers import Controller, inform
from nas.executor import Evaluate, Executor, SerialExecutor
from nas.journal import Journal
from nas.recorder import Recorder, RewardFunction
from nas.samples import EvaluationError, Samples
from nas.trial import Evaluation, Trial, short
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["EvaluationError", "best", "search"]


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
    deterministic, comes to where it was. What failed at its end is tried again, see `Journal.settled`; a failure is
    never the result of another sample of the same network. While a search runs, no other one writes to its journal.

    Args:
        evaluate: network to top-1 in [0, 1], or to an `Evaluation`. If it raises or returns something else, if the
            latency is not known (the network is not evaluated then) or the reward raises, the trial has failed, and
            its note says why.
        reward: (top1, latency_ms) to the number to maximise. A failed or diverged evaluation has reward 0; what the
            controller is told of it says `nas.told`.
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
        ValueError: `samples` or `batch` cannot be.
        JournalError: the journal belongs to another search, or was written with another reward.
        FileError: another search is writing to the journal.
        EvaluationError: `nas.samples.MAX_FAILURES_IN_A_ROW` evaluations of this call failed one after the other.
    """
    samples, batch = _whole("samples", samples, 0), _whole("batch", batch, 1)
    runner = executor or SerialExecutor()

    def run(before: int, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        return runner.run(evaluate_again(before) if evaluate_again and before else evaluate, archs)

    with journal.writing() if journal else nullcontext():
        recorder = Recorder(
            space=space, latency_ms=latency_ms, reward=reward, journal=journal, batch=batch, on_trial=on_trial
        )
        state = Samples(recorder, run=run, again=evaluate_again is not None)
        if latency_ms_batch:
            inform(controller, latency_ms_batch, reward)
        for start in range(0, samples, batch):
            # always a whole batch, so that a search with more samples begins as this one does
            indices = controller.propose(batch)[: samples - start]
            state.add(indices)
            controller.observe(indices, state.told(len(indices)))
            if adjust and adjust_after is not None and sum(t.status == "ok" for t in state.trials) >= adjust_after:
                state.change_reward(adjust(state.trials))
                adjust = None
                if latency_ms_batch:
                    inform(controller, latency_ms_batch, recorder.reward)
                controller.observe(np.array([t.indices for t in state.trials]), state.told(len(state.trials)))
    return state.trials


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


def _whole(name: str, value: int, low: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        whole = low - 1
    if whole < low:
        raise ValueError(f"{name}={short(value)}: it must be a whole number, at least {low}")
    return whole
