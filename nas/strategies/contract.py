"""What a way of judging networks has to offer, from the plan that a person reads to the winner of the search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from latency_luts import LatencyModel
from nas.controllers import Controller
from nas.devices import Latency
from nas.reward import Reward
from nas.settings import ExecutorSettings
from nas.trial import Trial
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from rich.console import Console

    from nas.executor import Executor
    from nas.goals import Goal
    from nas.recorder import Sampling
    from nas.report.summary import Finalist
    from nas_runtime.run import Run

__all__ = ["Decision", "Judge", "Strategy", "Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the networks of a search are judged for, and with.

    Attributes:
        latency: that the reward is of.
        device: of the target.
        target_ms: what the reward's target is; of several the shortest.
        longest_ms: the longest of several targets; None: there is one.
        controller: proposes networks, unless the strategy has one of its own.
        executor: where evaluations run, as the settings say.
    """

    space: SearchSpace
    latency: Latency
    device: LatencyModel
    target_ms: float
    reward: Reward
    controller: Controller
    executor: ExecutorSettings
    rng_seed: int
    longest_ms: float | None = None


class Strategy(Protocol):
    """How a search judges networks, as its settings say. Nothing is read, trained or measured yet."""

    @property
    def classes(self) -> int:
        """That accuracies are for."""
        ...

    @property
    def accuracy(self) -> str:
        """What the top-1 of the result is, in words."""
        ...

    @property
    def sample_accuracy(self) -> str:
        """What the top-1 of the samples is, in words."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know before the search begins."""
        ...

    @property
    def policy(self) -> str:
        """What proposes samples instead of the controller that the job has, in words; "" if nothing does."""
        ...

    def check(self, space: SearchSpace) -> None:
        """Refuses a space whose networks it cannot judge.

        Raises:
            ValueError: it is such a space.
        """
        ...

    def describe(self, samples: int) -> str:
        """How so many samples are judged, in words."""
        ...

    def describe_images(self, arch: Arch) -> str:
        """What networks like `arch` are trained on, and what their latencies are for, in words."""
        ...

    def estimate(self, samples: int, networks: Sequence[Arch], executor: ExecutorSettings, *, winners: int = 1) -> str:
        """How long the search will take, in words.

        Args:
            samples: how many networks it samples.
            networks: some of those that it may be.
            winners: for how many targets one is looked for.
            executor: where they are evaluated.
        """
        ...

    def open(self, task: Task, run: "Run", executor: "Executor", console: "Console") -> "Judge":
        """Gets ready to judge: reads the data, trains weights, evaluates published networks. What was done before, as
        the run's stages know, is not done again.

        Raises:
            ValueError: something that it needs is missing or broken.
        """
        ...


class Judge(Protocol):
    """Judges the networks of one search.

    Attributes:
        controller: proposes the samples.
        references: figures of published networks (`nas.report.summary.row`), judged as the samples are; empty where
            they cannot be.
    """

    @property
    def controller(self) -> Controller: ...

    @property
    def references(self) -> Mapping[str, Mapping[str, Any]]: ...

    def search(self, sampling: "Sampling") -> list[Trial]:
        """The trials of the search, in order, as `nas.loop.sample` and `nas.tune.search_with_tune` give them."""
        ...

    def decide(self, trials: Sequence[Trial], goals: "Sequence[Goal]") -> "list[Decision]":
        """The winner for each of the goals: by final trainings of the best of `trials`, where there are such.

        Raises:
            ValueError: no trial is good, or a final training failed.
        """
        ...

    def notes(self, trials: Sequence[Trial]) -> list[str]:
        """What a person should know before believing the result."""
        ...


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a search decides on, for one goal.

    Attributes:
        winner: with the accuracy and the reward that decided.
        finalists: the best trials, and what each has after the final training; none if nothing is trained.
        references: name of a published network, or `nas.finish.FROM_SCRATCH`, to its figures after the final training;
            none if nothing is trained.
        final: of the winner's training that is delivered: ``epochs``, ``holdout_top1``, ``test_top1``, ``delivered``;
            empty if nothing is trained.
        start: what that began with: ``scratch``, or ``inherited`` weights.
    """

    winner: Trial
    finalists: "Sequence[Finalist]" = ()
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    final: Mapping[str, Any] = field(default_factory=dict)
    start: str = "scratch"
