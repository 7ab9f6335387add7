"""Pictures that cannot be read, and what cannot be kept: said in one line, and nothing is lost."""

import errno
import io
import os
import pickle
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from nas.options import Data
from nas.training import sources
from nas.training.sources import DataError, albums, images, kept


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
    return tmp_path / "kept" / "platform-aware-nas"


@pytest.fixture
def photos(tmp_path):
    """Three classes of 12 photographs."""
    rng = np.random.default_rng(0)
    for name in ("cup", "hat", "pen"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            picture = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            picture.save(tmp_path / "photos" / name / f"{i}.jpg", quality=90)
    return tmp_path / "photos"


def names(data) -> set[str]:
    parts = (data.train, data.holdout, data.test)
    return {Path(part.name(place)).name for part in parts for place in range(len(part)) if "/cup/" in part.name(place)}


ASK = {
    "look": lambda path: sources.look("image_folder", path=path, resolution_px=8),
    "load": lambda path: sources.load("image_folder", path=path, resolution_px=8),
    "pictures": lambda path: sources.pictures("image_folder", path=path, resolution_px=8),
}


def large_png() -> bytes:
    """Says that it is so large; its pixels are not there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def cut_off() -> bytes:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(whole, "jpeg")
    return whole.getvalue()[:-300]


def damaged_png() -> bytes:
    """Its end is where it should be."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)).save(out, "png")
    damaged = bytearray(out.getvalue())
    damaged[2000:2100] = bytes(100)
    return bytes(damaged)


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cannot identify|unknown format"),
        (b"<html>not found</html>", "cannot identify|unknown format"),
        (cut_off(), "truncated"),
        (large_png(), "(12000 x 12000|144,000,000) pixels are more than the 134,217,728 that are read"),
    ],
)
def test_a_few_that_cannot_be_read_are_left_out_and_named(photos, ask, content, reason):
    (photos / "cup" / "3.jpg").write_bytes(content)
    for _ in range(2):  # also when it is known
        (note,) = ask(photos).notes
        assert re.fullmatch(
            rf"{photos}: left out 1 of 36 images, which cannot be read: {photos}/cup/3.jpg is not a readable image "
            rf"\(.*({reason}).*\)",
            note,
        )
    data = sources.pictures("image_folder", path=photos, resolution_px=8)
    assert names(data) == {f"{i}.jpg" for i in range(12) if i != 3}
    Image.new("RGB", (20, 20)).save(photos / "cup" / "3.jpg")
    assert "3.jpg" in names(sources.pictures("image_folder", path=photos, resolution_px=8))


