"""How shared weights may be shared and trained, as plain values; see `nas.supernet.module` and `nas.supernet.train`."""

from dataclasses import dataclass

__all__ = ["KERNELS", "MODES", "PHASES", "Phase", "Workers"]

KERNELS = ("centre", "own")
"""A small kernel is the centre of the largest, or has weights of its own."""

MODES = ("two_stage", "joint")
"""Weights first, of random networks, then the controller; or both at once, on the networks of the controller."""

PHASES = ("largest", "align", "mixed")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase: its share of all updates, relative to the others', and its peak learning rate."""

    share: float
    lr: float


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Processes of a Ray cluster that train together.

    Attributes:
        num_cpus, num_gpus: what each takes.
        retries: how often the training goes on from its checkpoint after one was lost.
    """

    count: int
    num_cpus: float = 1
    num_gpus: float = 0
    retries: int = 1
