"""One's own pictures: how they are found in folders, decoded, kept, and refused."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from nas.training import sources
from nas.training.sources import DataError, album, cache, images, indexing
from nas.training.sources.folders import scan
from nas.training.sources.images import decode

RED, BLUE = (250, 10, 10), (10, 10, 250)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    return tmp_path / "kept" / "platform-aware-nas"


def halves(size=(40, 20)) -> Image.Image:
    """Left red, right blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image


def saved(path: Path, image: Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def write_classes(root: Path, names=("blue", "red"), parts=("train", "test"), images=4) -> Path:
    for part in parts:
        for label, name in enumerate(names):
            for i in range(images):
                saved(root / part / name / f"{i}.png", Image.new("RGB", (20, 20), (60 * label, i, 100)))
    return root


def load(root: Path, **options):
    return sources.load("image_folder", path=root, resolution_px=8, **options)


def near(image: np.ndarray, colour, tolerance=12) -> bool:
    return bool((np.abs(image.astype(int) - np.array(colour)) <= tolerance).all())


# ---- one picture


def test_a_picture_is_turned_as_its_exif_data_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it: left becomes top
    image = decode(saved(tmp_path / "a.jpg", halves((64, 64)), exif=exif, quality=95, subsampling=0), "a", 16)
    assert near(image[:6], RED)
    assert near(image[10:], BLUE)


@pytest.mark.parametrize(
    ("mode", "values", "grey"),
    [
        ("uint16", (0, 32896, 65535), (0, 128, 255)),
        ("int32", (0, 32896, 65535), (0, 128, 255)),
        ("float32", (0.0, 0.5, 1.0), (0, 128, 255)),
    ],
)
def test_grey_of_more_bits_is_scaled_to_eight(tmp_path, mode, values, grey):
    for value, expected in zip(values, grey, strict=True):
        image = Image.fromarray(np.full((9, 9), value, mode))
        assert near(decode(saved(tmp_path / "a.tiff", image), "a", 8), [expected] * 3, tolerance=0)


@pytest.mark.parametrize(("mode", "value"), [("int32", 70000), ("int32", -1), ("float32", 200.0), ("float32", np.nan)])
def test_what_does_not_say_what_is_white_is_refused(tmp_path, mode, value):
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.full((9, 9), value, mode)))
    with pytest.raises(DataError, match=r"a\.tiff is not a readable image \(its values are .* convert it to 8 bits"):
        decode(path, str(path), 8)


def test_what_is_transparent_shows_white(tmp_path):
    clear, half = (np.full((10, 10, 4), [0, 0, 0, alpha], np.uint8) for alpha in (0, 128))
    palette = Image.new("P", (10, 10), 1)
    palette.putpalette([0, 0, 0, *RED])
    for image, options, expected in (
        (Image.fromarray(clear), {}, (255,) * 3),
        (Image.fromarray(half), {}, (127,) * 3),
        (Image.fromarray(clear[..., 2:]), {}, (255,) * 3),
        (palette, {}, RED),
        (palette, {"transparency": 1}, (255,) * 3),
        (Image.new("RGB", (10, 10), RED), {"transparency": RED}, (255,) * 3),
    ):
        assert near(decode(saved(tmp_path / "a.png", image, **options), "a", 8), expected, tolerance=1)


@pytest.mark.parametrize(
    "suffix", ["jpg", "JPEG", "jfif", "png", "bmp", "webp", "tif", "TIFF", "gif", "avif", "jp2", "ppm", "tga", "qoi"]
)
def test_many_formats_are_read_whatever_the_case_of_their_suffix(tmp_path, suffix):
    needed = {"webp": "webp", "avif": "avif", "jp2": "jpg_2000"}.get(suffix)  # the others are part of every Pillow
    if needed and not features.check(needed):
        pytest.skip(f"this Pillow was built without {needed}")
    assert images.is_picture(f"a.{suffix}")
    path = saved(tmp_path / f"a.{suffix}", halves())
    image = decode(path, "a", 16)
    assert near(image[:, :6], RED, 40)
    assert near(image[:, 10:], BLUE, 40)


def test_phones_pictures_are_read_where_a_reader_is_installed(tmp_path, monkeypatch):
    root = write_classes(tmp_path / "images")
    (root / "train" / "red" / "a.heic").write_bytes(b"")
    for cached in (images._formats, images._suffixes):
        cached.cache_clear()
        monkeypatch.setattr(images, cached.__name__, cached.__wrapped__)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pillow_heif", None)
        (note,) = sources.look("image_folder", path=root).notes
        assert note.endswith("left out 1 file of kinds that are not read as images (1 .heic; pillow-heif reads .heic)")
    pytest.importorskip("pillow_heif").register_heif_opener()
    image = decode(saved(root / "train" / "red" / "a.heic", halves()), "a", 16)
    assert near(image[:, :6], RED, 40)
    assert near(image[:, 10:], BLUE, 40)
    assert sources.look("image_folder", path=root).notes == ()


