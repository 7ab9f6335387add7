"""Everything that follows a search while it runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from nas.report.live import Live
from nas.report.tensorboard import Scalars
from nas.reward import Reward
from nas.trial import Trial

if TYPE_CHECKING:
    from nas.plan import Plan

__all__ = ["Watch", "watching"]


class Watch:
    """Passes on what happens to the terminal, and to TensorBoard."""

    def __init__(self, live: Live, scalars: Scalars | None) -> None:
        self._live, self._scalars = live, scalars

    def on_trial(self, trial: Trial) -> None:
        self._live.on_trial(trial)
        if self._scalars:
            self._scalars.on_trial(trial)

    def on_change(self, reward: Reward, samples: int) -> None:
        """Another reward after so many samples."""
        self._live.on_change(reward, samples)


@contextmanager
def watching(console: Console, plan: "Plan", folder: Path, *, known: int) -> Iterator[Watch]:
    """What follows the search of `plan` in the run's `folder`, which has `known` samples of earlier calls."""
    with ExitStack() as stack:
        live = stack.enter_context(Live(console, plan.samples, plan.rewards, known=known, every=plan.batch))
        scalars = Scalars(folder / "tensorboard", plan.rewards) if plan.tensorboard else None
        yield Watch(live, stack.enter_context(scalars) if scalars else None)
