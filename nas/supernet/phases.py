"""How shared weights may be shared and trained, as plain values; see `nas.supernet.module` and `nas.supernet.train`."""

from dataclasses import dataclass

__all__ = ["KERNELS", "PHASES", "Phase"]

KERNELS = ("centre", "own")
"""A small kernel is the centre of the largest, or has weights of its own."""

PHASES = ("largest", "align", "mixed")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase: its share of all updates, relative to the others', and its peak learning rate."""

    share: float
    lr: float