def test_a_very_long_picture_takes_no_more_memory_than_a_square(tmp_path, monkeypatch):
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, **k: sizes.append(size) or resize(self, size, **k))
    for shape in ((150_000, 1), (1, 150_000), (150_000, 2)):
        assert near(decode(saved(tmp_path / "a.png", Image.new("RGB", shape, RED)), "a", 32), RED, tolerance=0)
    assert sizes == [(32, 32)] * 3


@pytest.mark.parametrize("shape", [(40, 30), (30, 40), (17, 16), (16, 200), (7, 9), (301, 7), (16, 16)])
def test_the_middle_is_cut_out_of_the_resized_picture(tmp_path, shape):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape[::-1], 3), dtype=np.uint8))
    scale = 16 / min(shape)
    whole = picture.resize((max(16, round(shape[0] * scale)), max(16, round(shape[1] * scale))))
    left, top = ((side - 16) // 2 for side in whole.size)
    expected = np.asarray(whole.crop((left, top, left + 16, top + 16))).astype(int)
    assert near(decode(saved(tmp_path / "a.png", picture), "a", 16), expected, tolerance=1)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is so large; its pixels are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_hostile_files_are_refused_by_name(tmp_path, monkeypatch):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(whole, "jpeg")
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
    for content, message in (
        (png_of_size(20_000, 20_000), "400,000,000 pixels are more than the 134,217,728 that are read"),
        (png_of_size(12_000, 12_000), "(12000 x 12000|144,000,000) pixels are more than the 134,217,728 that are read"),
        (png_of_size(100, 100), "truncated|broken"),
        (whole.getvalue()[:-300], "truncated"),
        (b"", "unknown format|cannot identify"),
        (script, "unknown format|cannot identify"),  # would start another program
    ):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=rf"^\S+a\.png is not a readable image \(.*({message}).*\)$"):
            decode(tmp_path / "a.png", str(tmp_path / "a.png"), 8)
    monkeypatch.setattr(images, "_MOST_BYTES", 2**20)
    (tmp_path / "a.png").write_bytes(bytes(2**20 + 1))
    with pytest.raises(DataError, match="is larger than 1 MiB, the most that is read of one image"):
        decode(tmp_path / "a.png", "a", 8)


# ---- folders


def test_only_folders_of_pictures_are_classes_and_what_is_left_out_is_said(tmp_path):
    root = write_classes(tmp_path / "images")
    train = root / "train"
    saved(train / "red" / "more" / "deep" / "9.TIF", Image.new("RGB", (9, 9), RED))
    for name in (".ipynb_checkpoints/a.png", "red/.thumbs/a.png", "red/._1.png"):
        saved(train / name, Image.new("RGB", (9, 9)), format="png")
    (train / "empty").mkdir()
    (train / "notes").mkdir()
    for name in ("red/a.mp4", "red/b.MP4", "notes/a.txt", "labels.csv", "red/README"):
        (train / name).write_bytes(b"x")
    (train / "red" / "gone.png").symlink_to(train / "nowhere.png")
    (train / "blue" / "ring").symlink_to(train)
    data = load(root, holdout=5)
    assert data.class_names == ("blue", "red")
    assert len(data.train) + len(data.holdout) == 9
    assert sources.look("image_folder", path=root).notes == data.notes[:1]
    assert data.notes[:1] == (
        f"{train}: left out 4 files of kinds that are not read as images (2 .mp4, 1 .txt, 1 without a suffix), "
        "1 broken link, 1 file outside the class folders, 3 hidden names, 1 linked folder, "
        "2 folders without images (empty, notes)",
    )


def test_a_folder_with_nothing_to_read_says_what_it_has(tmp_path):
    root = write_classes(tmp_path / "images")
    for path in (root / "train").rglob("*.png"):
        path.rename(path.with_suffix(".mp4"))
    message = r"train has no images in folders of classes, but 8 files of kinds that are not read as images \(8 .mp4\)"
    for ask in (sources.look, sources.load):
        with pytest.raises(DataError, match=message):
            ask("image_folder", path=root)


