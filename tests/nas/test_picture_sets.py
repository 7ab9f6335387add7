"""Data sets as pictures that are read when they are needed."""

import os
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.training import sources
from nas.training.pictures import squares
from nas.training.sources import DataError, album, albums, images, indexing


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


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_large_pictures_are_read_smaller_but_no_smaller_than_needed(photos, suffix):
    path = photos["path"] / "train" / "cup" / f"0.{suffix}"
    Image.linear_gradient("L").resize((600, 400)).convert("RGB").save(path)
    found = sources.pictures(**photos, holdout=1)
    (place,) = (i for i in range(len(found.train)) if found.train.name(i) == str(path))
    small = found.train.read(place, 12)
    assert small.shape == (18, 27, 3)
    rows = small.astype(int).mean((1, 2))
    assert (np.diff(rows) > 0).all()  # as in the picture: dark above, bright below
    assert abs(rows - np.linspace(7, 248, 18)).max() < 4
    assert found.train.read(place, 250).shape == (400, 600, 3)  # not twice as large as needed
    assert found.train.read(place, 400).shape == (400, 600, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright(photos, orientation):
    """Whatever the camera was held like: kept, decoded, small and large."""
    shown = Image.new("RGB", (64, 48), (0, 0, 250))
    shown.paste((250, 0, 0), (0, 0, 64, 24))
    shown.paste((0, 250, 0), (0, 24, 32, 48))  # red above green and blue
    undone = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that EXIF's undo
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = shown if orientation == 1 else shown.transpose(Image.Transpose(undone[orientation]))
    path = photos["path"] / "test" / "cup" / "0.jpg"
    stored.save(path, exif=exif, quality=95, subsampling=0)
    found = sources.pictures(**photos)
    (place,) = (i for i in range(len(found.test)) if found.test.name(i) == str(path))
    images = [found.test.read(place, 12), found.test.read(place, 48), found.test.square(place, found.preprocessing)]
    assert [image.shape for image in images] == [(24, 32, 3), (48, 64, 3), (12, 12, 3)]
    for image in images:
        third = len(image) // 3
        for region, channel in ((image[:third], 0), (image[-third:, :third], 1), (image[-third:, -third:], 2)):
            assert (region[..., channel] > 230).all()
            assert (region.sum(2) < 290).all()


def test_what_is_kept_is_what_decoding_gives(photos, monkeypatch):
    Image.linear_gradient("L").resize((90, 60)).convert("RGB").save(photos["path"] / "train" / "cup" / "0.jpg")
    found = sources.pictures(**photos, crop=0.8)
    assert found.notes == ()
    rule = found.preprocessing
    kept = {
        "read": [found.train.read(i, 12) for i in range(len(found.train))],
        "square": [part.square(i, rule) for part in (found.holdout, found.test) for i in range(len(part))],
    }
    with monkeypatch.context() as patched:
        patched.setattr(album, "decode", lambda *a, **k: pytest.fail("decoded, though kept"))
        patched.setattr(album, "shrunk", lambda *a, **k: pytest.fail("decoded, though kept"))
        again = pickle.loads(pickle.dumps(sources.pictures(**photos, crop=0.8)))
        for i, image in enumerate(kept["read"]):
            assert (again.train.read(i, 12) == image).all()
        again.test.square(0, rule)
    monkeypatch.setattr(albums, "_MOST_KEPT", 1000)
    (photos["path"] / "train" / "cup" / "1.png").unlink()
    free = sources.pictures(**photos, crop=0.8)
    assert free.notes == ("pictures are decoded each time that they are needed: 0.0 MB are too much to keep",)
    by_name = {found.train.name(i): image for i, image in enumerate(kept["read"])}
    for i in range(len(free.train)):
        assert (free.train.read(i, 12) == by_name[free.train.name(i)]).all()
    for part in (free.holdout, free.test):
        for i in range(len(part)):
            assert any((part.square(i, rule) == image).all() for image in kept["square"])
    assert (free.mean, free.std) == (pytest.approx(found.mean, abs=0.02), pytest.approx(found.std, abs=0.02))


def test_pictures_are_found_again_elsewhere_if_they_are_the_same(photos, monkeypatch, tmp_path):
    sent = pickle.dumps(sources.pictures(**photos))
    here = pickle.loads(sent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    for file in (tmp_path / "kept").glob("*/*/*"):
        file.unlink()
    again = pickle.loads(sent)
    assert [again.train.name(i) for i in range(len(again.train))] == [
        here.train.name(i) for i in range(len(here.train))
    ]
    assert (again.train.read(3, 12) == here.train.read(3, 12)).all()
    for file in (tmp_path / "kept").glob("*/*/*"):
        file.unlink()
    (photos["path"] / "train" / "cup" / "1.png").unlink()
    with pytest.raises(DataError, match="images were added, removed or changed while they were in use; run it again"):
        pickle.loads(sent)


def test_of_many_processes_that_start_at_once_one_makes_the_index(photos, tmp_path, monkeypatch):
    sent = pickle.dumps(sources.pictures(**photos))
    shutil.rmtree(tmp_path / "kept")
    together, made = threading.Barrier(3), []

    def build(*args):
        made.append(args)
        time.sleep(0.2)  # long enough for the others to want it
        return indexing.build(*args)

    def find(_: int) -> int:
        together.wait()
        return len(pickle.loads(sent).train)

    monkeypatch.setattr(album, "build", build)
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(find, range(3)))) == len(made) == 1


def test_pictures_written_again_are_other_pictures(photos):
    """Though they are as large as before: a training that is continued notices it."""
    before = sources.pictures(**photos)
    assert sources.pictures(**photos).identity == before.identity
    path = Path(before.train.name(0))
    at = path.stat()
    os.utime(path, ns=(at.st_mtime_ns + 1, at.st_mtime_ns + 1))
    assert sources.pictures(**photos).identity != before.identity


def test_squares_of_another_crop_are_others(photos):
    whole = sources.pictures(**photos)
    middle = sources.pictures(**photos, crop=0.6)
    for data in (whole, middle, sources.pictures(**photos), sources.pictures(**photos, crop=0.6)):
        image = images.decode(Path(data.test.name(0)), "", 12, resize_px=data.preprocessing.resize_px)
        assert (data.test.square(0, data.preprocessing) == image).all()
        assert data.test.kept[1]


def test_pictures_may_be_many_and_their_names_odd(photos):
    names = ["ä ö.png", "\udcff.png", "a\nb.png", "'[$x]'.png"]
    for name in names:
        shutil.copy(photos["path"] / "test" / "cup" / "0.png", photos["path"] / "test" / "cup" / name)
    found = sources.pictures(**photos)
    assert {found.test.name(i) for i in range(len(found.test))} >= {
        str(photos["path"] / "test" / "cup" / name) for name in names
    }
