"""What the strategies that train networks have in common: the data, the trainings, the last round and the winner."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nas import finish
from nas.controllers import Controller
from nas.delivery import Delivery
from nas.finish import FinalTrainings, LastRound
from nas.full_size import FullSize
from nas.goals import Goal
from nas.options import Data
from nas.recorder import Sampling
from nas.references import references
from nas.report import notes
from nas.seeds import final_seed
from nas.settings import TrainerSettings
from nas.strategies.contract import Decision, Task
from nas.trial import Trial
from nas_runtime.console import counted, in_ms
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from torch import Tensor

    from nas.executor import Executor
    from nas.report.summary import Finalist
    from nas.training.sources import DataFacts
    from nas.training.trainer import Trainer
    from nas_runtime.run import Run

__all__ = ["FEW_UPDATES", "TrainedJudge", "TrainedStrategy", "Trainings", "describe_images"]

FEW_UPDATES = 50
"""Of a sample's training: fewer hardly tell networks apart."""


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """The data set and the trainings of a search, as its settings say.

    Attributes:
        facts: what is known of the data set before it is read.
        trainer: how networks are trained by themselves.
        final_epochs: of the final training.
        finalists: so many of the best samples get it; the winner is the best of them.
        final_start: scratch, or inherited.
        delivery: the files that the winner is delivered as.
        full: how the winner is trained at its full size; None: it is delivered as the last round trained it.
    """

    data: Data
    facts: "DataFacts"
    trainer: TrainerSettings
    final_epochs: int
    finalists: int
    final_start: str
    delivery: Delivery
    full: FullSize | None = None

    @property
    def accuracy(self) -> str:
        """What the top-1 of the result is, in words."""
        begun = "; found's begins with the shared weights, the others' from scratch" * (self.final_start == "inherited")
        small = f" on images of {self.facts.resolution_px} px" * (self.full is not None)
        return f"top-1 on the holdout after the final training of {counted(self.final_epochs, 'epoch')}{small}{begun}"

    def describe_last(self) -> str:
        """The last round, in words."""
        more = " more" * (self.final_start == "inherited")
        last = f"then {counted(self.final_epochs, 'epoch')}{more} by the best {self.finalists}"
        return f"{last}, {self.full.describe()}" if self.full else last

    def notes(self) -> list[str]:
        """What a person should know of the trainings of samples before they are made, a sentence each."""
        recipe = self.trainer.recipe
        in_epoch = max(1, self.facts.train_images // recipe.batch)
        updates = recipe.epochs * in_epoch
        if updates >= FEW_UPDATES:
            return []
        return [
            f"{counted(self.facts.train_images, 'picture')} make {counted(updates, 'update')} of a sample's "
            f"{counted(recipe.epochs, 'epoch')}, from which networks learn little: epochs="
            f"{math.ceil(FEW_UPDATES / in_epoch)} makes {FEW_UPDATES}"
        ]

    def load(self, console: "Console") -> "Trainer":
        """Reads the data; what trains networks on it."""
        return self.trainer.on(self.data.load(console, self.facts))

    def minutes(self, small: float, networks: Sequence[Arch], winners: int) -> float:
        """Minutes of a search whose trainings on small images take `small`, and whose winners are like `networks`."""
        return small + (winners * self.full.minutes(networks) if self.full else 0.0)

    def from_scratch(self, trainer: "Trainer", rng_seed: int) -> FinalTrainings:
        """The final trainings of a search with `rng_seed`, which have a seed of their own."""
        thoroughly, seed = self.longer(trainer), final_seed(rng_seed)
        return FinalTrainings(
            from_scratch=functools.partial(thoroughly.evaluate, rng_seed=seed),
            identity={**thoroughly.identity(), "rng_seed": seed, "start": "scratch"},
        )

    def longer(self, trainer: "Trainer") -> "Trainer":
        """`trainer` with the epochs of the final training."""
        return replace(trainer, recipe=replace(trainer.recipe, epochs=self.final_epochs))


def describe_images(arch: Arch, facts: "DataFacts", full: FullSize | None = None) -> str:
    """What networks like `arch` are trained on, and what their latencies are for, in words."""
    if full:
        return (
            f"searched with {facts.resolution_px} px, delivered at {full.facts.resolution_px} px, "
            f"{counted(facts.classes, 'class')}; latencies are for that; "
            f"{counted(facts.train_images, 'picture')} to train on, {facts.holdout_images:,} for the holdout"
        )
    return (
        f"latencies are for {arch.resolution_px} px and {arch.blocks[-1].out_ch} classes; trainings use "
        f"{facts.resolution_px} px and {facts.classes} classes"
    )


@dataclass(frozen=True, kw_only=True)
class TrainedStrategy:
    """The part of `nas.strategies.contract.Strategy` that is the same wherever networks are trained."""

    trainings: Trainings

    @property
    def classes(self) -> int:
        return self.trainings.facts.classes

    @property
    def accuracy(self) -> str:
        return self.trainings.accuracy

    @property
    def notes(self) -> Sequence[str]:
        return self.trainings.facts.notes

    def describe_images(self, arch: Arch) -> str:
        return describe_images(arch, self.trainings.facts, self.trainings.full)


@dataclass(frozen=True, kw_only=True)
class TrainedJudge:
    """Judges networks and trains the best (`nas.strategies.contract.Judge`).

    Attributes:
        sample: makes the trials.
        final: the trainings of the last round.
        inherited: gives the weights that a final training begins with; None: from scratch.
        looked_at: images of the holdout that tell a sample's top-1; None: all.
    """

    task: Task
    run: "Run"
    executor: "Executor"
    console: "Console"
    trainings: Trainings
    trainer: "Trainer"
    controller: Controller
    sample: Callable[[Sampling], list[Trial]]
    final: FinalTrainings
    inherited: "Callable[[Arch], Mapping[str, Tensor]] | None" = None
    references: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    looked_at: int | None = None

    def search(self, sampling: Sampling) -> list[Trial]:
        return self.sample(sampling)

    def decide(self, trials: Sequence[Trial], goals: Sequence[Goal]) -> list[Decision]:
        last = LastRound(
            run=self.run,
            executor=self.executor,
            console=self.console,
            latency=self.task.latency,
            epochs=self.trainings.final_epochs,
            networks=self.trainings.finalists,
            beside=references(self.task.space),
        )
        with _longer(self.executor, self.trainings.final_epochs / self.trainer.recipe.epochs):
            rounds = last.hold(trials, [goal.reward for goal in goals], self.final)
        return [self._decided(*each, goal, goals) for each, goal in zip(rounds, goals, strict=True)]

    def _decided(
        self, finalists: "list[Finalist]", compared: Mapping[str, Any], goal: Goal, goals: Sequence[Goal]
    ) -> Decision:
        """Delivers the winner of a goal, which may have been trained for another."""
        winner = finish.best_of(finalists, goal.reward)
        if goal.run is not self.run:
            self.console.print(f"the winner for {in_ms(goal.reward.target_ms)} ms, in {goal.run.path}:")
        final = self._delivered(winner.arch, goal.run, [each.run for each in goals if each is not goal])
        start = self.trainings.final_start
        return Decision(winner=winner, finalists=finalists, references=compared, final=final, start=start)

    def _delivered(self, winner: Arch, into: "Run", others: "Sequence[Run]" = ()) -> dict[str, Any]:
        """What the training came to whose weights are delivered; where `others` have it, it is not repeated."""
        trainings, seed = self.trainings, final_seed(self.task.rng_seed)
        if trainings.full:
            return trainings.full.deliver(
                self.run,
                winner,
                into=into.path,
                rng_seed=seed,
                latency=self.task.device,
                options=trainings.delivery,
                console=self.console,
            )
        return finish.deliver(
            into,
            winner,
            self.trainer,
            epochs=trainings.final_epochs,
            start=trainings.final_start,
            rng_seed=seed,
            delivered=finish.Delivered(
                options=trainings.delivery, latency=self.task.device, console=self.console, others=others
            ),
            inherited=self.inherited,
        )

    def notes(self, trials: Sequence[Trial]) -> list[str]:
        facts = self.trainings.facts
        images = min(self.looked_at or facts.holdout_images, facts.holdout_images)
        note = notes.at_chance(trials, facts.classes, images)
        return [note] if note else []


@contextmanager
def _longer(executor: "Executor", factor: float) -> "Iterator[None]":
    """Inside, evaluations may take so many times longer than samples, if `factor` is above 1."""
    before = executor.timeout_s
    if before:
        executor.timeout_s = before * max(1.0, factor)
    try:
        yield
    finally:
        executor.timeout_s = before
