"""What is promised of every data set (`nas.training.sources.DATASETS`)."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np

from nas.testing.promise import promise
from nas.training.datasets import Dataset
from nas.training.sources import Source, Wanted, facts_of

__all__ = ["check_dataset"]


def check_dataset(source: Source | Callable[[Wanted], Dataset], *, path: Path | None = None, holdout: int = 10) -> None:
    """Whether a data set is the same each time, is what was told of it before, and has the holdout that is asked for.

    Args:
        source: a function ``load(wanted) -> Dataset``, or a `Source`.
        path: of its files, if it has any.
        holdout: that it can have, and not those that it has by default.

    Raises:
        AssertionError: a promise that is not kept.
    """
    source = source if isinstance(source, Source) else Source(load=source)
    for held in (None, holdout):
        wanted = Wanted(name="asked_for", path=path, holdout=held)
        data, again = source.load(wanted), source.load(wanted)
        promise(isinstance(data, Dataset), f"it must give a nas.training.datasets.Dataset, not {type(data).__name__}")
        for part in ("train", "holdout", "test"):
            a, b = getattr(data, part), getattr(again, part)
            same = np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels)
            promise(same, f"read again, its {part} must be the same")
        promise(held in (None, len(data.holdout)), f"holdout={held}: the holdout has {len(data.holdout)} images")
        told, known = source.look(wanted) if source.look else facts_of(data), facts_of(data)
        for field in fields(known):
            before, after = getattr(told, field.name), getattr(known, field.name)
            promise(
                before == after or before is None or field.name in ("name", "notes", "split"),
                f"it tells {field.name} {before}, and has {after}",
            )