def test_data_that_cannot_tell_networks_apart_is_refused_or_noted(tmp_path):
    one = write_classes(tmp_path / "one", names=("red",))
    alike = write_classes(tmp_path / "alike", images=2)
    for path in alike.rglob("*.png"):
        saved(path, Image.new("RGB", (20, 20)))
    extra = write_classes(tmp_path / "extra")
    (extra / "train" / "red").rename(extra / "elsewhere")
    for ask in (sources.look, sources.load):
        with pytest.raises(DataError, match="image_folder has one class only, red: any network gets it right"):
            ask("image_folder", path=one)
        with pytest.raises(DataError, match="test has the class 'red', which .*train lacks"):
            ask("image_folder", path=extra)
        with pytest.raises(DataError, match="holdout=9: allowed are 1 to 6, since image_folder has 8 training"):
            ask("image_folder", path=write_classes(tmp_path / "few"), holdout=9)
    with pytest.raises(ValueError, match="all images of image_folder's train are the same"):
        load(alike)
    lacking = write_classes(tmp_path / "lacking", names=("blue", "green", "red"))
    (lacking / "test" / "green").rename(lacking / "elsewhere")
    note = "image_folder's test has no images of 1 of 3 classes: green"
    assert sources.look("image_folder", path=lacking).notes == (note,)
    assert note in load(lacking).notes


# ---- the cache


def test_what_was_decoded_is_kept_until_a_file_changes(tmp_path, kept, monkeypatch):
    root = write_classes(tmp_path / "images", images=6)
    first = load(root)
    with monkeypatch.context() as patched:
        patched.setattr(album, "decode", lambda *a, **k: pytest.fail("read again, though kept"))
        patched.setattr(indexing, "look_at", lambda *a, **k: pytest.fail("opened again, though known"))
        again = load(root)
        assert (again.train.images == first.train.images).all()
        assert (again.class_names, again.mean) == (first.class_names, first.mean)
    path = root / "test" / "red" / "0.png"
    size, folder_time = path.stat().st_size, path.parent.stat().st_mtime_ns
    before = path.stat().st_mtime_ns
    saved(path, Image.new("RGB", (20, 20), (61, 0, 100)))  # overwritten in place: the folder's time stays
    os.utime(path, ns=(before + 1, before + 1))
    assert (path.stat().st_size, path.parent.stat().st_mtime_ns) == (size, folder_time)
    assert load(root).test.images[6, 0, 0, 0] == 61
    path.unlink()
    opened, look_at = [], indexing.look_at
    monkeypatch.setattr(indexing, "look_at", lambda *a, **k: opened.append(a) or look_at(*a, **k))
    assert len(load(root).test) == 11
    saved(root / "test" / "blue" / "+.png", Image.new("RGB", (20, 20), (62, 0, 100)))
    assert load(root).test.images[0, 0, 0, 0] == 62
    assert len(opened) == 1  # those that only moved in the index are known
    assert len(list(kept.glob("*/*"))) == 1 + 3 + 3  # the index, and for each part its places and squares: replaced


def test_a_damaged_cache_is_read_anew_and_replaced(tmp_path, kept):
    root = write_classes(tmp_path / "images")
    data = load(root)
    packed = io.BytesIO()
    np.savez_compressed(packed, identity=np.zeros(2**20, np.uint8))  # a bomb, if a small one
    for file in kept.glob("*/*"):
        whole = file.read_bytes()
        promised = whole.replace(b"'shape': (", b"'shape': (9")
        for damaged in (b"", b"PK\x03\x04garbage", whole[: len(whole) // 2], packed.getvalue(), promised):
            file.unlink()  # what is mapped of it stays
            file.write_bytes(damaged)
            assert (load(root).train.images == data.train.images).all()
            assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, kept):
    kept.parent.write_text("a file where the folder should be")
    assert len(load(write_classes(tmp_path / "images")).test) == 8


def test_where_the_cache_is(tmp_path, monkeypatch):
    assert cache.cache_dir() == tmp_path / "kept" / "platform-aware-nas"
    checkout = Path(__file__).parents[2]
    for unset in (None, "", "relative"):
        monkeypatch.delenv("XDG_CACHE_HOME") if unset is None else monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache.cache_dir() == checkout / ".cache" / "platform-aware-nas"
    monkeypatch.setattr(cache, "_CHECKOUT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_dir() == tmp_path / "home" / ".cache" / "platform-aware-nas"


def test_class_folders_may_be_links(tmp_path):
    root = write_classes(tmp_path / "images")
    (root / "train" / "red").rename(tmp_path / "elsewhere")
    (root / "train" / "red").symlink_to(tmp_path / "elsewhere")
    assert scan(root / "train").images == 8
