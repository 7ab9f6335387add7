"""The methods that `experiments.search_quality` compares: our controllers, and what one would take from Optuna.

    bayesian                    with the latencies of networks that are not evaluated yet, as a search gives them to it
    bayesian_uninformed         the same, told nothing but rewards
    evolution, rnn_ppo, reinforce, random
    gp, tpe, nsga2              Optuna's GPSampler, TPESampler (multivariate, its default since 5.0) and NSGAIISampler,
                                told rewards
    .._two                      these, told accuracies and latencies as two objectives
    .._within                   these, told accuracies, with the constraint that the latency is at most the target

Optuna is told a latency once the network is evaluated, as a second objective or as a constraint; there is no way to
tell it before. (BoTorch can be given such an objective, in a program of one's own; it is not compared here.) So
`bayesian` is compared with the others as they can be used, and `bayesian_uninformed` shows what of its lead is the
method. Whatever a method was told, what counts is the best reward among its networks. Ours propose batches of 8, as a
search with 8 workers does; Optuna's learn after every sample, which is an advantage to them. All have their default
settings.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np

from experiments.search_benchmarks import Benchmark
from nas import controllers

__all__ = ["METHODS", "Method", "Step", "has_optuna", "optuna_steps", "steps_of"]

Told = Literal["reward", "two", "within"]

_BATCH = 8
_ENDINGS: dict[str, Told] = {"": "reward", "_two": "two", "_within": "within"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a method did: the reward that it was told, the true one, the top-1 that it was told, and the cost."""

    reward: float
    true: float
    top1: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class Method:
    """One of the methods.

    Attributes:
        start: (benchmark, rng_seed) to its endless samples.
        most: samples that it is given at most.
        slow: it takes minutes for a hundred samples, and so is given few seeds.
        library: of others, where it is not ours.
    """

    start: Callable[[Benchmark, int], Iterator[Step]]
    most: int = 1000
    slow: bool = False
    library: str = ""


def _ours(name: str, benchmark: Benchmark, rng_seed: int, *, informed: bool = True) -> Iterator[Step]:
    import torch

    torch.set_num_threads(1)
    controller = controllers.make(name, benchmark.space, rng_seed=rng_seed)
    if informed:
        controllers.inform(controller, benchmark.cost, benchmark.reward)
    while True:
        indices = controller.propose(_BATCH)
        steps = steps_of(benchmark, indices, rng_seed)
        controller.observe(indices, np.array([step.reward for step in steps]))
        yield from steps


def optuna_steps(name: str, benchmark: Benchmark, rng_seed: int, *, told: Told = "reward") -> Iterator[Step]:
    """The endless samples of one of Optuna's samplers, which is told rewards, accuracies and costs as two objectives,
    or accuracies with the constraint that costs are within the target."""
    import optuna  # type: ignore[import-not-found]  # a yardstick, not a dependency
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler: Any = getattr(optuna.samplers, name)(seed=rng_seed)
    directions = ["maximize", "minimize"] if told == "two" else ["maximize"]
    study = optuna.create_study(directions=directions, sampler=sampler)
    while True:
        trial = study.ask()
        point = [trial.suggest_categorical(c.name, list(range(len(c.options)))) for c in benchmark.space.choices]
        (step,) = steps_of(benchmark, np.array([point]), rng_seed)
        if told == "within":
            trial.set_constraint("cost", step.cost / benchmark.reward.target_ms - 1)
        study.tell(trial, {"reward": step.reward, "two": [step.top1, step.cost], "within": step.top1}[told])
        yield step


def has_optuna() -> bool:
    """Whether Optuna is there, with what `optuna_steps` needs of it."""
    try:
        return int(version("optuna").split(".")[0]) >= 5
    except PackageNotFoundError:
        return False


def steps_of(benchmark: Benchmark, indices: np.ndarray, rng_seed: int) -> list[Step]:
    """Of points (n, C)."""
    answers = benchmark.ask(indices, rng_seed)
    return [
        Step(reward=benchmark.reward(top1, cost), true=float(true), top1=float(top1), cost=float(cost))
        for top1, cost, true in zip(answers.top1, answers.cost, answers.true, strict=True)
    ]


def _optunas(name: str, sampler: str, *, most: int = Method.most, slow: bool = False) -> dict[str, Method]:
    """A sampler of Optuna's, by what it is told."""
    return {
        name + ending: Method(start=partial(optuna_steps, sampler, told=told), most=most, slow=slow, library="optuna")
        for ending, told in _ENDINGS.items()
    }


METHODS = {
    "bayesian": Method(start=partial(_ours, "bayesian")),
    "bayesian_uninformed": Method(start=partial(_ours, "bayesian", informed=False)),
    "evolution": Method(start=partial(_ours, "evolution")),
    "rnn_ppo": Method(start=partial(_ours, "rnn_ppo")),
    "reinforce": Method(start=partial(_ours, "reinforce")),
    "random": Method(start=partial(_ours, "random")),
    **_optunas("gp", "GPSampler", most=100, slow=True),
    **_optunas("tpe", "TPESampler"),
    **_optunas("nsga2", "NSGAIISampler"),
}
