"""`Place`: where a training at full size runs; and `Workers` of a Ray cluster that train together."""

from dataclasses import dataclass

__all__ = ["Place", "Workers"]


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


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training runs, and what it leaves beside its checkpoint; nothing of it changes what is learnt, but for
    rounding.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: torch threads.
        readers: processes that read and augment pictures.
        checkpoint_s: seconds between two checkpoints, besides one after each epoch.
        tensorboard: whether scalars are written to the folder ``tensorboard`` of the run.
        workers: of a Ray cluster that train together, instead of this process; `device` and `threads` are then theirs.
        address: HOST:PORT of that cluster; None: one of our own on this machine.
    """

    device: str = "cpu"
    threads: int = 1
    readers: int = 0
    checkpoint_s: float = 300.0
    tensorboard: bool = False
    workers: Workers | None = None
    address: str | None = None

    @property
    def cores(self) -> int:
        """CPUs that compute; or GPUs, of which each worker uses one."""
        if self.device != "cpu":
            return self.workers.count if self.workers else 1
        return max(1, round(self.workers.count * self.workers.num_cpus)) if self.workers else self.threads
