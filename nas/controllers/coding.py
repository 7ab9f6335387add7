"""`Coding`: points as a model compares them."""

import numpy as np

from search_spaces.choice import Choice
from search_spaces.space import SearchSpace

__all__ = ["Coding"]

_MOST = 16  # options that are ordered: more would be more columns than a model can weigh


class Coding:
    """Columns by which points of a space are compared: equal or not.

    A choice of three and more numbers, as 1, 2 or 3 layers, has a column for each step from one to the next: whether a
    point is above it. So neighbours differ in one column and the ends in all, and each step has a weight of its own.
    All other choices are columns as they are.

    Attributes:
        sizes: how many values each column has.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._ranks: dict[int, np.ndarray] = {}  # of the options of ordered choices
        columns: list[tuple[int, int]] = []  # the choice, and the step; -1: as it is
        for place, choice in enumerate(space.choices):
            count = len(choice.options)
            if _is_ordered(choice):
                self._ranks[place] = np.argsort(np.argsort(choice.options))
                columns += [(place, step) for step in range(count - 1)]
            else:
                columns.append((place, -1))
        self._choices, self._steps = (np.array(own) for own in zip(*columns, strict=True))
        options = [len(choice.options) for choice in space.choices]
        self.sizes = [options[place] if step < 0 else 2 for place, step in columns]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(n, columns) of points (n, C)."""
        ranked = points.copy()
        for place, ranks in self._ranks.items():
            ranked[:, place] = ranks[points[:, place]]
        own = ranked[:, self._choices]
        return np.where(self._steps < 0, own, own > self._steps)


def _is_ordered(choice: Choice) -> bool:
    numbers = all(isinstance(option, int | float) and not isinstance(option, bool) for option in choice.options)
    return numbers and 3 <= len(choice.options) <= _MOST
