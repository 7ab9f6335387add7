"""Points as models compare them."""

import numpy as np

from nas.controllers.coding import Coding
from search_spaces import spaces, zoo
from search_spaces.space import Choice, SearchSpace


def space_of(*options) -> SearchSpace:
    choices = tuple(Choice(f"c{i}", own) for i, own in enumerate(options))
    return SearchSpace(name="own", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


def test_numbers_are_compared_by_the_steps_between_them():
    """Whatever their order in the space; texts, truths, pairs and many numbers are compared as they are."""
    coding = Coding(space_of((4, 1, 6), ("a", "b", "c"), (3, 5), (True, False), tuple(range(17)), (0.75, 1, 1.25, 2)))
    assert coding.sizes == [2, 2, 3, 2, 2, 17, 2, 2, 2]
    points = np.array([[0, 2, 1, 0, 16, 3], [1, 0, 0, 1, 5, 0], [2, 1, 1, 1, 0, 1]])
    assert coding(points).tolist() == [
        [1, 0, 2, 1, 0, 16, 1, 1, 1],
        [0, 0, 0, 0, 1, 5, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 1, 0, 0],
    ]
    assert points.tolist() == [[0, 2, 1, 0, 16, 3], [1, 0, 0, 1, 5, 0], [2, 1, 1, 1, 0, 1]]
    assert coding(points[:0]).shape == (0, 9)


def test_ends_of_an_ordered_choice_are_farther_apart_than_neighbours():
    coding = Coding(spaces.get("mnasnet"))
    place = [choice.name for choice in spaces.get("mnasnet").choices].index("block3.layers")
    points = np.zeros((3, 42), dtype=np.int64)
    points[:, place] = [0, 1, 2]
    coded = coding(points)
    apart = (coded[:, None] != coded[None]).sum(axis=2)
    assert apart.tolist() == [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
