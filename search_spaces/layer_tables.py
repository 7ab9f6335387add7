"""`LayerTables`: what layers add to networks, for many networks of a space at once."""

from collections.abc import Callable, Sequence

import numpy as np

from search_spaces.lower import Unit
from search_spaces.space import SearchSpace

__all__ = ["LayerTables"]


class LayerTables:
    """A table for each of the L layers of a declared space, with a row for every combination of what decides it.

    Raises:
        ValueError: the space is a function alone.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._layers = list(space.declared().variants())
        self._sizes = np.array([len(choice.options) for choice in space.choices])
        self._name = space.name
        column = {choice.name: i for i, choice in enumerate(space.choices)}
        self._strides = np.zeros((len(space.choices), len(self._layers)))
        for number, layer in enumerate(self._layers):
            stride = 1
            for name in reversed(layer.choices):
                self._strides[column[name], number] = stride
                stride *= int(self._sizes[column[name]])

    def of(self, value: Callable[[Sequence[Unit]], float]) -> list[np.ndarray]:
        """L tables of the `value` of a layer's units, of which there may be none."""
        return [np.array([value(units) for units in layer.units], dtype=float)[layer.index] for layer in self._layers]

    def places(self, indices: np.ndarray) -> np.ndarray:
        """(L, n) rows of the tables for the points `indices` (n, C).

        Raises:
            ValueError: an index is outside its choice.
        """
        if ((indices < 0) | (indices >= self._sizes)).any():
            raise ValueError(f"space {self._name!r}: an index is outside its choice")
        return (indices.astype(np.float64) @ self._strides).astype(np.int64).T  # exact: far below 2^53
