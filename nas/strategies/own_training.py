"""``evaluator=proxy_training``: each network is trained by itself, for a short time."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas import finish, loop
from nas.estimate import in_words, pace
from nas.executor import Evaluate, Executor
from nas.options import ProxyTrainingOptions
from nas.recorder import Sampling
from nas.references import REFERENCES, references
from nas.settings import ExecutorSettings
from nas.strategies.contract import Task
from nas.strategies.reading import NO_TUNE, read_trainings
from nas.strategies.trained import TrainedJudge, TrainedStrategy
from nas.trial import Trial
from nas_runtime.console import brief, counted
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from rich.console import Console

    from nas.search_options import SearchOptions
    from nas.training.trainer import Trainer
    from nas_runtime.run import Run

__all__ = ["OwnTraining", "read"]


@dataclass(frozen=True, kw_only=True)
class OwnTraining(TrainedStrategy):
    """A strategy (`nas.strategies.contract.Strategy`) that trains each sample.

    Attributes:
        again: whether a network that is sampled again is trained again, with another seed.
        tune: the search is by Ray Tune, which stops no network before it has so many epochs; None: by the loop.
    """

    again: bool = False
    tune: int | None = None

    @property
    def notes(self) -> Sequence[str]:
        return (*super().notes, *self.trainings.notes())

    @property
    def sample_accuracy(self) -> str:
        return f"top-1 on the holdout after {counted(self.trainings.trainer.recipe.epochs, 'epoch')}"

    @property
    def policy(self) -> str:
        return ""

    def check(self, space: SearchSpace) -> None:
        pass

    def describe(self, samples: int) -> str:
        epochs = counted(self.trainings.trainer.recipe.epochs, "epoch")
        stops = (
            "" if self.tune is None else f", of which ASHA stops the worse after {counted(self.tune, 'epoch')} or later"
        )
        return (
            f"{epochs} of {self.trainings.data.name} by each of {counted(samples, 'sample')}{stops}, "
            f"{self.trainings.describe_last()}"
        )

    def estimate(self, samples: int, networks: Sequence[Arch], executor: ExecutorSettings, *, winners: int = 1) -> str:
        trainings = self.trainings
        speed = pace(networks, trainings.facts, trainings.trainer, executor)
        epochs = (samples + len(REFERENCES)) * trainings.trainer.recipe.epochs / speed.at_once
        epochs += speed.rounds(winners * trainings.finalists + len(REFERENCES)) * trainings.final_epochs
        small = speed.minutes(epochs * speed.epoch_s, final_epochs=winners * trainings.final_epochs)
        return in_words(trainings.minutes(small, networks, winners), "at most" if self.tune else "about")

    def open(self, task: Task, run: "Run", executor: Executor, console: "Console") -> TrainedJudge:
        trainer = self.trainings.load(console)
        evaluate = functools.partial(trainer.evaluate, rng_seed=task.rng_seed)
        identity = {**trainer.identity(), "rng_seed": task.rng_seed}
        return TrainedJudge(
            task=task,
            run=run,
            executor=executor,
            console=console,
            trainings=self.trainings,
            trainer=trainer,
            controller=task.controller,
            sample=self._by_tune(task, run, trainer) if self.tune else self._by_loop(task, trainer, executor),
            final=self.trainings.from_scratch(trainer, task.rng_seed),
            references=finish.judged_references(
                run.stage("references", identity),
                references(task.space),
                evaluate,
                executor,
                task.latency,
                task.reward,
            ),
        )

    def _by_loop(self, task: Task, trainer: "Trainer", executor: Executor) -> Callable[[Sampling], list[Trial]]:
        def with_seed(number: int) -> Evaluate:
            return functools.partial(trainer.evaluate, rng_seed=task.rng_seed + number)

        return functools.partial(
            loop.sample, evaluate=with_seed(0), executor=executor, evaluate_again=with_seed if self.again else None
        )

    def _by_tune(self, task: Task, run: "Run", trainer: "Trainer") -> Callable[[Sampling], list[Trial]]:
        return functools.partial(
            _search_with_tune(),
            trainer=trainer,
            rng_seed=task.rng_seed,
            storage=run.path.resolve(),
            executor=task.executor,
            grace_epochs=self.tune,
        )


def read(options: "SearchOptions") -> OwnTraining:
    """The strategy as the command line asks for it.

    Raises:
        ValueError: a value does not go with another; a data set is not there.
    """
    assert isinstance(options.evaluator, ProxyTrainingOptions)
    return OwnTraining(
        trainings=read_trainings(options, options.evaluator),
        again=options.duplicates == "train",
        tune=_read_tune(options),
    )


def _read_tune(options: "SearchOptions") -> int | None:
    if options.engine == "loop":
        return None
    if options.executor != "ray" or options.adjust_after is not None or options.duplicates == "train":
        raise ValueError(NO_TUNE)
    return options.grace_epochs


def _search_with_tune() -> Callable[..., list[Trial]]:
    try:
        from nas.tune import search_with_tune
    except ImportError as e:
        raise ValueError(f"engine=tune: {brief(e, most=300)}; pip install 'ray[tune]', or use engine=loop") from None
    return search_with_tune
