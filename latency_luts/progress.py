"""A progress bar for stretches of measurements, on standard error."""

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["Bar", "bars"]

Bar = Callable[..., None]  # bar(title, total) begins a stretch of work, bar() advances it by one, bar("", n) by n


@contextlib.contextmanager
def bars(show: bool) -> Iterator[Bar]:
    """Yields a `Bar`, which shows nothing unless `show`."""
    if not show:
        yield lambda title="", total=0: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from nas_runtime.console import new_console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=new_console(stderr=True)) as progress:
        task = None

        def bar(title: str = "", total: int = 0) -> None:
            nonlocal task
            if title:
                task = progress.add_task(title, total=total)
            elif task is not None:
                progress.advance(task, total or 1)

        yield bar
