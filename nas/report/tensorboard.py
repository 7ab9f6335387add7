"""A search's or a training's scalars for TensorBoard."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nas.goals import Nearest, by, folder
from nas.reward import Reward
from nas.trial import Trial

if TYPE_CHECKING:
    from nas.callbacks import Followed
    from nas.training.checkpoint import Epoch
    from nas.training.seat import Updates

__all__ = ["Scalars", "TrainingScalars"]


class Scalars:
    """Writes the top-1, latency, its share of the target, reward and the best reward so far of every trial that was
    evaluated to the end; with several targets, share and reward are for the nearest, and each has a best reward.

    Look at them with ``tensorboard --logdir`` and the folder. A search that is continued writes a file of its own, with
    all trials from the first.
    """

    def __init__(self, search: "Followed") -> None:
        from tensorboardX import SummaryWriter

        folder = search.folder / "tensorboard"
        for old in folder.glob("events.out.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        self._nearest = Nearest(search.rewards)
        self._best: dict[Reward, float] = {}

    def close(self, ended: bool) -> None:
        self._writer.close()

    def on_trial(self, trial: Trial) -> None:
        if trial.status != "ok":
            return
        scalars = {
            "top1": trial.top1,
            "latency_ms": trial.latency_ms,
            "latency_of_target": trial.latency_ms / self._nearest.of(trial.latency_ms).target_ms,
            "reward": trial.reward,
        }
        rewards = self._nearest.rewards
        for reward in rewards:
            (its,) = by(reward, [trial]) if len(rewards) > 1 else (trial,)
            if its.status != "ok":
                continue
            self._best[reward] = max(self._best.get(reward, its.reward), its.reward)
            name = f"best_reward/{folder(reward.target_ms)}" if len(rewards) > 1 else "best_reward"
            scalars[name] = self._best[reward]
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
