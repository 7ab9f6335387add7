"""The search itself: propose, evaluate, reward, observe, journal."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext

import numpy as np

from nas.controllers import Controller
from nas.ends import Ends
from nas.executor import Evaluate, Executor, SerialExecutor
from nas.journal import Journal
from nas.objective import Objective, RewardFunction
from nas.recorder import EvaluationError, Recorder, Sampling
from nas.samples import Samples
from nas.trial import Evaluation, Trial, short
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["EvaluationError", "best", "sample", "search"]


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
    costs: Mapping[str, Callable[[Arch], float]] | None = None,
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
        adjust_after, adjust, latency_ms_batch, costs: see `Objective`. With a reward that was adjusted, all trials that
            are returned have it, and the controller is told of all of them again.
        evaluate_again: see `sample`.

    Raises:
        ValueError: `samples` or `batch` cannot be; or as `sample` does.
    """
    objective = Objective(
        latency_ms=latency_ms,
        reward=reward,
        latency_ms_batch=latency_ms_batch,
        costs=costs,
        adjust_after=adjust_after,
        adjust=adjust,
    )
    sampling = Sampling(
        space=space,
        controller=controller,
        objective=objective,
        samples=_whole("samples", samples, 0),
        batch=_whole("batch", batch, 1),
        journal=journal,
        on_trial=on_trial,
    )
    return sample(sampling, evaluate, executor, evaluate_again)


def sample(
    sampling: Sampling,
    evaluate: Evaluate,
    executor: Executor | None = None,
    evaluate_again: Callable[[int], Evaluate] | None = None,
) -> list[Trial]:
    """The trials of `sampling`, in order; see `search`.

    Args:
        evaluate_again: gives for n = 1, 2, ... what evaluates a network that was evaluated n times before, like a
            training with another seed. None: such a network is not evaluated again, its first result counts again.

    Raises:
        JournalError: the journal belongs to another search, or was written with another reward.
        FileError: another search is writing to the journal.
        EvaluationError: `nas.recorder.MAX_FAILURES_IN_A_ROW` evaluations of this call failed one after the other.
    """
    controller, objective, batch = sampling.controller, sampling.objective, sampling.batch
    runner = executor or SerialExecutor()

    def run(before: int, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        return runner.run(evaluate_again(before) if evaluate_again and before else evaluate, archs)

    with sampling.journal.writing() if sampling.journal else nullcontext():
        recorder, ends = Recorder(sampling), sampling.ends or Ends(max_minutes=None, patience=None)
        state = Samples(recorder, run=run, again=evaluate_again is not None)
        objective.inform(controller)
        for start in range(0, sampling.samples, batch):
            if not recorder.is_settled(start):
                ends.begin()
            # always a whole batch, so that a search with more samples begins as this one does
            indices = controller.propose(batch)[: sampling.samples - start]
            state.add(indices)
            controller.observe(indices, state.told(len(indices)))
            if objective.changed(state.trials):
                state.reward_again()
                objective.inform(controller)
                controller.observe(np.array([t.indices for t in state.trials]), state.told(len(state.trials)))
            if not recorder.is_settled(start + batch) and ends.why(state.trials):  # what is kept counts in any case
                break
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
