"""What weights of others are measured by."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments import pretrained_lite0 as lite0


def test_rows_count_among_all_classes_and_among_those_of_the_data():
    classes = lite0.of_classes(("n02102040", "n01440764"))
    assert classes.tolist() == [217, 0]
    logits = np.zeros((4, 1000), np.float32)
    logits[[0, 1, 2, 3], [217, 5, 0, 0]] = 2  # the second is of none of the data's classes
    logits[1, 217] = 1
    reference = np.roll(logits, 1, axis=0)
    row = lite0.row("x", logits, np.array([217, 217, 0, 217]), classes, reference)
    assert row["top-1 %, of 1,000 classes"] == "50.00"
    assert row["top-1 %, of the 10"] == "75.00"
    assert row["same answer as torch %"] == "25.00"


def test_folders_that_imagenette_has_not_are_refused():
    with pytest.raises(ValueError, match="path= has the folder cats, which Imagenette has not; it has n01440764, "):
        lite0.of_classes(("n01440764", "cats"))


def test_pictures_of_the_validation_set_are_told_by_their_names():
    files = ["val/n01440764/n01440764_9.JPEG", "val/n01440764/ILSVRC2012_val_00009111.JPEG"]

    class Files(SimpleNamespace):
        def __len__(self):
            return len(files)

    assert lite0.unseen(Files(name=files.__getitem__)).tolist() == [1]
