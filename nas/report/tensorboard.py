"""A search's or a training's scalars for TensorBoard."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nas.trial import Trial

if TYPE_CHECKING:
    from nas.training.checkpoint import Epoch
    from nas.training.seat import Updates

__all__ = ["Scalars", "TrainingScalars"]


class Scalars:
    """Writes the top-1, latency, its share of the target, reward and the best reward so far of every trial that was
    evaluated to the end.

    Use it as a context manager; look at them with ``tensorboard --logdir`` and the folder. A search that is continued
    writes a file of its own, with all trials from the first.
    """

    def __init__(self, folder: Path, target_ms: float) -> None:
        from tensorboardX import SummaryWriter

        for old in folder.glob("events.out.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        self._target_ms = target_ms
        self._best: float | None = None

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def on_trial(self, trial: Trial) -> None:
        if trial.status != "ok":
            return
        self._best = trial.reward if self._best is None else max(self._best, trial.reward)
        scalars = {
            "top1": trial.top1,
            "latency_ms": trial.latency_ms,
            "latency_of_target": trial.latency_ms / self._target_ms,
            "reward": trial.reward,
            "best_reward": self._best,
        }
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, trial.sample)
        if trial.sample % 10 == 0:
            self._writer.flush()


class TrainingScalars:
    """Writes loss, learning rate and images a second of a training by the number of updates, and the top-1 on the
    holdout after each epoch.

    Use it as a context manager. A training that is continued writes a file of its own, which takes the place of what
    came after its checkpoint.

    Args:
        updates: that were done before.
    """

    def __init__(self, folder: Path, updates: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=updates + 1 if updates else None)
        self._done = updates

    def __enter__(self) -> "TrainingScalars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def say(self, news: "Updates | Epoch") -> None:
        from nas.training.seat import Updates

        if isinstance(news, Updates):
            self._done = news.done
            scalars = {"loss": news.loss, "lr": news.lr, "images_per_s": news.images_per_s}
        else:
            scalars = {"epoch/loss": news.loss, "epoch/holdout_top1": news.holdout_top1}
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, self._done)
        self._writer.flush()
