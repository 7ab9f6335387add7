"""What a search begins with instead of nothing: `warm_start=[runs/a,runs/b,mobilenet_v3_small]`.

The networks of earlier runs count by their accuracies, with the latencies and the reward of this search: those runs may
have been for another device or target. Where they were trained otherwise, or on other data, the model finds by how much
all accuracies of a run are higher or lower (`nas.controllers.model.Model.recall`).

A network of the zoo stands for the network of the space that is most like it (`search_spaces.nearest`): such are the
first samples, each followed by some networks that differ from it in a few choices, from which a model learns what to
change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.references import sizes
from nas.searched import open_search
from nas_runtime.console import counted, did_you_mean
from nas_runtime.run import Run
from search_spaces import zoo
from search_spaces.choice import Choice
from search_spaces.nearest import nearest
from search_spaces.space import SearchSpace

__all__ = ["WarmStart", "read"]

_AROUND = 7  # networks around each published one
_CHANGES = 6  # in which they differ from it, at most
_STAGE = "warm_start"  # in a run's directory: what it began with. The other runs may go on, or be removed.

Earlier = tuple[np.ndarray, np.ndarray]
"""Points (n, C) of this search's space, and their top-1 (n,)."""


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What a search begins with.

    Attributes:
        published: points (C,) by the name of the network that they are most like.
        earlier: what other searches have found.
    """

    published: Mapping[str, np.ndarray] = field(default_factory=dict)
    earlier: Sequence[Earlier] = ()

    def points(self, space: SearchSpace) -> np.ndarray:
        """(n, C) the first samples."""
        rng = np.random.default_rng(0)
        points = [near for point in self.published.values() for near in (point, *_around(space, point, rng))]
        return space.canonical(np.array(points, dtype=np.int64).reshape(-1, len(space.choices)))

    def keep(self, run: Run) -> None:
        """Writes down what the run begins with, unless that was done before."""
        stage = run.stage(_STAGE, {})
        if not stage.values and (self.published or self.earlier):
            published = {name: point.tolist() for name, point in self.published.items()}
            searches = [[points.tolist(), top1.tolist()] for points, top1 in self.earlier]
            stage.keep("begun", {"published": published, "searches": searches})

    def describe(self) -> str:
        """In words; "" for nothing."""
        networks = ", ".join(counted(len(top1), "network") for _, top1 in self.earlier)
        earlier = f"{networks} of {counted(len(self.earlier), 'earlier run')}" if self.earlier else ""
        like = f"networks like {', '.join(self.published)} first, with {_AROUND} around each" if self.published else ""
        return "; ".join(filter(None, [earlier, like]))


def read(names: Sequence[Path], space: SearchSpace, run_dir: Path | None) -> WarmStart:
    """What `names` stand for: networks of the zoo, and folders of other runs, whose networks count as far as they are
    also of `space`. Options that it does not have, but other numbers, count as the nearest of these.

    Args:
        run_dir: of the search; if it has begun, what it began with counts.

    Raises:
        ValueError: a name is neither, or a run has no network of `space`.
    """
    if run_dir and run_dir.is_dir() and (kept := Run(run_dir).stage(_STAGE, {}).values.get("begun")):
        published = {name: np.array(point) for name, point in kept["published"].items()}
        earlier = [(np.array(points, dtype=np.int64), np.array(top1)) for points, top1 in kept["searches"]]
        return WarmStart(published=published, earlier=earlier)
    known = [str(name) for name in names if str(name) in zoo.names()]
    return WarmStart(
        published={name: nearest(space, zoo.get(name, **sizes(space))) for name in known},
        earlier=[_read(name, space) for name in names if str(name) not in known],
    )


def _around(space: SearchSpace, point: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    found = []
    for _ in range(_AROUND):
        near = point
        for _ in range(int(rng.integers(1, _CHANGES + 1))):
            near = space.mutate(rng, near)
        found.append(near)
    return found


def _read(path: Path, space: SearchSpace) -> Earlier:
    if not path.exists():
        hint = did_you_mean(str(path), zoo.names())
        raise ValueError(f"warm_start: there is no run {path}{hint}; give folders of searches, or networks of the zoo")
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