def test_a_file_written_again_is_looked_into_again(photos):
    path = photos / "cup" / "3.jpg"
    assert sources.look("image_folder", path=photos).notes == ()
    before = path.stat()
    path.write_bytes(bytes(before.st_size))  # as large as before
    os.utime(path, ns=(before.st_mtime_ns + 1, before.st_mtime_ns + 1))
    assert "cup/3.jpg is not a readable image" in sources.look("image_folder", path=photos).notes[0]


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_many_that_cannot_be_read_are_an_error(photos, ask):
    for i in range(3):
        (photos / "cup" / f"{i}.jpg").write_bytes(b"")
    assert "left out 3 of 36 images, which cannot be read: " in ask(photos).notes[0]
    assert ask(photos).notes[0].endswith(f"; nor are 2 more: {photos}/cup/1.jpg, {photos}/cup/2.jpg")
    (photos / "pen" / "0.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="4 of 36 images cannot be read, more than 1 in 20: .*/cup/0.jpg is not a read"):
        ask(photos)


@pytest.mark.parametrize("ask", [ASK["load"], ASK["pictures"]])
def test_what_is_wrong_amid_a_file_is_left_out_when_it_is_decoded(photos, ask):
    (photos / "cup" / "3.png").write_bytes(damaged_png())
    assert sources.look("image_folder", path=photos).notes == ()
    data = ask(photos)
    (note,) = data.notes
    assert re.match(
        rf"{photos}: left out 1 of 37 images, which cannot be read: {photos}/cup/3.png is not a readable", note
    )
    assert len(data.train) + len(data.holdout) + len(data.test) == 36
    facts = sources.look("image_folder", path=photos)
    assert (facts.train_images, facts.notes) == (len(data.train), data.notes)


def test_what_cannot_be_decoded_is_left_out_elsewhere_too(photos, cache, monkeypatch):
    (photos / "cup" / "3.png").write_bytes(damaged_png())
    data = sources.pictures("image_folder", path=photos, resolution_px=8)
    sent = pickle.dumps(data)
    for file in cache.glob("*/*"):  # as on another machine
        file.unlink()
    again = pickle.loads(sent)
    assert names(again) == names(data) == {f"{i}.jpg" for i in range(12)}
    assert (again.train.read(0, 8) == data.train.read(0, 8)).all()
    assert sources.look("image_folder", path=photos).notes == data.notes


@pytest.mark.parametrize("what", ["removed", "damaged"])
def test_a_picture_that_turns_unreadable_in_the_middle_is_named(photos, monkeypatch, what):
    data = sources.pictures("image_folder", path=photos, resolution_px=8)
    path = Path(data.train.name(0))
    path.unlink() if what == "removed" else path.write_bytes(b"\xff\xd8garbage")
    for read in (lambda: data.train.read(0, 20), lambda: data.train.square(0, data.preprocessing)):
        with pytest.raises(DataError, match=rf"^{path} is not a readable image \(.*\)$"):
            read()
    assert data.train.read(0, 8).shape == (24, 32, 3) or data.train.read(0, 8).min() >= 0  # it is kept


def test_where_nothing_can_be_kept_pictures_are_decoded_as_they_are_needed(photos, monkeypatch, cache):
    monkeypatch.setattr(kept, "free_bytes", lambda folder: 0)
    data = sources.load("image_folder", path=photos, resolution_px=8)
    assert len(list(cache.glob("*/*"))) == 1  # the index was written when there was room
    monkeypatch.setattr(kept, "_IN_MEMORY", 100)
    with pytest.raises(
        DataError, match="has no room for 0.0 GB of decoded images; set XDG_CACHE_HOME to a folder that"
    ):
        sources.load("image_folder", path=photos, resolution_px=8)
    assert (data.train.images[0] > 0).any()


def test_a_full_disk_while_pictures_are_kept_leaves_nothing_half_written(photos, monkeypatch, cache):
    whole = sources.pictures("image_folder", path=photos, resolution_px=8)
    for file in (*cache.glob("*/*.pixels"), *cache.glob("*/*squares*")):
        file.unlink()
    written = set(cache.glob("*/*"))

    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a, **k: Full(self, "w") if ".pixels" in self.name else real(self, *a, **k)
    )
    data = sources.pictures("image_folder", path=photos, resolution_px=8)
    (note,) = data.notes
    assert note == f"pictures are decoded each time that they are needed: {next(cache.iterdir())} has no room for them"
    assert set(cache.glob("*/*")) == written
    assert (data.train.read(0, 8) == whole.train.read(0, 8)).all()


def test_what_is_kept_is_said_with_its_size_and_place(photos, monkeypatch, cache):
    def ask(resolution_px=8, **options):
        return sources.pictures("image_folder", path=photos, resolution_px=resolution_px, **options)

    data = ask()
    (folder,) = cache.iterdir()
    size = sum(file.stat().st_size for file in (*folder.glob("*.pixels"), *folder.glob("*squares*")))
    assert data.kept == f"decoded pictures take {size / 1e6:.1f} MB in {folder}, which can be removed"
    assert data.notes == ()
    console = Console(record=True, width=500, file=io.StringIO())
    Data.of_run({"name": "image_folder", "path": str(photos), "resolution_px": 8, "download": False}).pictures(
        console, ASK["look"](photos)
    )
    assert console.export_text() == f"{data.kept}\n"
    monkeypatch.setattr(kept, "free_bytes", lambda folder: 10)
    monkeypatch.setattr(albums, "free_bytes", lambda folder: 10)  # the disk fills
    assert ask().notes == ()
    other = ask(crop=0.5)  # whose squares are others
    assert other.notes == (
        "pictures of the holdout and the test are decoded each time that they are needed: 0.0 MB are too much to keep",
    )
    assert other.kept
    monkeypatch.setattr(albums, "_MOST_KEPT", 10)
    assert not ask(resolution_px=9).kept


def test_what_is_interrupted_starts_over(photos, monkeypatch, cache):
    count = []

    def decode(*args, **options):
        count.append(args)
        if len(count) == 20:
            raise KeyboardInterrupt
        return images.shrunk(*args, **options)

    sources.look("image_folder", path=photos)
    with monkeypatch.context() as patched:
        patched.setattr("nas.training.sources.album.shrunk", decode)
        with pytest.raises(KeyboardInterrupt):
            sources.pictures("image_folder", path=photos, resolution_px=8)
    assert not [path for path in cache.glob("*/*") if "partial" in path.name or "pixels" in path.name]
    killed = next(cache.iterdir()) / "train-8px-0123456789abcdef.pixels.999999999.partial"  # its process is no more
    killed.write_bytes(b"half")
    assert sources.pictures("image_folder", path=photos, resolution_px=8).notes == ()
    assert [path for path in cache.glob("*/*") if "pixels" in path.name] == list(cache.glob("*/*.pixels"))
