"""Shards of webdataset and tables of `datasets`: what is read of them, and what is refused."""

import io
import json
import pickle
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.training import sources
from nas.training.sources import DataError, hugging_face, indexing


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    hugging_face._tables.cache_clear()


def grey(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 16), (value,) * 3).save(out, "png")
    return out.getvalue()


def shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(values, label=lambda value: ("cls", b"%d" % (value % 3 + 8))):
    """Greys of these values, whose class is 8, 9 or 10."""
    for value in values:
        suffix, content = label(value)
        yield f"{value:03}.png", grey(value)
        yield f"{value:03}.{suffix}", content


def check(data, train, test):
    """Each grey is in one part, with its class."""
    seen = []
    for part in ("train", "holdout", "test"):
        pictures = getattr(data, part)
        for place in range(len(pictures)):
            value = int(pictures.read(place, 8)[0, 0, 0])
            assert data.class_names[pictures.labels[place]] == str(value % 3 + 8)
            seen.append((value, part == "test"))
    assert sorted(seen) == sorted([*((value, False) for value in train), *((value, True) for value in test)])


@pytest.mark.parametrize(
    "label",
    [
        lambda value: ("cls", b"%d\n" % (value % 3 + 8)),
        lambda value: ("json", json.dumps({"label": value % 3 + 8, "more": [1]}).encode()),
        lambda value: ("json", json.dumps({"cls": str(value % 3 + 8)}).encode()),
    ],
)
def test_shards_are_read_where_they_are(tmp_path, label):
    shard(tmp_path / "data" / "train" / "b.tar", samples(range(30, 60), label))
    shard(tmp_path / "data" / "train" / "a.tar", samples(range(30), label))
    shard(tmp_path / "data" / "test" / "0.tar", samples(range(100, 106), label))
    data = sources.pictures("webdataset", path=tmp_path / "data", resolution_px=8)
    assert data.class_names == ("8", "9", "10")
    check(data, range(60), range(100, 106))
    facts = sources.look("webdataset", path=tmp_path / "data", resolution_px=8)
    assert (facts.train_images + facts.holdout_images, facts.test_images, facts.notes) == (60, 6, ())
    arrays = sources.load("webdataset", path=tmp_path / "data", resolution_px=8)
    assert (arrays.train.images[:, 0, 0, 0] % 3 == arrays.train.labels).all()
    assert (pickle.loads(pickle.dumps(data.holdout)).read(1, 8) == data.holdout.read(1, 8)).all()


def test_parts_may_stand_in_the_names_of_shards(tmp_path):
    shard(tmp_path / "data" / "mine-train-0000.tar", samples(range(30)))
    shard(tmp_path / "data" / "mine-val-0000.tar", samples(range(100, 106)))
    check(sources.pictures("webdataset", path=tmp_path / "data", resolution_px=8), range(30), range(100, 106))


@pytest.mark.parametrize("name", ["train-val-0000.tar", "mine_Train.test.tar"])
def test_a_shard_of_two_parts_is_refused(tmp_path, name):
    shard(tmp_path / "data" / "train-0000.tar", samples(range(30)))
    shard(tmp_path / "data" / name, samples(range(100, 106)))
    with pytest.raises(DataError, match=f"{name} is named after train and (val|test), and must be for one part alone"):
        sources.look("webdataset", path=tmp_path / "data")


def test_a_caption_is_no_class_where_a_class_is_said(tmp_path):
    def members():
        for name, content in samples(range(30)):
            yield name, content
            if name.endswith("cls"):
                yield name.replace("cls", "txt"), b"a grey square"
                yield name.replace("cls", "json"), b'{"label": "none"}'

    assert sources.look("webdataset", path=shard(tmp_path / "all.tar", members())).class_names == ("8", "9", "10")
    reverse = list(members())[::-1]
    assert sources.look("webdataset", path=shard(tmp_path / "other.tar", reverse)).class_names == ("8", "9", "10")


def test_one_shard_is_cut_into_parts(tmp_path):
    path = shard(tmp_path / "all.tar", samples(range(60)))
    data = sources.pictures("webdataset", path=path, resolution_px=8, test=6)
    assert np.bincount(data.test.labels).tolist() == [2, 2, 2]
    tested = {int(data.test.read(place, 8)[0, 0, 0]) for place in range(6)}
    check(data, set(range(60)) - tested, tested)


def test_an_unchanged_shard_is_not_walked_again(tmp_path, monkeypatch):
    path = shard(tmp_path / "all.tar", samples(range(60)))
    before = sources.look("webdataset", path=path)
    with monkeypatch.context() as patched:
        patched.setattr(tarfile, "open", lambda *a: pytest.fail("walked again"))
        assert sources.look("webdataset", path=path) == before
    shard(path, samples(range(61)))
    assert sources.look("webdataset", path=path).train_images > before.train_images


