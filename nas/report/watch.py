"""Everything that follows a search while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from nas.callbacks import Callbacks
from nas.report.live import Live
from nas.reward import Reward
from nas.trial import Trial

if TYPE_CHECKING:
    from nas.plan import Plan

__all__ = ["Watch", "watching"]


class Watch:
    """Passes on what happens to the terminal, and to the callbacks."""

    def __init__(self, live: Live, callbacks: Callbacks) -> None:
        self._live, self._callbacks = live, callbacks

    def on_trial(self, trial: Trial) -> None:
        self._live.on_trial(trial)
        self._callbacks.on_trial(trial)

    def on_change(self, reward: Reward, samples: int) -> None:
        """Another reward after so many samples."""
        self._live.on_change(reward, samples)


@contextmanager
def watching(console: Console, plan: "Plan", callbacks: Callbacks, *, known: int) -> Iterator[Watch]:
    """What follows the sampling of `plan`, of which earlier calls have done `known` samples."""
    with Live(console, plan.samples, plan.rewards, known=known, every=plan.batch) as live:
        yield Watch(live, callbacks)
