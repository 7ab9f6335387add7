"""Names beside the points of a picture that do not overlap."""

from collections.abc import Sequence
from typing import Any

from nas_runtime.console import picture_text

__all__ = ["beside"]

_Box = tuple[float, float, float, float]  # left, bottom, right, top


def beside(axes: Any, x: Sequence[float], y: Sequence[float], names: Sequence[str], *, color: str = "black") -> None:
    """Writes each name beside its point, moved up or down to where no other name and none of the points is.

    Call it last: the limits of `axes` must not change afterwards.
    """
    axes.figure.draw_without_rendering()  # which lays the axes out
    scale = 72 / axes.figure.dpi  # of a pixel, in points
    dots = [(px * scale, py * scale) for px, py in axes.transData.transform(list(zip(x, y, strict=True)))]
    inside = axes.get_window_extent()
    edges = inside.x0 * scale, inside.x1 * scale
    taken: list[_Box] = [(px - 3, py - 3, px + 3, py + 3) for px, py in dots]
    for i in sorted(range(len(names)), key=lambda i: -y[i]):
        side, lift, box = _free(dots[i], 3.7 * len(names[i]), 8.0, taken, edges)
        taken.append(box)
        axes.annotate(
            picture_text(names[i]),
            (x[i], y[i]),
            xytext=(6 * side, lift),
            textcoords="offset points",
            fontsize=6.5,
            color=color,
            va="center",
            ha="left" if side > 0 else "right",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "#9aa5b1"} if abs(lift) > 4 else None,
        )


def _free(
    dot: tuple[float, float], width: float, height: float, taken: Sequence[_Box], edges: tuple[float, float]
) -> tuple[int, float, _Box]:
    """The nearest place for a label of this size: on which side of `dot`, how much higher, and its box."""
    box: _Box = (0, 0, 0, 0)
    side, lift = 1, 0.0
    for step in range(60):
        lift = (step + 1) // 2 * 0.5 * height * (1 if step % 2 else -1)
        for side in (1, -1):
            left = dot[0] + 6 if side > 0 else dot[0] - 6 - width
            box = (left, dot[1] + lift - height / 2, left + width, dot[1] + lift + height / 2)
            met = any(a < box[2] and c > box[0] and b < box[3] and d > box[1] for a, b, c, d in taken)
            if not met and edges[0] < left and left + width < edges[1]:
                return side, lift, box
    return side, lift, box
