"""Training shared weights on several workers of a Ray cluster: `train`.

Every worker has its part of each batch, whose own statistics batch norm uses.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from nas.supernet.train import Training
from nas.training import together
from nas.training.place import Workers
from nas.training.together import Worker

__all__ = ["train"]


def train(training: Training, workers: Workers, on_step: Callable[[int, str, float], None]) -> None:
    """Trains to the end on the Ray cluster that this process has joined, from the checkpoint ``training.file`` if there
    is one. The weights are then in that file alone: ``training.run()`` reads them.

    Args:
        on_step: as for `Training.run`, with the losses of the first worker.

    Raises:
        ValueError: as `nas.training.together.train` does.
    """
    together.train(_Shared(training), training.file, workers, on_step, of="the shared weights")


@dataclass(frozen=True)
class _Shared:
    """A training of shared weights as one that workers can share."""

    training: Training

    def train_as(self, worker: Worker) -> None:
        training = replace(
            self.training,
            file=worker.file,
            device=worker.device,
            rank=worker.rank,
            ranks=worker.ranks,
            # not every network uses every weight
            parallel=lambda module: together.prepared(module, find_unused_parameters=True),
            on_save=worker.keep,
        )
        training.run(worker.say if worker.rank == 0 else None)
