"""Data sets as pictures that are read when they are needed."""

import pickle

import numpy as np
import pytest
from PIL import Image

from nas.training import sources
from nas.training.pictures import squares
from nas.training.sources import DataError


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))


@pytest.fixture
def photos(tmp_path):
    """Pictures of noise, wide and high, in three classes: 10 of each for training, 2 for tests."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 2)):
        for name in ("cup", "hat", "pen"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (20 + i, 30 - i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / part / name / f"{i}.png")
    return {"name": "image_folder", "path": tmp_path / "photos", "resolution_px": 12}


@pytest.mark.parametrize("options", [{}, {"train_images": 7, "holdout": 5}])
def test_pictures_have_the_images_of_load_in_the_same_parts(photos, options):
    data, found = sources.load(**photos, **options), sources.pictures(**photos, **options)
    for part in ("train", "holdout", "test"):
        split, its = getattr(data, part), getattr(found, part)
        assert (its.labels.tolist(), its.labels.dtype) == (split.labels.tolist(), np.int64)
        assert (squares(its, found.preprocessing, range(len(its))) == split.images).all()
        assert (pickle.loads(pickle.dumps(its)).read(0, 12) == its.read(0, 12)).all()
    assert (found.class_names, found.resize, found.channels, found.resolution_px) == (
        data.class_names,
        data.resize,
        data.channels,
        data.resolution_px,
    )
    assert found.mean == pytest.approx(data.mean, abs=0.02)


def test_arrays_are_pictures_too():
    found = sources.pictures("fashion_mnist_mini", train_images=20, resolution_px=14)
    data = sources.load("fashion_mnist_mini", train_images=20, resolution_px=14)
    assert (found.train.read(3, 14) == data.train.images[3]).all()
    assert (found.test.labels == data.test.labels).all()
    assert found.identity == sources.pictures("fashion_mnist_mini", train_images=20, resolution_px=14).identity
    assert found.identity != sources.pictures("fashion_mnist_mini", train_images=21, resolution_px=14).identity


def test_an_evaluation_may_look_at_the_middle_only(photos):
    found = sources.pictures(**photos, crop=0.75)
    rule = found.preprocessing
    assert (rule.resize_px, rule.resolution_px) == (16, 12)
    for place in range(len(found.test)):
        image = Image.open(found.test.name(place))
        scale = 16 / min(image.size)
        whole = image.resize((max(16, round(image.width * scale)), max(16, round(image.height * scale))))
        left, top = ((side - 12) // 2 for side in whole.size)
        assert (np.asarray(whole.crop((left, top, left + 12, top + 12))) == found.test.square(place, rule)).all()
    with pytest.raises(DataError, match=r"dataset\.crop=0: allowed are 0\.1 to 1"):
        sources.pictures(**photos, crop=0)


def test_large_pictures_are_read_smaller_but_no_smaller_than_needed(photos):
    path = photos["path"] / "train" / "cup" / "0.jpg"
    Image.linear_gradient("L").resize((600, 400)).convert("RGB").save(path)
    found = sources.pictures(**photos, holdout=1)
    (place,) = (i for i in range(len(found.train)) if found.train.name(i) == str(path))
    assert found.train.read(place, 12).shape == (18, 27, 3)
    assert found.train.read(place, 400).shape == (400, 600, 3)
