"""What the commands of nas and netadapt read from their configs in the same way, as plain objects."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.executor import Executor, SerialExecutor
from nas.options import Data as DataSettings
from nas.options import Running, Trainer
from nas.training.recipe import Recipe
from nas_runtime.cluster import available_cpus
from nas_runtime.console import counted
from nas_runtime.settings import Settings
from search_spaces import rewrite
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.evaluators.proxy_training import ProxyTraining
    from nas.training.datasets import Dataset
    from nas.training.sources import DataFacts

__all__ = [
    "EXECUTORS",
    "DataSettings",
    "ExecutorSettings",
    "TrainerSettings",
    "executor_of",
    "read_data",
    "read_executor",
    "read_recipe",
    "read_trainer",
    "recipe_of",
    "trainer_of",
]

EXECUTORS = ("ray", "serial")


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """How networks are trained by themselves; see `nas.evaluators.proxy_training.ProxyTraining`."""

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

    def on(self, data: "Dataset") -> "ProxyTraining":
        """What trains networks on `data`."""
        from nas.evaluators.proxy_training import ProxyTraining

        return ProxyTraining(data=data, **vars(self))


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """Where evaluations run.

    Attributes:
        kind: one of `EXECUTORS`.
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


def recipe_of(options: Trainer) -> Recipe:
    """A training as a command asks for it."""
    return Recipe(
        epochs=options.epochs,
        batch=options.batch,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        crop_px=options.crop_px,
    )


def trainer_of(options: Trainer) -> TrainerSettings:
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


def executor_of(options: Running) -> ExecutorSettings:
    """Where evaluations run, as a command asks for it."""
    return ExecutorSettings(
        kind=options.executor,
        workers=options.workers,
        retries=options.retries,
        address=options.ray.address,
        num_cpus=options.ray.num_cpus,
        num_gpus=options.ray.num_gpus,
        timeout_s=options.ray.timeout_s,
    )


def read_recipe(settings: Settings) -> Recipe:
    return Recipe(
        epochs=settings.integer("evaluator.epochs", low=1, high=100_000),
        batch=settings.integer("evaluator.batch", low=2, high=65_536),
        lr=settings.number("evaluator.lr", above=0, high=10),
        weight_decay=settings.number("evaluator.weight_decay", low=0, high=10),
        label_smoothing=settings.number("evaluator.label_smoothing", low=0, high=0.9),
        crop_px=settings.integer("evaluator.crop_px", low=0, high=64),
    )


def read_trainer(settings: Settings, allowed: Sequence[str] = ("proxy_training",)) -> TrainerSettings:
    """How networks are trained by themselves, where the config names one of the `allowed` evaluators.

    Raises:
        ValueError: a wrong value, or a GPU is asked for where there is none.
    """
    settings.choice("evaluator.name", allowed)
    device = settings.choice("evaluator.device", ("cpu", "cuda"))
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("evaluator.device=cuda: torch finds no GPU here; use evaluator.device=cpu")
    return TrainerSettings(
        recipe=read_recipe(settings),
        min_px=settings.integer("evaluator.min_px", low=1, high=1024),
        dropout=settings.number("evaluator.dropout", low=0, high=0.9),
        device=device,
        threads=settings.integer("evaluator.threads", low=1, high=1024),
    )


def read_data(settings: Settings) -> DataSettings:
    def optional(name: str) -> int | None:
        return None if settings.value(f"dataset.{name}") is None else settings.integer(f"dataset.{name}", low=1)

    return DataSettings(
        name=settings.text("dataset.name"),
        path=settings.path("dataset.path"),
        download=settings.flag("dataset.download"),
        train_images=optional("train_images"),
        holdout_images=optional("holdout_images"),
        resolution_px=optional("resolution_px"),
    )


def read_executor(settings: Settings) -> ExecutorSettings:
    return ExecutorSettings(
        kind=settings.choice("executor", EXECUTORS),
        workers=None if settings.value("workers") is None else settings.integer("workers", low=1, high=10_000),
        retries=settings.integer("retries", low=0, high=1000),
        address=None if settings.value("ray.address") is None else settings.text("ray.address"),
        num_cpus=settings.number("ray.num_cpus", low=0, high=10_000),
        num_gpus=settings.number("ray.num_gpus", low=0, high=10_000),
        timeout_s=settings.number("ray.timeout_s", above=0, high=1e8),
    )
