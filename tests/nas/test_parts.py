"""How pictures are divided into training, holdout and test: in each class alike, and always the same way."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.training import sources
from nas.training.sources import DataError


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))


def write(folder: Path, images: dict[str, int], first: int = 0) -> Path:
    """Pictures that are all different, in folders of classes."""
    rng = np.random.default_rng(first)
    for name, count in images.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")
    return folder


def parts(folder: Path, **options) -> dict[str, set[str]]:
    """The names of the pictures in each part, as the data set says them."""
    data = sources.pictures("image_folder", path=folder, resolution_px=8, **options)
    found = {}
    for part in ("train", "holdout", "test"):
        its = getattr(data, part)
        found[part] = {its.name(place) for place in range(len(its))}
        classes = [data.class_names[label] for label in its.labels]
        assert classes == [Path(its.name(place)).relative_to(folder).parts[-2] for place in range(len(its))]
        assert len(found[part]) == len(its)
    assert not found["train"] & found["holdout"]
    assert not (found["train"] | found["holdout"]) & found["test"]
    return found


def of_class(names: set[str], name: str) -> int:
    return sum(f"/{name}/" in each for each in names)


def test_folders_of_classes_alone_are_cut_into_three(tmp_path):
    folder = write(tmp_path / "photos", {"cup": 200, "hat": 100, "pen": 3, "tie": 2, "zip": 1})
    found = parts(folder)
    assert set.union(*found.values()) == {str(path) for path in folder.rglob("*.png")}
    for name, images in (("cup", 200), ("hat", 100)):
        for part, share in (("test", 0.1), ("holdout", 0.09)):
            assert of_class(found[part], name) == pytest.approx(share * images, abs=3 * (share * images) ** 0.5)
    counts = {name: [of_class(found[part], name) for part in ("train", "holdout", "test")] for name in ("pen", "tie")}
    assert counts == {"pen": [1, 1, 1], "tie": [1, 1, 0]}
    assert of_class(found["train"], "zip") == 1
    facts = sources.look("image_folder", path=folder)
    assert [facts.train_images, facts.holdout_images, facts.test_images] == [len(its) for its in found.values()]
    assert facts.split == (
        "test 10 % and holdout 10 % of the training images, in each class alike, drawn by their names"
    )
    data = sources.pictures("image_folder", path=folder)
    assert data.record() == {
        "name": "image_folder",
        "classes": 5,
        "images": {part: len(its) for part, its in found.items()},
        "split": facts.split,
        "identity": data.identity,
        "notes": list(facts.notes),
    }
    assert "image_folder's test has no images of 2 of 5 classes: tie, zip" in facts.notes


def test_an_image_more_or_less_moves_no_other(tmp_path):
    folder = write(tmp_path / "photos", {"cup": 60, "hat": 60})
    before = parts(folder, holdout=0.2, test=0.3)
    write(folder, {"cup": 30, "hat": 1}, first=1000)
    after = parts(folder, holdout=0.2, test=0.3)
    for part, names in before.items():
        assert names <= after[part]
    (folder / "cup" / "7.png").unlink()
    fewer = parts(folder, holdout=0.2, test=0.3)
    assert set.union(*after.values()) - set.union(*fewer.values()) == {str(folder / "cup" / "7.png")}
    assert all(fewer[part] <= after[part] for part in after)


def test_the_same_names_elsewhere_are_cut_the_same_way(tmp_path):
    write(tmp_path / "a" / "photos", {"cup": 20, "hat": 20})
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # and their times
    found = [parts(tmp_path / name / "photos") for name in ("a", "b")]
    a, b = ({part: {Path(n).name for n in names} for part, names in each.items()} for each in found)
    assert a == b
    identities = [sources.pictures("image_folder", path=tmp_path / name / "photos").identity for name in ("a", "b")]
    assert identities[0] == identities[1]
    other = sources.pictures("image_folder", path=tmp_path / "b" / "photos", holdout=0.3).identity
    (tmp_path / "b" / "photos" / "cup" / "0.png").unlink()
    assert len({identities[0], other, sources.pictures("image_folder", path=tmp_path / "b" / "photos").identity}) == 3


def test_counts_are_exact_and_in_each_class_alike(tmp_path):
    folder = write(tmp_path / "photos", {"cup": 40, "hat": 20, "pen": 1})
    found = parts(folder, holdout=9, test=12)
    assert [len(found[part]) for part in ("train", "holdout", "test")] == [40, 9, 12]
    assert [of_class(found["test"], name) for name in ("cup", "hat", "pen")] == [8, 4, 0]
    assert [of_class(found["holdout"], name) for name in ("cup", "hat", "pen")] == [6, 3, 0]
    with pytest.raises(DataError, match=r"dataset.test=59: allowed are 1 to 56, since image_folder has 61"):
        parts(folder, test=59)
    fewer = parts(folder, holdout=9, test=12, train_images=10)
    assert (fewer["holdout"], fewer["test"], len(fewer["train"])) == (found["holdout"], found["test"], 10)
    assert fewer["train"] < found["train"]


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "validation", "testing"), ("Train", "VAL", "Test")]
)
def test_what_is_called_val_is_the_holdout_where_there_are_test_images(tmp_path, names):
    for i, name in enumerate(names):
        write(tmp_path / name, {"cup": 4, "hat": 4}, first=10 * i)
    found = parts(tmp_path)
    assert found == {
        part: {str(path) for path in (tmp_path / name).rglob("*.png")}
        for part, name in zip(("train", "holdout", "test"), names, strict=True)
    }
    assert sources.look("image_folder", path=tmp_path).split == ""
    for part in ("holdout", "test"):
        with pytest.raises(DataError, match=f"dataset.{part}=0.2: image_folder has {part} images of its own; leave"):
            parts(tmp_path, **{part: 0.2})


def test_two_folders_of_one_part_are_refused(tmp_path):
    for name in ("train", "training", "test"):
        write(tmp_path / name, {"cup": 4, "hat": 4})
    with pytest.raises(DataError, match=f"{tmp_path} has train and training, which are names of the same part; leave"):
        parts(tmp_path)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_two_folders_are_for_training_and_tests(tmp_path, name):
    write(tmp_path / "train", {"cup": 10, "hat": 10})
    write(tmp_path / name, {"cup": 2, "hat": 2})
    assert parts(tmp_path)["test"] == {str(path) for path in (tmp_path / name).rglob("*.png")}
    assert sources.look("image_folder", path=tmp_path).split.startswith("holdout 10 % of the training images, in each")


def test_train_alone_is_cut_too(tmp_path):
    write(tmp_path / "train", {"cup": 10, "hat": 10})
    found = parts(tmp_path, test=4)
    assert [of_class(found["test"], name) for name in ("cup", "hat")] == [2, 2]


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="has 2 images to cut the test from, and of no class as many as are needed"):
        parts(write(tmp_path / "few", {"cup": 1, "hat": 1}))
    (tmp_path / "test" / "cup").mkdir(parents=True)
    with pytest.raises(DataError, match="must have train/ and test/ .* or train/ alone, or the folders of the classes"):
        parts(tmp_path)
