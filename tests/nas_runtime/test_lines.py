"""Files of lines: what is read, what a write leaves behind that stops in its middle, and who may write."""

import errno
import os

import pytest

from nas_runtime import lines
from nas_runtime.files import FileError
from nas_runtime.lines import LineFile


def read(path) -> tuple[list[bytes], int, bytes]:
    file = LineFile(path)
    return file.read(), file.end, file.rest


def test_only_a_line_feed_ends_a_line_and_what_has_no_end_is_the_rest(tmp_path):
    path = tmp_path / "a"
    assert read(path) == ([], 0, b"")
    path.write_bytes(b"one\r\n\n\x0ctwo\nthr")
    file = LineFile(path)
    assert (file.read(), file.end, file.rest) == ([b"one\r", b"", b"\x0ctwo"], 11, b"thr")
    path.write_bytes(path.read_bytes() + b"ee\nfour\n")
    assert (file.read(), file.end, file.rest) == ([b"three", b"four"], 22, b"")
    assert file.read() == []
    path.write_bytes(b"one\n")
    with pytest.raises(FileError, match=f"^{path} is shorter than when it was read; restore it, or use another$"):
        file.read()
    path.unlink()
    assert file.read() == []


def test_lines_are_appended_and_a_rest_is_cut_off(tmp_path):
    path = tmp_path / "new" / "folder" / "a"
    file = LineFile(path)
    file.append(b"one", b"", b"two")
    file.append(b"three")
    assert path.read_bytes() == b"one\n\ntwo\nthree\n"
    assert file.end == 15
    path.write_bytes(path.read_bytes() + b"cut sho")
    file.append(b"four")
    assert read(path) == ([b"one", b"", b"two", b"three", b"four"], 20, b"")
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_write_in_pieces_is_whole(tmp_path, monkeypatch):
    """As an interrupted system call leaves it."""
    write = os.write
    monkeypatch.setattr(lines.os, "write", lambda handle, content: write(handle, content[:3]))
    LineFile(tmp_path / "a").append(b"a line of more than three bytes", b"and another")
    assert (tmp_path / "a").read_bytes() == b"a line of more than three bytes\nand another\n"


@pytest.mark.parametrize("taken_back", [True, False])
def test_a_write_that_fails_is_taken_back_at_once_or_by_the_next_one(tmp_path, monkeypatch, taken_back):
    path = tmp_path / "a"
    file = LineFile(path)
    file.append(b"one")
    with monkeypatch.context() as broken:
        write = os.write
        room = iter([4])

        def full(handle, content):
            for fits in room:
                return write(handle, content[:fits])
            raise OSError(errno.ENOSPC, "No space left on device")

        def refuse(handle, size):
            raise OSError(errno.EIO, "Input/output error")

        broken.setattr(lines.os, "write", full)
        if not taken_back:
            broken.setattr(lines.os, "ftruncate", refuse)
        with pytest.raises(OSError, match="No space left on device") as caught:
            file.append(b"a second line")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == (b"one\n" if taken_back else b"one\na se")
    assert file.end == 4
    file.append(b"two")
    assert path.read_bytes() == b"one\ntwo\n"


def test_an_error_without_a_number_says_its_words(tmp_path, monkeypatch):
    def broken(handle):
        raise OSError("the disk is gone")

    monkeypatch.setattr(lines.os, "fsync", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        LineFile(tmp_path / "a").append(b"one")
    assert (tmp_path / "a").read_bytes() == b""


def test_what_another_writer_has_added_is_never_overwritten(tmp_path):
    """However often it is tried; a rest of another writer is cut off."""
    path = tmp_path / "a"
    first, second = LineFile(path), LineFile(path)
    first.append(b"one")
    for _ in range(2):
        with pytest.raises(
            FileError, match=f"^{path} was written by another process since it was read; open it again$"
        ):
            second.append(b"two")
    assert second.end == 0
    assert second.read() == [b"one"]
    second.append(b"two")
    assert read(path)[0] == [b"one", b"two"]


def test_one_writes_at_a_time_until_it_is_done(tmp_path):
    path = tmp_path / "a"
    first, second = LineFile(path), LineFile(path)
    with first.writing():
        first.append(b"one")
        with first.writing():  # again inside
            first.append(b"two")
        with pytest.raises(FileError, match="is being written by another process; wait for it, or use another"):
            second.append(b"three")
        assert read(path)[0] == [b"one", b"two"]
    second.read()
    second.append(b"three")
    with pytest.raises(ZeroDivisionError), first.writing():
        raise ZeroDivisionError
    with second.writing():
        second.append(b"four")
    assert read(path)[0] == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_line_of_the_greatest_length_is_read(tmp_path, monkeypatch, beyond):
    monkeypatch.setattr(lines, "LONGEST_LINE", 2**20)
    line = b"x" * (2**20 - 1 + beyond)  # with its end as long as may be, or longer
    (tmp_path / "a").write_bytes(b"one\n" + line + b"\n")
    if beyond <= 0:
        assert read(tmp_path / "a")[0] == [b"one", line]
        return
    with pytest.raises(FileError, match="a has a line of more than 1 MiB, the most that is read"):
        read(tmp_path / "a")


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(FileError, match=f"^{tmp_path} cannot be read: Is a directory$"):
        LineFile(tmp_path).read()
