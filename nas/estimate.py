"""How long a search will take, before anything is trained: for the plan that a person reads."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from search_spaces import cost, rewrite
from search_spaces.arch import Arch
from search_spaces.lower import lower

if TYPE_CHECKING:
    from nas.settings import ExecutorSettings, TrainerSettings
    from nas.training.sources import DataFacts

__all__ = [
    "GPU_CORES",
    "INFERENCE_SHARE",
    "SAMPLE_S",
    "Pace",
    "full_training_s",
    "in_words",
    "machine_factor",
    "pace",
    "training_seconds_an_image",
]

INFERENCE_SHARE = 0.3
"""Of the time that an image takes in training."""

SAMPLE_S = 0.1
"""Of a sample besides its evaluation: a controller with a model, decoding, latency and journal."""

_GPU_AT_A_TIME = 2.5  # how many times faster than one after the other are trainings that share a GPU
_THREADS_HELP = 0.5  # n threads train one network as fast as n to this power
_LARGE_THREADS_HELP = 0.8  # the same with images of 100 px and more
_OVERHEAD = 1.15  # holdout, waiting
_START_MINUTES = 0.3  # of processes, and the files that are written in the end

# Seconds a training image costs by multiply-add, by value written, and by operator, at batch 64 on one core of a
# 2.6-GHz server CPU (AMD EPYC, AVX-512): fitted to 16 trainings.
_S_PER_MADD, _S_PER_VALUE, _S_PER_OPERATOR = 8.8e-11, 2.6e-9, 3.8e-6
_REFERENCE_S = 0.47e-3  # what `machine_factor` times, on that core

# On an H100 or H200: an update of a small network by itself, one with shared weights, whose kernels are launched one by
# one, and an evaluation with these; and how many cores it is worth to networks that are large enough to fill it.
_GPU_UPDATE_S, _GPU_SHARED_S, _GPU_EVALUATION_S, GPU_CORES = 2.8e-3, 0.06, 0.3, 100


def training_seconds_an_image(arch: Arch) -> float:
    """Seconds for one image forward, backward and update, on one core of the reference machine."""
    nodes = [node for unit in lower(arch) for node in unit.nodes]
    values = sum(prod(node.out_shape) for node in nodes)
    return _S_PER_MADD * cost.madds(arch) + _S_PER_VALUE * values + _S_PER_OPERATOR * len(nodes)


def full_training_s(arch: Arch, *, images: int, looked_at: int, device: str, cores: int) -> float:
    """Seconds of a training of `arch` at its size.

    Args:
        images: that it is trained on, those of all epochs.
        looked_at: images of evaluations.
        cores: that it has; or GPUs, of which more are taken to help as more cores do.
    """
    seconds = machine_factor() * training_seconds_an_image(arch) * (images + INFERENCE_SHARE * looked_at)
    return seconds / (cores**_LARGE_THREADS_HELP * (1 if device == "cpu" else GPU_CORES))


def machine_factor() -> float:
    """How many times slower one core of this machine is than the reference; takes a few milliseconds."""
    values = np.linspace(-1, 1, 2**20, dtype=np.float32)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        np.exp(values)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / _REFERENCE_S


def in_words(minutes: float, word: str = "about") -> str:
    """How long a command takes whose trainings and evaluations take so many minutes, after ``word``."""
    minutes += _START_MINUTES
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"{word} {minutes:.1f} minutes"
    hours = minutes / 60
    return f"{word} {hours:.1f} hours" if hours < 48 else f"{word} {hours / 24:.0f} days"


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a search trains and looks.

    Attributes:
        image_s: an image in a training by itself.
        shared_image_s: the same in a training of shared weights, by all threads.
        look_s: an image of an evaluation with shared weights.
        images: of an epoch.
        at_once: how many evaluations side by side are as many times faster than one after the other.
    """

    image_s: float
    shared_image_s: float
    look_s: float
    images: int
    at_once: float

    @property
    def epoch_s(self) -> float:
        """An epoch of a training by itself."""
        return self.images * self.image_s

    def rounds(self, networks: int) -> float:
        """How many trainings one after the other take as long as those of so many networks."""
        return max(1.0, networks / self.at_once)

    def minutes(self, seconds: float, *, final_epochs: int) -> float:
        """All of a search whose trainings and evaluations take so many seconds, with the winner's last training."""
        return (_OVERHEAD * seconds + final_epochs * self.epoch_s) / 60


def pace(
    networks: Sequence[Arch],
    facts: "DataFacts",
    trainer: "TrainerSettings",
    executor: "ExecutorSettings",
    *,
    shared_batch: int | None = None,
    looked_at: int = 1,
) -> Pace:
    """How fast networks like these are judged.

    Args:
        shared_batch: images of an update of shared weights; None: as in a training by itself.
        looked_at: images of an evaluation with shared weights.
    """
    small = [rewrite.small_image(arch, facts.resolution_px, min_px=trainer.min_px) for arch in networks]
    image_s = machine_factor() * float(np.mean([training_seconds_an_image(arch) for arch in small]))
    workers = executor.workers_here
    shared_s, look_s = image_s / workers**_THREADS_HELP, image_s * INFERENCE_SHARE
    at_once = 1.0 if executor.kind == "serial" else float(workers)
    if trainer.device != "cpu":
        batch = trainer.recipe.batch
        image_s, shared_s, look_s = _gpu_seconds_an_image(
            image_s, batch=batch, shared_batch=shared_batch or batch, looked_at=looked_at
        )
        at_once = min(at_once, _GPU_AT_A_TIME, 1 / (executor.num_gpus or 1e-9))
    return Pace(image_s=image_s, shared_image_s=shared_s, look_s=look_s, images=facts.train_images, at_once=at_once)


def _gpu_seconds_an_image(
    core_s: float, *, batch: int, shared_batch: int, looked_at: int
) -> tuple[float, float, float]:
    """Seconds an image on a large GPU: in a training by itself, in one of shared weights, in an evaluation with these.

    Args:
        core_s: of the first on one core.
        batch, shared_batch: images of an update of either.
        looked_at: images of an evaluation.
    """
    least = core_s / GPU_CORES
    fixed = _GPU_UPDATE_S / batch, _GPU_SHARED_S / shared_batch, _GPU_EVALUATION_S / looked_at
    return max(least, fixed[0]), max(least, fixed[1]), max(least / 3, fixed[2])
