"""Strategies that train nothing: a function says what a network's accuracy is, and the best sample wins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nas import loop
from nas.controllers import Controller
from nas.estimate import SAMPLE_S, in_words
from nas.executor import Evaluate, Executor
from nas.goals import Goal, by
from nas.recorder import Sampling
from nas.settings import ExecutorSettings
from nas.strategies.contract import Decision, Task
from nas.trial import Trial
from nas_runtime.console import counted
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from rich.console import Console

    from nas_runtime.run import Run

__all__ = ["Untrained"]


@dataclass(frozen=True, kw_only=True)
class Untrained:
    """A strategy (`nas.strategies.contract.Strategy`) that asks a function.

    Attributes:
        name: for messages.
        evaluator: made for a search by its ``rng_seed``; gives a network's top-1, or an `Evaluation`.
        classes: that its accuracies are for.
        accuracy: what they are, in words.
        about: what a person should know of them, in one line.
        caution: what a person should know before believing the result.
        space: the only one whose networks it can judge; "": any.
        fast: whether the function takes no time to speak of.
    """

    name: str
    evaluator: Callable[[int], Evaluate]
    classes: int
    accuracy: str
    about: str
    caution: str = ""
    space: str = ""
    fast: bool = True
    notes: Sequence[str] = field(default=(), init=False)
    policy: str = field(default="", init=False)

    @property
    def sample_accuracy(self) -> str:
        return self.accuracy

    def check(self, space: SearchSpace) -> None:
        if self.space and space.name != self.space:
            raise ValueError(f"{self.name} knows the networks of space={self.space} only, not of {space.name}")

    def describe(self, samples: int) -> str:
        return f"{counted(samples, 'sample')}; {self.about}"

    def describe_images(self, arch: Arch) -> str:
        return f"latencies are for {arch.resolution_px} px and {arch.blocks[-1].out_ch} classes"

    def estimate(self, samples: int, networks: Sequence[Arch], executor: ExecutorSettings, *, winners: int = 1) -> str:
        if not self.fast:
            return f"as long as {self.name} takes for {counted(samples, 'network')}"
        return in_words(samples * SAMPLE_S / 60)

    def open(self, task: Task, run: "Run", executor: Executor, console: "Console") -> "_Judge":
        return _Judge(
            controller=task.controller,
            evaluate=self.evaluator(task.rng_seed),
            executor=executor,
            caution=self.caution,
        )


@dataclass(frozen=True, kw_only=True)
class _Judge:
    controller: Controller
    evaluate: Evaluate
    executor: Executor
    caution: str
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, init=False)

    def search(self, sampling: Sampling) -> list[Trial]:
        return loop.sample(sampling, self.evaluate, self.executor)

    def decide(self, trials: Sequence[Trial], goals: Sequence[Goal]) -> list[Decision]:
        return [Decision(winner=loop.best(by(goal.reward, trials))) for goal in goals]

    def notes(self, trials: Sequence[Trial]) -> list[str]:
        return [self.caution] if self.caution else []