def test_shards_that_are_none_are_refused(tmp_path):
    def refused(path, message):
        with pytest.raises(DataError, match=message):
            sources.look("webdataset", path=path)

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"has no shards \(\*.tar\) for training; allowed are shards, or train/ and test/")
    (tmp_path / "packed.tar").write_bytes(b"\x1f\x8b garbage" * 99)
    refused(tmp_path / "packed.tar", "packed.tar is not a complete tar archive that is not packed")
    whole = shard(tmp_path / "cut.tar", samples(range(9))).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2 - 300])
    refused(tmp_path / "cut.tar", "cut.tar is not a complete tar archive")
    refused(shard(tmp_path / "bare.tar", [("a.png", grey(1))]), "has no pictures with a class .KEY.jpg beside KEY.cls")
    shard(tmp_path / "two" / "train" / "a.tar", samples(range(0, 30, 3)))
    shard(tmp_path / "two" / "test" / "a.tar", samples(range(3)))
    refused(tmp_path / "two", "a.tar has the class '9', which no shard for training has")
    some = [*samples(range(30)), ("x.png", grey(5)), ("y.png", grey(6)), ("y.json", b"[1]"), ("z.cls", b"9")]
    notes = sources.look("webdataset", path=shard(tmp_path / "some.tar", some)).notes
    assert notes == (f"{tmp_path / 'some.tar'}: left out 2 images without a class",)


# ---- tables


def tables(path, *, named=True, **parts):
    datasets = pytest.importorskip("datasets")
    kind = datasets.ClassLabel(names=["10", "8", "9"]) if named else datasets.Value("string")
    features = datasets.Features({"about": datasets.Value("string"), "photo": datasets.Image(), "label": kind})

    def rows(values):
        labels = [str(value % 3 + 8) for value in values]
        photos = [{"bytes": grey(value), "path": None} for value in values]
        return datasets.Dataset.from_dict({"about": labels, "photo": photos, "label": labels}, features=features)

    made = {name: rows(list(values)) for name, values in parts.items()}
    (datasets.DatasetDict(made) if len(made) > 1 else made["train"]).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("named", [True, False])
def test_tables_are_read_where_they_are(tmp_path, named, monkeypatch):
    path = tables(tmp_path / "data", named=named, train=range(40), validation=range(100, 106))
    data = sources.pictures("huggingface", path=path, resolution_px=8)
    assert data.class_names == (("10", "8", "9") if named else ("8", "9", "10"))  # labels are what the table says
    check(data, range(40), range(100, 106))
    assert (pickle.loads(pickle.dumps(data.holdout)).read(1, 8) == data.holdout.read(1, 8)).all()
    hugging_face._tables.cache_clear()
    monkeypatch.setattr(indexing, "_write", lambda *a: pytest.fail("walked again"))
    assert sources.look("huggingface", path=path).train_images == len(data.train)


def test_a_table_without_parts_is_cut(tmp_path):
    data = sources.pictures("huggingface", path=tables(tmp_path / "data", train=range(60)), resolution_px=8, test=6)
    assert np.bincount(data.test.labels).tolist() == [2, 2, 2]


def test_tables_that_are_none_are_refused(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"a": [1, 2]}).save_to_disk(str(tmp_path / "bare"))
    with pytest.raises(DataError, match="none of its columns is of pictures .Image.; it has a$"):
        sources.look("huggingface", path=tmp_path / "bare")
    with pytest.raises(DataError, match=r"nowhere: datasets cannot read it \(.*\); dataset.download=true fetches it"):
        sources.look("huggingface", path=tmp_path / "nowhere")
    with pytest.raises(DataError, match="needs dataset.path=..., a folder or file of tables, or a name"):
        sources.look("huggingface")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DataError, match=r"needs the package datasets .*; pip install 'platform-aware-nas\[huggingface\]'"
    ):
        sources.look("huggingface", path=tmp_path / "other")


def table_of_files(path, values):
    """A table of pictures that are files of their own."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"photo": datasets.Image(), "label": datasets.ClassLabel(names=["8", "9", "10"])})
    files = [str(path.parent / f"{number:03}.png") for number in range(len(values))]
    for file, value in zip(files, values, strict=True):
        Path(file).write_bytes(grey(value))
    rows = {"photo": files, "label": [value % 3 for value in values]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)


def greys(part):
    return {int(part.read(place, 8)[0, 0, 0]) for place in range(len(part))}


def test_files_that_a_table_names_may_change(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "theirs")
    ask = {"name": "huggingface", "path": tmp_path / "all.parquet", "resolution_px": 8}
    table_of_files(ask["path"], range(60))
    before = sources.pictures(**ask)
    tested = greys(before.test)
    for number in range(60):
        (tmp_path / f"{number:03}.png").write_bytes(grey(number + 60))
    after = sources.pictures(**ask)
    check(after, set(range(60, 120)) - greys(after.test), greys(after.test))
    assert greys(after.test) == {value + 60 for value in tested}
    assert before.identity != after.identity


def test_a_row_more_moves_no_picture_to_another_part(tmp_path):
    def read(name, values):
        return sources.pictures("huggingface", path=tables(tmp_path / name, train=values), resolution_px=8)

    before, after = read("all", range(60)), read("more", [120, *range(60)])
    for part in ("train", "holdout", "test"):
        assert greys(getattr(before, part)) <= greys(getattr(after, part))
