"""How shared weights may be shared and trained, as plain values; see `nas.supernet.module` and `nas.supernet.train`."""

from dataclasses import dataclass

__all__ = ["KERNELS", "MODES", "PHASES", "Phase"]

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
