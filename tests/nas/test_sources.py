"""Data sets: what is read, from where, and what is refused."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from nas.training import datasets, sources
from nas.training.datasets import Split, cut_holdout, make
from nas.training.sources import DataError, album, cifar10, fashion_mnist
from nas.training.sources.fashion_mnist import MINI


def test_the_embedded_data_set():
    data = sources.load("fashion_mnist_mini")
    assert data.train.images.shape[1:] == (28, 28, 1)
    assert data.classes == 10
    for split in (data.train, data.holdout, data.test):
        assert split.images.dtype == np.uint8
        assert set(split.labels.tolist()) == set(range(10))
        assert np.bincount(split.labels).min() > 0.08 * len(split)
    seen = {image.tobytes() for image in data.train.images}
    assert len(seen & {image.tobytes() for image in data.holdout.images}) == 0
    assert MINI.stat().st_size <= 8e6
    assert "MIT License" in (MINI.parent / "LICENSE-fashion-mnist").read_text()


def test_fewer_images():
    data = sources.load("fashion_mnist_mini", train_images=100, holdout=50)
    assert (len(data.train), len(data.holdout)) == (100, 50)
    shared = sources.load("fashion_mnist_mini", holdout=0.2)
    assert (len(shared.train), len(shared.holdout)) == (5000, 1250)
    with pytest.raises(DataError, match="train_images=999999: allowed are 1 to"):
        sources.load("fashion_mnist_mini", train_images=999999)
    with pytest.raises(DataError, match="holdout=999999: allowed are 1 to 6000"):
        sources.load("fashion_mnist_mini", holdout=999999)


def test_the_holdout_is_cut_from_train():
    split = Split(np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1), np.arange(50))
    train_part, holdout = cut_holdout(split, 20, rng_seed=0)
    assert sorted([*train_part.labels, *holdout.labels]) == list(range(50))
    assert (cut_holdout(split, 20, rng_seed=0)[1].labels == holdout.labels).all()
    assert (cut_holdout(split, 20, rng_seed=1)[1].labels != holdout.labels).any()
    with pytest.raises(ValueError, match="the holdout is 50 images; allowed: 1 to 49"):
        cut_holdout(split, 50, rng_seed=0)


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (value, 10, 10)).save(out, "png")
    return out.getvalue()


def write_folders(root, parts=("train", "test")):
    for part in parts:
        for value, name in ((10, "dark"), (200, "light")):
            for i in range(4):
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(value + i))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_image_folders(tmp_path, cache, monkeypatch):
    write_folders(tmp_path / "images", ("train", "val"))
    data = sources.load("image_folder", path=tmp_path / "images", resolution_px=16, holdout=2)
    assert data.train.images.shape == (6, 16, 16, 3)
    assert (data.classes, len(data.holdout), len(data.test)) == (2, 2, 8)
    assert (data.test.images[:, 0, 0, 0] > 100).tolist() == (data.test.labels == 1).tolist()
    monkeypatch.setattr(album, "decode", lambda *a, **k: pytest.fail("read again, though cached"))
    again = sources.load("image_folder", path=tmp_path / "images", resolution_px=16, holdout=2)
    assert (again.train.images == data.train.images).all()


def cifar_batch(n: int, rng) -> tuple[bytes, np.ndarray, np.ndarray]:
    labels = rng.integers(0, 10, n, dtype=np.uint8)
    images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    records = np.concatenate([labels[:, None], images.transpose(0, 3, 1, 2).reshape(n, -1)], axis=1)
    return records.tobytes(), images, labels


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10_binary(tmp_path, packed):
    rng = np.random.default_rng(0)
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    content = {name: cifar_batch(3, rng) for name in names}
    if packed:
        source = tmp_path / "cifar-10-binary.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            for name, (raw, _, _) in content.items():
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(raw)
                archive.addfile(member, io.BytesIO(raw))
    else:
        source = tmp_path
        for name, (raw, _, _) in content.items():
            (tmp_path / name).write_bytes(raw)
    pictures = cifar10.read(source)
    assert (pictures.train.images[3:6] == content["data_batch_2.bin"][1]).all()
    assert (pictures.test.labels == content["test_batch.bin"][2]).all()
    assert pictures.class_names[3] == "cat"


def test_cifar10_folders_in_an_archive(tmp_path):
    write_folders(tmp_path)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "train", "train")
        archive.add(tmp_path / "test", "test")
    from_archive = cifar10.read(tmp_path / "cifar.tar.gz")
    from_folder = cifar10.read(tmp_path)
    for a, b in ((from_archive.train, from_folder.train), (from_archive.test, from_folder.test)):
        assert (a.images == b.images).all()
        assert (a.labels == b.labels).all()
    assert from_archive.class_names == from_folder.class_names == ("dark", "light")
    with pytest.raises(DataError, match="has 8 train images; CIFAR-10 has 50,000"):
        sources.load("cifar10", path=tmp_path)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def tiny_idx_folder(folder, monkeypatch):
    rng = np.random.default_rng(0)
    files = {}
    for name in fashion_mnist.FILES:
        shape = (30, 28, 28) if "images" in name else (30,)
        raw = idx(rng.integers(0, 10, shape, dtype=np.uint8))
        packed = gzip.compress(raw)
        (folder / f"{name}.gz").write_bytes(packed)
        files[name] = fashion_mnist.Idx(shape, hashlib.sha256(raw).hexdigest(), len(packed))
    monkeypatch.setattr(fashion_mnist, "FILES", files)


def test_idx_files(tmp_path, monkeypatch):
    tiny_idx_folder(tmp_path, monkeypatch)
    data = sources.load("fashion_mnist", path=tmp_path, holdout=10)
    assert (len(data.train), len(data.holdout), len(data.test)) == (20, 10, 30)
    assert data.train.images.shape == (20, 28, 28, 1)


def test_damaged_or_missing_files(tmp_path, monkeypatch):
    def load(name, path):
        return sources.load(name, path=path, holdout=5, train_images=None)

    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz is missing; set dataset.path"):
        load("fashion_mnist", tmp_path)
    tiny_idx_folder(tmp_path, monkeypatch)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[:100])
    with pytest.raises(DataError, match="is damaged"):
        load("fashion_mnist", tmp_path)
    images.write_bytes(gzip.compress(b"\0" * 100))
    with pytest.raises(DataError, match="is not Fashion-MNIST's"):
        load("fashion_mnist", tmp_path)
    for damaged in (whole[:-8] + bytes(8), whole[:20] + bytes(20) + whole[40:]):
        images.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            load("fashion_mnist", tmp_path)
    images.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(DataError, match="holds more than the 23,536 bytes that it should"):
        load("fashion_mnist", tmp_path)
    with pytest.raises(DataError, match="needs dataset.path"):
        load("cifar10", None)
    with pytest.raises(DataError, match="there is no such file or folder"):
        load("cifar10", tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="must have train/ and test/ folders"):
        load("cifar10", empty)
    with pytest.raises(DataError, match="must have train/ and test/"):
        load("image_folder", empty)
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"\x1f\x8bnot a tar")
    with pytest.raises(DataError, match="is not a complete tar archive"):
        load("cifar10", broken)
    with pytest.raises(DataError, match="no data set 'mnist'; there are"):
        load("mnist", None)


def test_any_data_set_is_resized_on_request() -> None:
    as_it_is = sources.load("fashion_mnist_mini")
    small = sources.load("fashion_mnist_mini", resolution_px=14)
    assert small.resolution_px == 14
    assert small.test.images.shape == (len(as_it_is.test), 14, 14, 1)
    assert small.mean == pytest.approx(as_it_is.mean, abs=0.01)
    with pytest.raises(DataError, match="resolution_px=4: allowed are 8 to"):
        sources.load("fashion_mnist_mini", resolution_px=4)


# ---- a look before anything is read


def write_cifar10(folder, monkeypatch):
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(cifar_batch(20, rng)[0])
    monkeypatch.setattr(cifar10, "IMAGES", {"train": 100, "test": 20})


@pytest.mark.parametrize("name", ["fashion_mnist_mini", "fashion_mnist", "cifar10", "image_folder"])
def test_a_look_says_what_load_gives(tmp_path, monkeypatch, name):
    tiny_idx_folder(tmp_path, monkeypatch)
    write_cifar10(tmp_path, monkeypatch)
    write_folders(tmp_path / "images")
    path = {"fashion_mnist_mini": None, "image_folder": tmp_path / "images"}.get(name, tmp_path)
    for options in ({}, {"train_images": 5, "resolution_px": 20}):
        given = {"path": None if path is None else str(path), "holdout": 2, **options}
        facts, data = sources.look(name, **given), sources.load(name, **given)
        for known in ("name", "resolution_px", "channels", "classes", "class_names", "resize"):
            assert getattr(facts, known) == getattr(data, known), known
        assert set(facts.notes) <= set(data.notes)
        for split in ("train", "holdout", "test"):
            assert getattr(facts, f"{split}_images") == len(getattr(data, split))
        assert facts.classes == len(facts.class_names) == (2 if name == "image_folder" else 10)


@pytest.mark.parametrize("ask", [sources.look, sources.load])
def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path, ask):
    for name, options, message in (
        ("mnist", {}, "no data set 'mnist'; there are: fashion_mnist_mini, "),
        (["mnist"], {}, r"no data set \['mnist'\]; there are"),
        ("cifar10", {"path": 5}, "dataset.path=5: it must be a path"),
        ("fashion_mnist_mini", {"train_images": 5001}, "train_images=5001: allowed are 1 to 5000, all that"),
        ("fashion_mnist_mini", {"train_images": 0}, "train_images=0: it must be a whole number, at least 1"),
        ("fashion_mnist_mini", {"holdout": 2.5}, "dataset.holdout=2.5: it must be a share below 1, or a whole number"),
        ("fashion_mnist_mini", {"test": 0}, "dataset.test=0: it must be a share below 1, or a whole number"),
        ("fashion_mnist_mini", {"test": 0.5}, "dataset.test=0.5: fashion_mnist_mini has test images of its own; leave"),
        ("fashion_mnist_mini", {"holdout": 6001}, "holdout=6001: allowed are 1 to 6000"),
        ("fashion_mnist_mini", {"resolution_px": 224.0}, "resolution_px=224.0: it must be a whole number"),
        ("fashion_mnist_mini", {"resolution_px": (256, 128)}, r"resolution_px=\(256, 128\): it must be a whole number"),
        ("fashion_mnist_mini", {"resolution_px": 100_000}, "resolution_px=100000: allowed are 8 to 4096"),
        ("fashion_mnist", {"path": tmp_path}, "train-images-idx3-ubyte.gz is missing; set dataset.path"),
        ("cifar10", {}, "'cifar10' needs dataset.path"),
        ("cifar10", {"path": str(tmp_path / "no")}, "there is no such file or folder; dataset.download=true fetches"),
        ("image_folder", {"path": tmp_path}, "must have train/ and test/"),
        ("image_folder", {"path": tmp_path, "download": True}, "can be downloaded, image_folder cannot"),
    ):
        with pytest.raises(DataError, match=message):
            ask(name, **options)


def test_a_look_fetches_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("fetched"))
    assert sources.look("cifar10", path=tmp_path / "a", download=True).train_images == 45000
    assert sources.look("fashion_mnist", path=tmp_path / "b", download=True, holdout=1).train_images == 59999
    assert not list(tmp_path.iterdir())


def test_what_was_done_to_the_images_can_be_done_again(tmp_path):
    write_folders(tmp_path / "images")
    data = sources.load("image_folder", path=tmp_path / "images", resolution_px=16)
    assert data.class_names == ("dark", "light")
    rule = data.preprocessing
    assert (rule.mode, rule.resize, rule.filter, rule.resolution_px) == ("RGB", "shorter_side", "bicubic", 16)
    image = Image.open(tmp_path / "images" / "test" / "light" / "2.png").resize((21, 16), Image.Resampling.BICUBIC)
    assert (np.asarray(image.crop((2, 0, 18, 16))) == data.test.images[6]).all()
    assert rule.mean == pytest.approx(data.train.images.mean((0, 1, 2)) / 255)
    assert min(rule.std) == pytest.approx(1 / 255)  # two channels are constant
    assert rule.describe().startswith(
        "RGB; shorter side resized to 16 px (bicubic), middle 16 x 16 px cut out; divided"
    )
    grey = sources.load("fashion_mnist_mini", resolution_px=14).preprocessing
    assert (grey.mode, grey.resize, grey.filter) == ("L", "stretch", "bicubic")


# ---- data sets made by hand


def split(images, labels=None) -> Split:
    return Split(images, np.arange(len(images)) % 2 if labels is None else labels)


GOOD = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(8) % 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": 1}, "mine has 1 class, which any network gets right; 2 or more are needed"),
        ({"class_names": ["a"]}, "mine has 2 classes, but 1 name of classes"),
        ({"train": split(GOOD * 0)}, "all images of mine's train are the same: nothing can be learnt"),
        ({"train": split(GOOD, LABELS * 0 + 1)}, "mine's train has images of one class only, 1: 2 or more are needed"),
        ({"holdout": split(GOOD, LABELS + 1)}, "mine's holdout labels are 1 to 2; allowed are 0 to 1"),
        ({"test": split(GOOD, LABELS - 1)}, "mine's test labels are -1 to 0; allowed are 0 to 1"),
        ({"test": split(GOOD, LABELS[:5])}, r"mine's test labels are int64 of shape \(5,\); allowed are int64, \(8,\)"),
        ({"test": split(GOOD, LABELS / 2)}, r"mine's test labels are float64 of shape \(8,\)"),
        ({"train": split(GOOD / 255)}, r"mine's train images are float64 of shape \(8, 6, 6, 3\); allowed are uint8"),
        ({"holdout": split(GOOD[..., 0])}, r"mine's holdout images are uint8 of shape \(8, 6, 6\)"),
        ({"holdout": split(GOOD[:, :5])}, r"shape \(8, 5, 6, 3\); allowed are uint8, 0 to 255, \(N, H, W, C\), H = W"),
        ({"holdout": split(GOOD[:, :5, :5])}, r"images have the shape \(5, 5, 3\), the training images \(6, 6, 3\)"),
        ({"holdout": split(GOOD[:0])}, "mine's holdout images are .* nothing of size 0"),
    ],
)
def test_splits_that_do_not_go_together_are_refused(changed, message):
    parts = {part: split(GOOD) for part in ("train", "holdout", "test")}
    make("mine", classes=2, **parts)
    with pytest.raises(ValueError, match=message) as caught:
        make("mine", **{"classes": 2, **parts, **changed})
    assert "\n" not in str(caught.value)


def test_a_made_data_set_says_what_is_doubtful():
    data = make("mine", train=split(GOOD), holdout=split(GOOD, LABELS * 0), test=split(GOOD[:1]), classes=2)
    assert data.class_names == ("0", "1")
    assert data.notes == (
        "mine's holdout has no images of 1 of 2 classes: 1",
        "mine's test has no images of 1 of 2 classes: 1",
    )


def test_statistics_take_little_memory_and_are_exact(monkeypatch):
    monkeypatch.setattr(datasets, "_AT_ONCE", 250)
    mean, std = datasets.statistics(GOOD)
    assert mean == pytest.approx((GOOD / 255).mean((0, 1, 2)), rel=1e-12)
    assert std == pytest.approx((GOOD / 255).std((0, 1, 2)), rel=1e-12)


def test_a_holdout_is_cut_in_the_memory_of_the_images():
    images = np.arange(100, dtype=np.uint8).reshape(50, 1, 2, 1)
    expected = cut_holdout(Split(images.copy(), np.arange(50)), 20, rng_seed=3)
    found = cut_holdout(Split(images, np.arange(50)), 20, rng_seed=3, reuse=True)
    for a, b in zip(expected, found, strict=True):
        assert (a.images == b.images).all()
        assert (a.labels == b.labels).all()
    assert np.shares_memory(found[0].images, images)
