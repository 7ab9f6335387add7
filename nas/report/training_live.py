"""What a person sees while a network is trained."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from nas.training import checkpoint
    from nas.training.checkpoint import Epoch
    from nas.training.seat import Updates

__all__ = ["watching"]

_QUIET_S = 20.0  # between two lines where there is no terminal


@contextmanager
def watching(
    console: Console, updates: int, in_epoch: int, before: "checkpoint.Progress", scalars: Path | None = None
) -> "Iterator[Callable[[Updates | Epoch], None]]":
    """Shows a bar with the time that is left, images a second and the loss, and a line for each epoch; without a
    terminal, lines alone.

    Args:
        updates: of the training.
        in_epoch: of each epoch.
        before: what was done before.
        scalars: a folder for TensorBoard; None: none are written.
    """
    from nas.report.tensorboard import TrainingScalars

    live = _Live(console, updates, in_epoch, before)
    with ExitStack() as stack:
        stack.enter_context(live.progress)
        told: list[Callable[[Updates | Epoch], None]] = [live.say]
        if scalars and before.updates < updates:
            told.append(stack.enter_context(TrainingScalars(scalars, before.updates)).say)

        def say(news: "Updates | Epoch") -> None:
            for each in told:
                each(news)

        yield say


class _Live:
    def __init__(self, console: Console, updates: int, in_epoch: int, before: "checkpoint.Progress") -> None:
        self._updates, self._in_epoch = updates, in_epoch
        self._top1 = before.epochs[-1].holdout_top1 if before.epochs else None
        self._first = before.updates
        self._spoke_s = 0.0
        self.progress = Progress(
            TextColumn("training", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[news]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self.progress.add_task("training", total=updates, completed=before.updates, news="")

    def say(self, news: "Updates | Epoch") -> None:
        from nas.training.seat import Updates

        if not isinstance(news, Updates):
            self._top1 = news.holdout_top1
            self._line(
                f"epoch {news.epoch:g}: loss {news.loss:.3f}, top-1 {news.holdout_top1:.1%} on the holdout, "
                f"{news.images_per_s:,.0f} images/s"
            )
            return
        epoch, epochs = news.done / self._in_epoch, self._updates / self._in_epoch
        top1 = "" if self._top1 is None else f", top-1 {self._top1:.1%}"
        text = f"epoch {epoch:.1f} of {epochs:g}, loss {news.loss:.3f}{top1}, {news.images_per_s:,.0f} images/s"
        self.progress.update(self._task, completed=news.done, news=text)
        elapsed = self.progress.tasks[0].elapsed or 0.0
        if not self.progress.console.is_terminal and elapsed - self._spoke_s >= _QUIET_S:
            left = elapsed / max(1, news.done - self._first) * (self._updates - news.done)
            self._line(f"{text}, {left:.0f} s left")

    def _line(self, text: str) -> None:
        self._spoke_s = self.progress.tasks[0].elapsed or 0.0
        self.progress.console.print(text)
