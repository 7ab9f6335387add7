"""How long a search will take, before anything is trained: for the plan that a person reads."""

import time
from math import prod

import numpy as np

from search_spaces import cost
from search_spaces.arch import Arch
from search_spaces.lower import lower

__all__ = ["machine_factor", "training_seconds_an_image"]

# Seconds a training image costs by multiply-add, by value written, and by operator, at batch 64 on one core of a
# 2.6-GHz server CPU (AMD EPYC, AVX-512): fitted to 16 trainings, mean error 9 %.
_S_PER_MADD, _S_PER_VALUE, _S_PER_OPERATOR = 8.8e-11, 2.6e-9, 3.8e-6
_REFERENCE_S = 0.47e-3  # what `machine_factor` times, on that core


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
