"""The training loop, the proxy evaluator, and data sets."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from nas.evaluators.proxy_training import ProxyTraining
from nas.training import sources
from nas.training.datasets import Split, cut_holdout, make
from nas.training.recipe import Recipe
from nas.training.sources import DataError
from nas.training.train import _shift_and_flip, batches, new_net, normalise, schedule, top1
from search_spaces import zoo

RECIPE = Recipe(epochs=12, batch=16, crop_px=1)


@pytest.fixture
def evaluator(stripes):
    return ProxyTraining(data=stripes, recipe=RECIPE)


SMALL = zoo.get("mobilenet_v3_small", width=0.35)


def test_training_learns_and_is_deterministic(evaluator):
    a, b = (evaluator.evaluate(SMALL, rng_seed=0) for _ in range(2))
    assert a.status == "ok"
    assert a.top1 == b.top1
    assert a.top1 > 0.6  # one third by chance


def test_another_seed_is_another_training(evaluator, stripes):
    nets = [new_net(evaluator.small(SMALL), rng_seed=seed) for seed in (0, 1)]
    assert any((p != q).any() for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_a_training_begins_with_given_weights(evaluator, stripes):
    net, holdout_top1, test_top1 = evaluator.train_fully(SMALL, epochs=12, threads=1, rng_seed=0)
    assert holdout_top1 > 0.6  # one third by chance
    still = ProxyTraining(data=stripes, recipe=Recipe(epochs=1, batch=16, lr=1e-12, weight_decay=0.0))
    assert still.evaluate(SMALL, rng_seed=1, state=net.state_dict()).top1 == pytest.approx(holdout_top1, abs=0.1)
    again = still.train_fully(SMALL, epochs=1, threads=1, rng_seed=1, state=net.state_dict())[2]
    assert again == pytest.approx(test_top1, abs=0.1)
    assert still.evaluate(SMALL, rng_seed=1).top1 < 0.5


def test_divergence_is_a_result(stripes):
    evaluator = ProxyTraining(data=stripes, recipe=Recipe(epochs=2, batch=16, lr=1e12))
    evaluation = evaluator.evaluate(SMALL, rng_seed=0)
    assert (evaluation.status, evaluation.top1) == ("diverged", 0.0)
    with pytest.raises(ValueError, match="the final training diverged"):
        evaluator.train_fully(SMALL, epochs=1, threads=1, rng_seed=0)


def test_the_search_never_sees_the_test_images(stripes):
    """The same answer with other test images: nothing depends on them."""
    other = make(
        "x",
        train=stripes.train,
        holdout=stripes.holdout,
        test=Split(255 - stripes.test.images, stripes.test.labels[::-1].copy()),
        classes=3,
    )
    a, b = (ProxyTraining(data=data, recipe=RECIPE).evaluate(SMALL, rng_seed=0).top1 for data in (stripes, other))
    assert a == b


def test_the_global_random_state_is_left_alone(evaluator):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    evaluator.evaluate(SMALL, rng_seed=3)
    assert (torch.get_rng_state() == before).all()


def test_top1_counts_correct_answers(stripes):
    class Cheat(torch.nn.Module):
        def forward(self, x):
            brightness = x.mean((1, 2, 3))
            thresholds = torch.quantile(brightness, torch.tensor([1 / 3, 2 / 3]))
            return torch.nn.functional.one_hot(torch.bucketize(brightness, thresholds), 3).float()

    images = np.sort(stripes.holdout.images, axis=0)
    labels = np.repeat(np.arange(3), 20)
    split = Split(np.repeat(np.array([0, 100, 200], np.uint8), 20)[:, None, None, None] + images * 0, labels)
    assert top1(Cheat(), split, stripes) == 1.0
    wrong = Split(split.images, np.roll(labels, 20))
    assert top1(Cheat(), wrong, stripes) == 0.0


def test_an_epoch_shows_each_image_once(stripes):
    rng = np.random.default_rng(0)
    marked = Split(np.zeros((96, 4, 4, 1), np.uint8), np.arange(96))
    seen = [int(y) for _, ys in batches(marked, stripes, RECIPE, rng=rng, device="cpu") for y in ys]
    assert sorted(seen) == list(range(96))


def test_batches_are_channels_last_and_normalised(stripes):
    rng = np.random.default_rng(0)
    x = torch.cat([x for x, _ in batches(stripes.train, stripes, Recipe(epochs=1, crop_px=0), rng=rng, device="cpu")])
    assert x.mean().abs() < 0.1
    assert x.std() == pytest.approx(1, abs=0.1)
    colour = make("c", train=rgb(8), holdout=rgb(4), test=rgb(4), classes=2)
    y = normalise(torch.from_numpy(colour.train.images), colour, "cpu")
    assert y.shape == (8, 3, 6, 6)
    assert y.is_contiguous(memory_format=torch.channels_last)


def rgb(n: int) -> Split:
    rng = np.random.default_rng(n)
    return Split(rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8), rng.integers(0, 2, n))


def test_augmentation_shifts_and_mirrors_whole_images():
    image = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1)
    padded = np.pad(image[0, :, :, 0], 2)
    crops = {padded[r : r + 5, c : c + 5].tobytes() for r in range(5) for c in range(5)}
    crops |= {padded[r : r + 5, c : c + 5][:, ::-1].tobytes() for r in range(5) for c in range(5)}
    rng = np.random.default_rng(0)
    seen = {_shift_and_flip(image, 2, True, rng)[0, :, :, 0].tobytes() for _ in range(600)}
    assert seen <= crops
    assert len(seen) > 45  # of 50
    assert (_shift_and_flip(image, 0, False, rng) == image).all()


def test_the_schedule_warms_up_and_ends_near_zero():
    lr = [schedule(step, 10, 100) for step in range(100)]
    assert lr[:10] == sorted(lr[:10])
    assert max(lr) == pytest.approx(1)
    assert lr[10:] == sorted(lr[10:], reverse=True)
    assert lr[-1] < 0.001


# ---- data sets


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
    assert sources.MINI.stat().st_size <= 8e6
    assert "MIT License" in (sources.MINI.parent / "LICENSE-fashion-mnist").read_text()


def test_fewer_images():
    data = sources.load("fashion_mnist_mini", train_images=100, holdout_images=50)
    assert (len(data.train), len(data.holdout)) == (100, 50)
    with pytest.raises(DataError, match="train_images=999999: allowed are 1 to"):
        sources.load("fashion_mnist_mini", train_images=999999)
    with pytest.raises(DataError, match="holdout_images is 999999"):
        sources.load("fashion_mnist_mini", holdout_images=999999)


def test_the_holdout_is_cut_from_train():
    split = Split(np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1), np.arange(50))
    train_part, holdout = cut_holdout(split, 20, rng_seed=0)
    assert sorted([*train_part.labels, *holdout.labels]) == list(range(50))
    assert (cut_holdout(split, 20, rng_seed=0)[1].labels == holdout.labels).all()
    with pytest.raises(ValueError, match="holdout is 50 images; allowed: 1 to 49"):
        cut_holdout(split, 50, rng_seed=0)


def jpeg(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (value, 10, 10)).save(out, "png")
    return out.getvalue()


def write_folders(root, parts=("train", "test")):
    for part in parts:
        for value, name in ((10, "dark"), (200, "light")):
            for i in range(4):
                path = root / part / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(value + i))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_image_folders(tmp_path, cache, monkeypatch):
    write_folders(tmp_path / "images", ("train", "val"))
    data = sources.load("image_folder", path=tmp_path / "images", resolution_px=16, holdout_images=2)
    assert data.train.images.shape == (6, 16, 16, 3)
    assert (data.classes, len(data.holdout), len(data.test)) == (2, 2, 8)
    assert (data.test.images[:, 0, 0, 0] > 100).tolist() == (data.test.labels == 1).tolist()
    monkeypatch.setattr(sources, "_decode_all", lambda *a: pytest.fail("read again, though cached"))
    again = sources.load("image_folder", path=tmp_path / "images", resolution_px=16, holdout_images=2)
    assert (again.train.images == data.train.images).all()


def test_a_damaged_cache_is_read_anew(tmp_path, cache):
    write_folders(tmp_path / "images")
    data = sources.load("image_folder", path=tmp_path / "images", resolution_px=16)
    (cached,) = cache.rglob("*.npz")
    cached.write_bytes(b"PK\x03\x04garbage")
    again = sources.load("image_folder", path=tmp_path / "images", resolution_px=16)
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
    splits = sources._read_cifar10(source)
    assert (splits["train"].images[3:6] == content["data_batch_2.bin"][1]).all()
    assert (splits["test"].labels == content["test_batch.bin"][2]).all()


def test_cifar10_folders_in_an_archive(tmp_path):
    write_folders(tmp_path)
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "train", "train")
        archive.add(tmp_path / "test", "test")
    from_archive = sources._read_cifar10(tmp_path / "cifar.tar.gz")
    from_folder = sources._read_cifar10(tmp_path)
    for part in ("train", "test"):
        assert (from_archive[part].images == from_folder[part].images).all()
        assert (from_archive[part].labels == from_folder[part].labels).all()
    with pytest.raises(DataError, match="has 8 train images; CIFAR-10 has 50000"):
        sources.cifar10(tmp_path)


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def tiny_idx_folder(folder, monkeypatch):
    rng = np.random.default_rng(0)
    sums = {}
    for name in sources.FASHION_MNIST_SHA256:
        shape = (30, 28, 28) if "images" in name else (30,)
        raw = idx(rng.integers(0, 10, shape, dtype=np.uint8))
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
        sums[name] = hashlib.sha256(raw).hexdigest()
    monkeypatch.setattr(sources, "FASHION_MNIST_SHA256", sums)


def test_idx_files(tmp_path, monkeypatch):
    tiny_idx_folder(tmp_path, monkeypatch)
    data = sources.load("fashion_mnist", path=tmp_path, holdout_images=10)
    assert (len(data.train), len(data.holdout), len(data.test)) == (20, 10, 30)
    assert data.train.images.shape == (20, 28, 28, 1)


def test_damaged_or_missing_files(tmp_path, monkeypatch):
    def load(name, path):
        return sources.load(name, path=path, holdout_images=5, train_images=None)

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
    write_folders(tmp_path / "images")
    (tmp_path / "images" / "train" / "dark" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png is not a readable image"):
        load("image_folder", tmp_path / "images")
    with pytest.raises(DataError, match="no data set 'mnist'; there are"):
        load("mnist", None)


def test_a_download_is_checked(tmp_path, monkeypatch):
    tiny_idx_folder(tmp_path, monkeypatch)
    served = {f"{name}.gz": (tmp_path / f"{name}.gz").read_bytes() for name in sources.FASHION_MNIST_SHA256}
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(served[url.rsplit("/", 1)[1]]))
    folder = tmp_path / "fetched"
    assert len(sources.fashion_mnist(folder, holdout_images=5, download=True).train) == 25
    served["train-labels-idx1-ubyte.gz"] = gzip.compress(b"something else")
    with pytest.raises(DataError, match="gave another file than Fashion-MNIST's"):
        sources.fashion_mnist(tmp_path / "again", holdout_images=5, download=True)

    archive = b"the archive"
    served["cifar-10-binary.tar.gz"] = archive
    with pytest.raises(DataError, match="gave another file than CIFAR-10's"):
        sources.load("cifar10", path=tmp_path / "cifar", download=True)
    assert not any((tmp_path / "cifar").iterdir())
    (tmp_path / "cifar" / "cifar-10-binary.tar.gz.partial").write_bytes(b"cut off before")
    monkeypatch.setattr(sources, "CIFAR10_MD5", hashlib.md5(archive).hexdigest())
    with pytest.raises(DataError, match="is not a complete tar archive"):
        sources.load("cifar10", path=tmp_path / "cifar", download=True)
    assert (tmp_path / "cifar" / "cifar-10-binary.tar.gz").read_bytes() == archive
    with pytest.raises(DataError, match="fashion_mnist and cifar10 can be downloaded, image_folder cannot"):
        sources.load("image_folder", path=tmp_path, download=True)

    def offline(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(DataError, match="could not be fetched .* by hand"):
        sources.fashion_mnist(tmp_path / "third", holdout_images=5, download=True)


def test_any_data_set_is_resized_on_request() -> None:
    as_it_is = sources.load("fashion_mnist_mini")
    small = sources.load("fashion_mnist_mini", resolution_px=14)
    assert small.resolution_px == 14
    assert small.test.images.shape == (len(as_it_is.test), 14, 14, 1)
    assert small.mean == pytest.approx(as_it_is.mean, abs=0.01)
    with pytest.raises(sources.DataError, match="8 or more"):
        sources.load("fashion_mnist_mini", resolution_px=4)
