"""Names in pictures: none lies on another, or outside."""

from itertools import combinations

from matplotlib.text import Text

from nas.report.plots import new_figure
from nas_runtime.labels import beside


def test_names_of_points_that_are_near_each_other_do_not_overlap():
    figure, axes = new_figure()
    x, y = [15.7, 15.8, 17.1, 15.8], [18.3, 18.3, 18.3, 18.3]
    axes.scatter(x, y)
    axes.set_xlim(14, 17.2)
    beside(axes, x, y, ["mobilenet_v3_small", "mnasnet_small", "mobilenet_v2 0.35", "a$b"])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the lines to the points
    assert len(boxes) == 4
    assert not [1 for a, b in combinations(boxes, 2) if a.overlaps(b)]
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
