"""`Seat`: where one process of a full training sits, and whom it tells how far it is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.training import together
from nas.training.checkpoint import Epoch
from nas.training.learner import Together

__all__ = ["Ranks", "Seat", "Updates"]


class Ranks(Together):
    """Workers that train together through torch.distributed."""

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks

    def module(self, net: nn.Module) -> nn.Module:
        return together.prepared(net, broadcast_buffers=False, gradient_as_bucket_view=True)

    def summed(self, tensor: Tensor) -> Tensor:
        if self.ranks > 1:
            torch.distributed.all_reduce(tensor)
        return tensor


@dataclass(frozen=True, kw_only=True)
class Updates:
    """What the last few updates came to.

    Attributes:
        done: updates so far.
        loss: mean over these updates.
        lr: of the last one.
        images_per_s: of these updates.
    """

    done: int
    loss: float
    lr: float
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Where one process of a training sits, and what it does besides training.

    Attributes:
        file: of the checkpoint.
        device: ``cpu`` or ``cuda``.
        readers: processes that read and augment pictures.
        every_s: seconds between two checkpoints, besides one after each epoch.
        together: with what others it trains.
        say: told what updates and epochs came to. Of several processes the first one alone says it, and writes the
            file.
        on_save: called after the file was written.
    """

    file: Path
    device: str = "cpu"
    readers: int = 0
    every_s: float = 300.0
    together: Together = field(default_factory=Together)
    say: Callable[[Updates | Epoch], None] = lambda news: None
    on_save: Callable[[], None] = lambda: None
