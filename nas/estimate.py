"""How long a search will take, before anything is trained: for the plan that a person reads."""

import time
from math import prod

import numpy as np

from search_spaces import cost
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["GPU_AT_A_TIME", "gpu_seconds_an_image", "machine_factor", "training_seconds_an_image"]

GPU_AT_A_TIME = 2.5
"""How many times faster than one after the other are trainings that share a GPU."""

# Seconds a training image costs by multiply-add, by value written, and by operator, at batch 64 on one core of a
# 2.6-GHz server CPU (AMD EPYC, AVX-512): fitted to 16 trainings.
_S_PER_MADD, _S_PER_VALUE, _S_PER_OPERATOR = 8.8e-11, 2.6e-9, 3.8e-6
_REFERENCE_S = 0.47e-3  # what `machine_factor` times, on that core

# On an H100 or H200: an update of a small network by itself, one with shared weights, whose kernels are launched one by
# one, and an evaluation with these; and how many cores it is worth to networks that are large enough to fill it.
_GPU_UPDATE_S, _GPU_SHARED_S, _GPU_EVALUATION_S, _GPU_CORES = 2.8e-3, 0.06, 0.3, 100


def training_seconds_an_image(arch: Arch) -> float:
    """Seconds for one image forward, backward and update, on one core of the reference machine."""
    nodes = [node for unit in lower(arch) for node in unit.nodes]
    values = sum(prod(node.out_shape) for node in nodes)
    return _S_PER_MADD * cost.madds(arch) + _S_PER_VALUE * values + _S_PER_OPERATOR * len(nodes)


def machine_factor() -> float:
    """How many times slower one core of this machine is than the reference; takes a few milliseconds."""
    values = np.linspace(-1, 1, 2**20, dtype=np.float32)
    times = []
    for _ in range(9):
        start = time.perf_counter()
        np.exp(values)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) / _REFERENCE_S


def gpu_seconds_an_image(core_s: float, *, batch: int, shared_batch: int, looked_at: int) -> tuple[float, float, float]:
    """Seconds an image on a large GPU: in a training by itself, in one of shared weights, in an evaluation with these.

    Args:
        core_s: of the first on one core.
        batch, shared_batch: images of an update of either.
        looked_at: images of an evaluation.
    """
    least = core_s / _GPU_CORES
    fixed = _GPU_UPDATE_S / batch, _GPU_SHARED_S / shared_batch, _GPU_EVALUATION_S / looked_at
    return max(least, fixed[0]), max(least, fixed[1]), max(least / 3, fixed[2])
