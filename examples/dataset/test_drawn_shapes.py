import numpy as np
from drawn_shapes import load

from nas.testing import check_dataset
from nas.training import sources


def test_it_is_a_data_set():
    check_dataset(load)


def test_it_is_found_by_name():
    facts = sources.look("drawn_shapes", train_images=100, resolution_px=32)
    assert (facts.train_images, facts.classes, facts.resolution_px, facts.channels) == (100, 4, 32, 1)


def test_shapes_are_brighter_than_what_is_around_them():
    data = sources.load("drawn_shapes")
    assert data.train.images[:, 12, 12].mean() > data.train.images[:, 0, 0].mean() + 50
    assert np.bincount(data.train.labels).min() > 500
