"""What is promised of every evaluator of one's own (`nas.strategies.plugged`), and of every strategy."""

import io
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import latency_luts
from nas import controllers
from nas.goals import Goal
from nas.journal import Journal
from nas.objective import Objective
from nas.recorder import Sampling
from nas.reward import Reward
from nas.settings import ExecutorSettings
from nas.strategies.contract import Decision, Strategy, Task
from nas.testing.promise import global_random_states, promise
from nas.trial import Evaluation, Trial
from nas_runtime.console import new_console
from nas_runtime.run import open_run
from search_spaces import spaces
from search_spaces.space import SearchSpace

__all__ = ["check_evaluator", "check_strategy"]

_SAMPLES = 4


def check_evaluator(make: Callable[..., Any], *, space: SearchSpace | None = None) -> None:
    """Whether an evaluator gives accuracies that depend on the network and the seed alone, in any process.

    Args:
        make: called as ``make(rng_seed=0)``.
        space: of the networks; None: ``mnasnet`` of width 0.35.

    Raises:
        AssertionError: a promise that is not kept.
    """
    space = space or spaces.get("mnasnet", base_width=0.35)
    archs = [space.decode(point) for point in space.sample(np.random.default_rng(0), 3)]
    judge = make(rng_seed=0)
    judge.evaluate(archs[0])  # imports what it needs
    before = global_random_states()
    found = [judge.evaluate(arch) for arch in archs]
    promise(global_random_states() == before, "random numbers must come from a generator of its own, made of rng_seed")
    top1 = [value.top1 if isinstance(value, Evaluation) else value for value in found]
    for value in top1:
        whole = isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0 <= value <= 1
        promise(whole, f"evaluate must give a top-1 in [0, 1] or a nas.trial.Evaluation, not {value!r}")
    backwards = [judge.evaluate(arch) for arch in reversed(archs)][::-1]
    promise(backwards == found, f"networks must be worth the same in any order, not {found} and {backwards}")
    again = [make(rng_seed=0).evaluate(arch) for arch in archs]
    promise(again == found, f"with the same rng_seed networks must be worth the same, not {found} and {again}")
    try:
        elsewhere = pickle.loads(pickle.dumps(judge.evaluate))
    except Exception as e:
        raise AssertionError(
            f"executor=ray sends evaluate to other processes: it must be possible to pickle it ({e})"
        ) from e
    promise(elsewhere(archs[0]) == found[0], "in another process a network must be worth the same")


def check_strategy(make: Callable[[], Strategy], *, space: SearchSpace | None = None) -> None:
    """Whether a strategy says what it does, samples what the controller proposes, decides for a network that it has
    judged, and, in a run that is continued or done again with the same seed, comes to the same.

    Args:
        make: gives the strategy.
        space: that it can judge; None: ``mnasnet`` of width 0.35.

    Raises:
        AssertionError: a promise that is not kept.
    """
    strategy = make()
    promise(isinstance(strategy.classes, int) and strategy.classes >= 2, f"classes is {strategy.classes!r}")
    space = space or spaces.get("mnasnet", base_width=0.35, classes=strategy.classes)
    strategy.check(space)
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        _check_words(strategy, _task(space))
        trials, decision = _played(strategy, space, first)
        _check_decision(decision, trials)
        for again, where in ((first, "continued"), (second, "done again with the same seed")):
            same_trials, same_outcome = _played(make(), space, again)
            promise(_figures(same_trials) == _figures(trials), f"{where}, a search must have the same trials")
            promise(same_outcome.winner.arch == decision.winner.arch, f"{where}, a search must have the same winner")


def _check_words(strategy: Strategy, task: Task) -> None:
    networks = [task.space.decode(point) for point in task.space.sample(np.random.default_rng(0), 5)]
    said = {
        "accuracy": strategy.accuracy,
        "sample_accuracy": strategy.sample_accuracy,
        "describe": strategy.describe(_SAMPLES),
        "describe_images": strategy.describe_images(networks[0]),
        "estimate": strategy.estimate(_SAMPLES, networks, task.executor),
        **{f"notes[{i}]": note for i, note in enumerate(strategy.notes)},
    }
    for name, words in said.items():
        one_line = isinstance(words, str) and words.strip() and "\n" not in words
        promise(one_line, f"{name} must be a line of words, not {words!r}")
    promise(isinstance(strategy.policy, str), f"policy must be a text, not {strategy.policy!r}")


def _check_trials(trials: Sequence[Trial], space: SearchSpace) -> None:
    numbers = [trial.sample for trial in trials]
    promise(numbers == list(range(_SAMPLES)), f"{_SAMPLES} samples are asked for, and the trials are {numbers}")
    for trial in trials:
        where = f"sample {trial.sample}"
        promise(trial.arch == space.decode(trial.indices), f"{where} must be the network of its point")
        promise(trial.status == "ok", f"{where} must be judged, and is {trial.status}: {trial.note}")
        promise(0 <= trial.top1 <= 1, f"{where} must have a top-1 in [0, 1], not {trial.top1!r}")


def _check_decision(decision: Decision, trials: Sequence[Trial]) -> None:
    sampled = [trial.arch for trial in trials]
    promise(isinstance(decision, Decision), f"decide must give a Decision, not {type(decision).__name__}")
    promise(decision.winner.arch in sampled, "the winner must be a network that was sampled")
    promise(all(finalist.trial.arch in sampled for finalist in decision.finalists), "finalists must have been sampled")


def _played(strategy: Strategy, space: SearchSpace, run_dir: Path) -> tuple[list[Trial], Decision]:
    """The search in `run_dir`, from its beginning or from where it is, to its end."""
    task, console = _task(space), new_console(file=io.StringIO())
    objective = Objective(
        latency_ms=task.latency.latency_ms,
        latency_ms_batch=partial(task.latency.latency_ms_batch, space),
        reward=task.reward,
    )
    config = {"space": {"name": space.name}}
    with (
        console.file,
        open_run(run_dir, config, kind="search", may_differ=(), environment=dict) as run,
        task.executor.open() as executor,
    ):
        judge = strategy.open(task, run, executor, console)
        sampling = Sampling(
            space=space,
            controller=judge.controller,
            objective=objective,
            samples=_SAMPLES,
            batch=2,
            journal=Journal(run_dir / "journal.jsonl", space.decode),
        )
        trials = judge.search(sampling)
        _check_trials(trials, space)
        (decision,) = judge.decide(trials, [Goal(reward=objective.reward, run=run)])
        notes = judge.notes(trials)
        promise(all(isinstance(note, str) for note in notes), f"notes must be texts, not {notes!r}")
        return trials, decision


def _task(space: SearchSpace) -> Task:
    latency = latency_luts.load("pixel1")
    points = space.sample(np.random.default_rng(0), 100)
    target_ms = float(np.median(latency.latency_ms_batch(space, points)))
    return Task(
        space=space,
        latency=latency,
        device=latency,
        target_ms=target_ms,
        reward=Reward(name="absolute", target_ms=target_ms),
        controller=controllers.make("random", space),
        executor=ExecutorSettings(
            kind="serial", workers=None, retries=0, address=None, num_cpus=1, num_gpus=0, timeout_s=3600
        ),
        rng_seed=0,
    )


def _figures(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """All of the trials but how long they took."""
    names = [field.name for field in fields(Trial) if field.name != "seconds"]
    return [{name: getattr(trial, name) for name in names} for trial in trials]
