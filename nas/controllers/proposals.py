"""`Proposals`: which points a controller has proposed, and new ones near the best.

Candidates are changes of the best networks, as in BANANAS (arXiv:1910.11858), which changes one thing; here one to
five, and again of those that promise most, in rounds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.controllers.model import Fitted
from nas.controllers.region import Region
from search_spaces.space import SearchSpace

__all__ = ["Proposals"]

_MOST_ENTRIES = 2**24  # of the array of children, 128 MiB: a space of more than 4096 choices has fewer of them
_CHANGES = (0.35, 0.25, 0.2, 0.1, 0.1)  # how often a child differs from its parent in 1, 2, ... choices
_NEAR = (0.7, 0.2, 0.1)  # the same of the children of those that promise most
_ROUNDS, _PROMISING = 3, 16  # of these, and how many have children in each
_COMPARED, _MOST_COMPARED = 1024, 4096  # candidates that a batch is chosen from: their covariance has 8 to 128 MiB


class Proposals:
    """Points of a space that were proposed or observed, all canonical.

    Args:
        rng: for what is drawn.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self._space, self._rng = space, rng
        self._sizes = np.array([len(choice.options) for choice in space.choices])
        self._known: set[tuple[int, ...]] = set()
        self._region: Region | None = None

    def __len__(self) -> int:
        return len(self._known)

    def add(self, points: np.ndarray) -> None:
        """Points (n, C) that are not new any more."""
        self._known.update(map(tuple, points.tolist()))

    def new(self, points: np.ndarray) -> np.ndarray:
        """The distinct ones of `points` that may be proposed and were not yet, in their order."""
        inside = points if self._region is None else points[self._region.has(points)]
        distinct = dict.fromkeys(map(tuple, inside.tolist()))
        new = [point for point in distinct if point not in self._known]
        return np.array(new, dtype=np.int64).reshape(-1, len(self._sizes))

    def random(self, n: int) -> np.ndarray:
        """(n, C) points, new ones as long as a few tries find them."""
        drawn = self.anywhere(10 * n) if self._region is None else self.within(self.anywhere(2 * n))
        return np.vstack([self.new(drawn), drawn])[:n]

    def anywhere(self, n: int) -> np.ndarray:
        """(n, C) points, each as likely."""
        return self._space.canonical(self._space.sample(self._rng, n))

    def within(self, points: np.ndarray) -> np.ndarray:
        """`points`, led to where they may be proposed."""
        return points if self._region is None else self._region.led_inside(points, self._rng)

    def excess(self, points: np.ndarray) -> np.ndarray:
        """(n,) how far they are from where they may be proposed; 0 there."""
        return np.zeros(len(points)) if self._region is None else self._region.excess(points)

    def restrict(self, region: Region) -> None:
        """From now on, points of the region only."""
        self._region = region

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_region": None}  # functions cannot be pickled: a copy must be restricted again

    def count(self, children: int, n: int) -> int:
        """How many of `children` there can be in this space, for a batch of `n`."""
        return max(min(children, _MOST_ENTRIES // len(self._sizes)), 8 * n)

    def promising(
        self, fitted: Fitted, parents: np.ndarray, others: np.ndarray, *, children: int, n: int
    ) -> np.ndarray:
        """(m, C) new points, those that promise most: children of `parents`, `others`, and children of what promised
        most of these."""
        pool = self.new(np.vstack([self.children(parents, children, _CHANGES), others]))
        promise = fitted.promise(pool)
        for _ in range(_ROUNDS):
            if not len(pool):
                break
            best = pool[np.argsort(-promise, kind="stable")[:_PROMISING]]
            pool = self.new(np.vstack([pool, self.children(best, max(1, children // 2), _NEAR)]))
            promise = np.concatenate([promise, fitted.promise(pool[len(promise) :])])
        most = min(max(_COMPARED, 8 * n), _MOST_COMPARED)
        return pool[np.argsort(-promise, kind="stable")[:most]]

    def children(self, parents: np.ndarray, count: int, shares: Sequence[float]) -> np.ndarray:
        """(count, C) points: one, two, ... changes from a parent, so often as `shares` say."""
        found = parents[self._rng.integers(len(parents), size=count)]
        changes = self._rng.choice(np.arange(1, len(shares) + 1), size=count, p=shares)
        for change in range(len(shares)):
            may = self._space.active(found) & (self._sizes > 1)
            column = np.where(may, self._rng.random(found.shape), -1.0).argmax(axis=1)
            rows = np.flatnonzero((change < changes) & may.any(axis=1))
            own, size = found[rows, column[rows]], self._sizes[column[rows]]
            found[rows, column[rows]] = (own + 1 + np.floor(self._rng.random(len(rows)) * (size - 1))) % size
        return self._space.canonical(found)

    def state(self) -> list[list[int]]:
        """What `load` takes."""
        return sorted(map(list, self._known))

    def load(self, state: Sequence[Sequence[int]]) -> None:
        self._known = set(map(tuple, state))
