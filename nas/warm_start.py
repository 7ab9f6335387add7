"""What earlier searches found, for a search that does not begin with nothing: `warm_start=[runs/a,runs/b]`.

Their networks count by their accuracies, with the latencies and the reward of this search: the others may have been for
another device or target. Where they were trained otherwise, or on other data, the model finds by how much all
accuracies of a search are higher or lower (`nas.controllers.model.Model.recall`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.searched import open_search
from nas_runtime.console import counted
from nas_runtime.run import Run
from search_spaces.choice import Choice
from search_spaces.space import SearchSpace

__all__ = ["Earlier", "keep", "read"]

_STAGE = "warm_start"  # in a run's directory: what it began with. The other runs may go on, or be removed.

Earlier = tuple[np.ndarray, np.ndarray]
"""Points (n, C) of this search's space, and their top-1 (n,)."""


def read(paths: Sequence[Path], space: SearchSpace, run_dir: Path | None) -> list[Earlier]:
    """The networks of other runs that are also of `space`, by run. Options that it does not have, but other numbers,
    count as the nearest of these.

    Args:
        run_dir: of the search; if it has begun, what it began with counts.

    Raises:
        ValueError: a folder holds no search, or none with a network of `space`.
    """
    if run_dir and run_dir.is_dir() and (kept := Run(run_dir).stage(_STAGE, {}).values):
        return [(np.array(points, dtype=np.int64), np.array(top1)) for points, top1 in kept["searches"]]
    return [_read(path, space) for path in paths]


def keep(run: Run, earlier: Sequence[Earlier]) -> None:
    """Writes down what the run begins with, unless that was done before."""
    stage = run.stage(_STAGE, {})
    if not stage.values:
        stage.keep("searches", [[points.tolist(), top1.tolist()] for points, top1 in earlier])


def _read(path: Path, space: SearchSpace) -> Earlier:
    try:
        theirs = open_search(path)
    except ValueError as e:
        raise ValueError(f"warm_start: {e}") from None
    found = {}
    good = [trial for trial in theirs.trials if trial.status == "ok"]
    for trial in good:
        if (point := _mapped(theirs.space.describe(trial.indices), space)) is not None:
            found[point] = trial.top1
    if not found:
        raise ValueError(
            f"warm_start: none of the {counted(len(good), 'network')} of {path} is of space {space.name!r}; "
            f"it searched {theirs.space.name!r}"
        )
    return space.canonical(np.array(list(found))), np.array(list(found.values()))


def _mapped(options: Mapping[str, Any], space: SearchSpace) -> tuple[int, ...] | None:
    """The point of `space` with these options of another space; None if there is none."""
    found = []
    for choice in space.choices:
        place = _place(choice, options[choice.name]) if choice.name in options else None
        if place is None:
            return None
        found.append(place)
    return tuple(found)


def _place(choice: Choice, option: Any) -> int | None:
    if option in choice.options:
        return choice.options.index(option)
    numbers = [*choice.options, option]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        return None
    return int(np.abs(np.array(choice.options, dtype=float) - option).argmin())
