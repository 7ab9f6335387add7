"""Trainings and executors as the options of nas and netadapt ask for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.executor import Executor, SerialExecutor
from nas.options import Ray, Running, TrainingOptions
from nas.training.recipe import Recipe
from nas_runtime.cluster import available_cpus
from nas_runtime.console import counted
from search_spaces import rewrite
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.datasets import Dataset
    from nas.training.sources import DataFacts
    from nas.training.trainer import Trainer

__all__ = ["ExecutorSettings", "TrainerSettings", "executor_of", "recipe_of", "trainer_of"]


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """How networks are trained by themselves; see `nas.training.trainer.Trainer`."""

    recipe: Recipe
    min_px: int
    dropout: float
    device: str
    threads: int

    def small(self, arch: Arch, facts: "DataFacts") -> Arch:
        """`arch` as it will be trained on that data set."""
        return rewrite.for_images(
            arch,
            resolution_px=facts.resolution_px,
            channels=facts.channels,
            n_classes=facts.classes,
            min_px=self.min_px,
            dropout_rate=self.dropout,
        )

    def on(self, data: "Dataset") -> "Trainer":
        """What trains networks on `data`."""
        from nas.training.trainer import Trainer

        return Trainer(data=data, **vars(self))


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where evaluations run.

    Attributes:
        kind: ray, or serial.
        workers: evaluations at a time; None: one for each CPU, or what a cluster has room for.
        retries: of an evaluation that fails.
        address: host:port of a Ray cluster; None: one of our own.
        num_cpus, num_gpus: what an evaluation takes.
        timeout_s: of an evaluation.
    """

    kind: str
    workers: int | None
    retries: int
    address: str | None
    num_cpus: float
    num_gpus: float
    timeout_s: float

    @property
    def on_cluster(self) -> bool:
        """Whether the number of workers is what a cluster has room for."""
        return self.kind == "ray" and self.address is not None and self.workers is None

    @property
    def workers_here(self) -> int:
        """Evaluations at a time on this machine."""
        return available_cpus() if self.workers is None else self.workers

    def describe(self) -> str:
        """Where evaluations run, and how many at a time, in words."""
        if self.kind == "serial":
            return "serial"
        if self.on_cluster:
            return f"ray, as many workers as the cluster at {self.address} has room for"
        return f"ray, {counted(self.workers_here, 'worker')}"

    @contextmanager
    def open(self) -> Iterator[Executor]:
        if self.kind == "serial":
            yield SerialExecutor(retries=self.retries)
            return
        from nas.executor_ray import RayExecutor

        with RayExecutor(
            address=self.address,
            workers=self.workers,
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            timeout_s=self.timeout_s,
            retries=self.retries,
        ) as executor:
            yield executor


def recipe_of(options: TrainingOptions) -> Recipe:
    """A training as a command asks for it."""
    return Recipe(
        epochs=options.epochs,
        batch=options.batch,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        crop_px=options.crop_px,
    )


def trainer_of(options: TrainingOptions) -> TrainerSettings:
    """How networks are trained by themselves, as a command asks for it.

    Raises:
        ValueError: a GPU is asked for where there is none.
    """
    if options.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("evaluator.device=cuda: torch finds no GPU here; use evaluator.device=cpu")
    return TrainerSettings(
        recipe=recipe_of(options),
        min_px=options.min_px,
        dropout=options.dropout,
        device=options.device,
        threads=options.threads,
    )


def executor_of(options: Running, ray: Ray) -> ExecutorSettings:
    """Where evaluations run, as a command asks for it."""
    return ExecutorSettings(
        kind=options.executor,
        workers=options.workers,
        retries=options.retries,
        address=ray.address,
        num_cpus=ray.num_cpus,
        num_gpus=ray.num_gpus,
        timeout_s=ray.timeout_s,
    )
