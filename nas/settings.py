"""What the commands of nas and netadapt read from their configs in the same way."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import latency_luts
from latency_luts import table
from latency_luts.model import LatencyModel
from nas.executor import Executor, SerialExecutor
from nas.training import sources
from nas.training.recipe import Recipe
from nas_runtime.settings import Settings

if TYPE_CHECKING:
    from nas.evaluators.proxy_training import ProxyTraining
    from nas.training.datasets import Dataset

__all__ = [
    "EXECUTORS",
    "describe_executor",
    "keep_table",
    "kept_table",
    "open_executor",
    "read_data_settings",
    "read_evaluator",
    "read_recipe",
    "read_workers",
]

EXECUTORS = ("ray", "serial")
_TABLE = "table.json"  # in a run's directory


def read_recipe(settings: Settings) -> Recipe:
    return Recipe(
        epochs=settings.integer("evaluator.epochs", low=1),
        batch=settings.integer("evaluator.batch", low=2),
        lr=settings.number("evaluator.lr", above=0),
        weight_decay=settings.number("evaluator.weight_decay", low=0),
        label_smoothing=settings.number("evaluator.label_smoothing", low=0, high=0.9),
        crop_px=settings.integer("evaluator.crop_px", low=0, high=64),
    )


def read_data_settings(settings: Settings) -> dict[str, Any]:
    """The arguments of `nas.training.sources.load`."""
    optional = {
        name: None if settings.value(f"dataset.{name}") is None else settings.integer(f"dataset.{name}", low=1)
        for name in ("train_images", "holdout_images", "resolution_px")
    }
    return {
        "name": settings.choice("dataset.name", sources.names()),
        "path": settings.path("dataset.path"),
        "download": settings.flag("dataset.download"),
        **optional,
    }


def read_evaluator(
    settings: Settings, recipe: Recipe, data: "Dataset", *, allowed: Sequence[str] = ("proxy_training",)
) -> "ProxyTraining":
    """What trains networks by themselves, with `recipe` on `data`, where the config names one of the `allowed`."""
    from nas.evaluators.proxy_training import ProxyTraining

    settings.choice("evaluator.name", allowed)
    device = settings.choice("evaluator.device", ("cpu", "cuda"))
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("evaluator.device=cuda: torch finds no GPU here; use evaluator.device=cpu")
    return ProxyTraining(
        data=data,
        recipe=recipe,
        min_px=settings.integer("evaluator.min_px", low=1),
        dropout=settings.number("evaluator.dropout", low=0, high=0.9),
        device=device,
        threads=settings.integer("evaluator.threads", low=1),
    )


def kept_table(settings: Settings) -> LatencyModel | None:
    """The latency model of the run that is continued, by the table that it began with; None if a run begins.

    A device's table grows, and every unit that is measured later moves those that are interpolated: with the table of
    today a continued run would be another run.
    """
    run_dir = settings.path("run_dir")
    path = None if run_dir is None else run_dir / _TABLE
    return latency_luts.load(path) if path is not None and path.exists() else None


def keep_table(run_dir: Path, latency: LatencyModel) -> None:
    """Copies the run's table into its directory, unless that was done before."""
    if not (run_dir / _TABLE).exists():
        table.write(latency.table, run_dir / _TABLE)


def read_workers(settings: Settings) -> int:
    """Evaluations at a time on this machine: as many as CPUs if the config does not say."""
    if settings.value("workers") is not None:
        return settings.integer("workers", low=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_executor(settings: Settings, workers: int) -> str:
    """Where evaluations run, and how many at a time, in words."""
    if settings.choice("executor", EXECUTORS) == "serial":
        return "serial"
    if settings.value("workers") is None and settings.value("ray.address") is not None:
        return f"ray, as many workers as the cluster at {settings.value('ray.address')} has room for"
    return f"ray, {workers} worker{'s' * (workers > 1)}"


@contextmanager
def open_executor(settings: Settings) -> Iterator[Executor]:
    """The executor that a config names."""
    if settings.choice("executor", EXECUTORS) == "serial":
        yield SerialExecutor(retries=settings.integer("retries", low=0))
        return
    from nas.executor_ray import RayExecutor

    with RayExecutor(
        address=settings.value("ray.address"),
        workers=read_workers(settings) if settings.value("workers") is not None else None,
        num_cpus=settings.number("ray.num_cpus", low=0),
        num_gpus=settings.number("ray.num_gpus", low=0),
        timeout_s=settings.number("ray.timeout_s", above=0),
        retries=settings.integer("retries", low=0),
    ) as executor:
        yield executor
