"""Archives that hold too much, and downloads that are not what they should be."""

import contextlib
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import numpy as np
import pytest
from PIL import Image

from nas.training import sources
from nas.training.sources import DataError, archives, cifar10, fashion_mnist
from nas.training.sources.archives import ArchiveError, read_gzip, read_npz, tar_files


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


def write_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_files_of_an_archive(tmp_path, mode):
    link = member("link", kind=tarfile.SYMTYPE)
    link.linkname = "/etc/passwd"
    members = [(member("a/b", 3), b"abc"), (member("../../out", 600), bytes(600)), (link, b""), (member("empty"), b"")]
    path = write_tar(tmp_path / "a.tar", members, mode)
    assert list(tar_files(path)) == [("a/b", b"abc"), ("../../out", bytes(600)), ("empty", b"")]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_archives_that_hold_too_much_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_MEMBER_BYTES", 2**16)
    monkeypatch.setattr(archives, "_MOST_BYTES", 2**20)
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 50)
    path = tmp_path / "a.tar.gz"

    def refused(message):
        with pytest.raises(ArchiveError, match=message):
            list(tar_files(path))

    path.write_bytes(gzip.compress(member("big", 10 * 2**30).tobuf() + bytes(512)))
    refused("big is larger than 0 MiB, the most that is read")
    write_tar(path, [(member(f"{i}", 2**16), bytes(2**16)) for i in range(20)])
    refused("holds more than 0 GiB, the most that is read")
    write_tar(path, [(member(f"{i}"), b"") for i in range(60)])
    refused("has more than 50 files")
    path.write_bytes(gzip.compress(member("name", 2**20, tarfile.GNUTYPE_LONGNAME).tobuf() + bytes(2**20)))
    refused("has a header that is too large")
    path.write_bytes(gzip.compress(bytes(2**22)))
    assert list(tar_files(path)) == []
    for damaged in (
        b"\x1f\x8bnot a tar",
        b"",
        b"text " * 200,
        write_tar(path, [(member("a", 9), b"9" * 9)]).read_bytes()[:60],
    ):
        path.write_bytes(damaged)
        refused("is not a complete tar archive .*; fetch it again")


def test_pictures_in_an_archive_are_bounded_too(tmp_path):
    content = io.BytesIO()
    Image.new("RGB", (9, 9)).save(content, "png")
    good = content.getvalue()
    names = ("train/a/1.png", "train/a/._1.png", "test/a/1.png", "test/b/1.png")
    path = write_tar(tmp_path / "a.tar", [(member(name, len(good)), good) for name in names])
    with pytest.raises(DataError, match=r"a\.tar: test/ has the class 'b', which train/ lacks"):
        cifar10.read(path)
    write_tar(path, [(member("train/a/1.png", 9), b"no image.")])
    with pytest.raises(DataError, match=r"train/a/1\.png in .*a\.tar is not a readable image"):
        cifar10.read(path)
    write_tar(path, [(member("cifar-10-batches-py/data_batch_1", 2), b"xx")])
    with pytest.raises(DataError, match="is the Python version, which holds pickles"):
        cifar10.read(path)
    write_tar(path, [(member("data_batch_1.bin", 100), bytes(100))])
    with pytest.raises(DataError, match=r"data_batch_1\.bin is not a whole number of 3073-byte records"):
        cifar10.read(path)


def test_gzip_and_npz_files_are_bounded(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(1000)))
    assert read_gzip(path, most_bytes=1000) == bytes(1000)
    with pytest.raises(ArchiveError, match=r"a\.gz holds more than the 999 bytes that it should"):
        read_gzip(path, most_bytes=999)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, zeros=np.zeros(10**6, np.uint8), text=np.array(["a", "bc"]))
    arrays = read_npz(path, most_bytes=2 * 10**6)
    assert (arrays["zeros"].shape, arrays["text"].tolist()) == ((10**6,), ["a", "bc"])
    with pytest.raises(ArchiveError, match=r"a\.npz holds more than the 1,000 bytes"):
        read_npz(path, most_bytes=1000)
    with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**12,)})
    with pytest.raises(ArchiveError, match=r"a\.npz is damaged \(a\.npy is shorter than its header says"):
        read_npz(path, most_bytes=1000)
    np.savez(path, objects=np.array([{}], dtype=object))
    with pytest.raises(ArchiveError, match=r"a\.npz is damaged \(Object arrays cannot be loaded"):
        read_npz(path, most_bytes=1000)


# ---- downloads


