"""Where the zeros around a map stand, in TensorFlow Lite's words."""

from dataclasses import dataclass

import numpy as np

from search_spaces.lower import Node
from search_spaces.ops import Pool

__all__ = ["Frame", "frame", "without_zeros"]

_SAME, _VALID = 0, 1  # the schema's Padding


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a convolution or pooling has around its map.

    Attributes:
        padding: the schema's Padding.
        zeros: (before, after) of its rows and of its columns, of an operator before; None: none.
    """

    padding: int
    zeros: tuple[tuple[int, int], tuple[int, int]] | None = None


def frame(node: Node, size: tuple[int, int], stride: int, before: tuple[int, int]) -> Frame:
    """How windows of `size` are laid over a map so that the first begins `before` its rows and columns.

    Without zeros of their own where TensorFlow Lite's paddings have the same ones: writing them takes time.
    """
    after, as_same = [], []
    lengths = zip(node.in_shapes[0][1:], node.out_shape[1:], size, before, strict=True)
    for n, outputs, window, first in lengths:
        lacking = (outputs - 1) * stride + window - n  # below 0: there are more rows than are read
        after.append(max(lacking - first, 0))
        as_same.append(outputs == -(-n // stride) and first == max(lacking, 0) // 2)
    if not any((*before, *after)):
        return Frame(padding=_VALID)
    if all(as_same):
        return Frame(padding=_SAME)
    return Frame(padding=_VALID, zeros=((before[0], after[0]), (before[1], after[1])))


def without_zeros(op: Pool, node: Node) -> np.ndarray:
    """(1, H, W, 1) by which averages are too small that count the zeros around the map."""

    def counts(n: int, outputs: int) -> np.ndarray:
        first = np.arange(outputs) * op.stride - op.padding
        return np.minimum(first + op.kernel, n) - np.maximum(first, 0)

    rows, columns = (counts(n, m) for n, m in zip(node.in_shapes[0][1:], node.out_shape[1:], strict=True))
    return (op.kernel**2 / np.outer(rows, columns)).astype(np.float32)[None, :, :, None]