@contextlib.contextmanager
def server(files: dict[str, bytes]):
    """Serves `files` on this machine; yields the address, and the list of what was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path[1:])
            content = files.get(self.path[1:])
            self.send_response(404 if content is None else 200)
            self.end_headers()
            with contextlib.suppress(OSError):  # the other side need not take it all
                self.wfile.write(content or b"")

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}", asked
        finally:
            serving.shutdown()
            thread.join()


def test_what_is_fetched_is_checked_and_nothing_else_is_left(tmp_path, monkeypatch):
    files, served = {}, {}
    for name in fashion_mnist.FILES:
        values = np.random.default_rng(0).integers(0, 10, (30, 28, 28) if "images" in name else 30, dtype=np.uint8)
        raw = bytes(4 + 4 * values.ndim) + values.tobytes()
        served[f"{name}.gz"] = gzip.compress(raw)
        files[name] = fashion_mnist.Idx(values.shape, hashlib.sha256(raw).hexdigest(), len(served[f"{name}.gz"]))
    monkeypatch.setattr(fashion_mnist, "FILES", files)
    labels = "train-labels-idx1-ubyte.gz"

    def fetch(folder):
        return sources.load("fashion_mnist", path=folder, holdout=5, download=True)

    with server(served) as (url, asked):
        monkeypatch.setattr(fashion_mnist, "URL", url)
        assert len(fetch(tmp_path / "a" / "new").train) == 25
        assert sorted(p.name for p in (tmp_path / "a" / "new").iterdir()) == sorted(served) == sorted(asked)
        (tmp_path / "a" / "new" / labels).unlink()
        asked.clear()
        fetch(tmp_path / "a" / "new")
        assert asked == [labels]  # only what is missing
        for content, message in (
            (
                gzip.compress(b"something else"),
                f"{labels} gave another file than Fashion-MNIST's .its checksum differs",
            ),
            (b"", "gave another file than Fashion-MNIST's"),
            (served[labels][:-5], "gave another file than Fashion-MNIST's"),
            (bytes(10**6), rf"{labels} gave more than the {len(served[labels])} bytes of Fashion-MNIST's"),
            (None, f"{labels} could not be fetched .*404.*; put the file into .*b by hand"),
        ):
            with pytest.MonkeyPatch.context() as patched:
                patched.delitem(served, labels) if content is None else patched.setitem(served, labels, content)
                with pytest.raises(DataError, match=message):
                    fetch(tmp_path / "b")
            assert not [p.name for p in (tmp_path / "b").iterdir() if "labels" in p.name]
    with pytest.raises(DataError, match="could not be fetched .*refused"):
        fetch(tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_cifar10_is_fetched_where_there_is_none(tmp_path, monkeypatch):
    archive = b"the archive"
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(archive).hexdigest())
    monkeypatch.setattr(cifar10, "SIZE_BYTES", len(archive))
    with server({"cifar-10-binary.tar.gz": archive}) as (url, asked):
        monkeypatch.setattr(cifar10, "URL", f"{url}/cifar-10-binary.tar.gz")
        folder = tmp_path / "cifar"
        folder.mkdir()
        (folder / "README.txt").write_text("other files do not count")
        for _ in range(2):
            with pytest.raises(DataError, match="is not a complete tar archive"):
                sources.load("cifar10", path=folder, download=True)
        assert (folder / "cifar-10-binary.tar.gz").read_bytes() == archive
        assert asked == ["cifar-10-binary.tar.gz"]  # once
        monkeypatch.setattr(cifar10, "MD5", "0")
        with pytest.raises(DataError, match="gave another file than CIFAR-10's"):
            sources.load("cifar10", path=tmp_path / "other", download=True)
        assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize("ask", [sources.look, sources.load])
def test_where_a_download_cannot_be_is_said(tmp_path, monkeypatch, ask):
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("fetched"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    for name, path, message in (
        ("fashion_mnist", None, "dataset.download=true: say where to with dataset.path=..., a folder"),
        ("fashion_mnist", tmp_path / "file", "file is a file; give the folder of the four IDX files"),
        ("cifar10", None, "'cifar10' needs dataset.path"),
        ("image_folder", tmp_path, "fashion_mnist, cifar10, huggingface can be downloaded, image_folder cannot"),
    ):
        with pytest.raises(DataError, match=message):
            ask(name, path=path, download=True)


def test_addresses_are_encrypted():
    assert all(address.startswith("https://") for address in (fashion_mnist.URL, cifar10.URL))
