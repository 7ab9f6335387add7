"""Files that are complete or unchanged, read within bounds, named by one rule, and written by one process at a time."""

import contextlib
import glob
import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

__all__ = [
    "FileError",
    "check_name",
    "complete",
    "lock",
    "only_writer",
    "parse_json",
    "read_json",
    "read_text",
    "remove_left_behind",
    "write_bytes",
    "write_json",
    "write_text",
]

LARGEST_TEXT = 256 * 2**20
"""Bytes of the largest text file that is read: tables and journals stay far below it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class FileError(ValueError):
    """A file that is damaged, too large, or in use."""


@contextlib.contextmanager
def complete(path: Path) -> Generator[Path]:
    """Gives a name to write to; what stands there becomes the file `path` when the block ends, and is removed if the
    block raises. So `path` is complete or unchanged at any moment.

    Raises:
        OSError: the file cannot be written; the error names `path`.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_behind(path.parent, glob.escape(path.name))
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as e:
        raise OSError(e.errno, e.strerror or str(e), str(path)) from e
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content`; the file is complete or unchanged."""
    with complete(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes `text`; the file is complete or unchanged."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: Any) -> None:
    """Writes `data`; the file is complete or unchanged."""
    write_text(path, json.dumps(data, indent=1) + "\n")


def read_text(path: Path, *, most_bytes: int = LARGEST_TEXT) -> str:
    """The text in the file `path`.

    Raises:
        FileNotFoundError: there is no such file.
        FileError: it is no file, too large, not UTF-8, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most_bytes + 1)
        if len(raw) > most_bytes:
            raise FileError(f"{path} is larger than {most_bytes / 2**20:.0f} MiB, the most that is read")
        return raw.decode()
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise FileError(f"{path} is not a text file (UTF-8)") from None
    except OSError as e:
        raise FileError(f"{path} cannot be read: {e.strerror or e}") from None


def parse_json(text: str) -> Any:
    """The value that `text` stands for.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path) -> Any:
    """What `write_json` wrote; None if there is no such file.

    Raises:
        FileError: the file is damaged.
    """
    try:
        return parse_json(read_text(path))
    except FileNotFoundError:
        return None
    except FileError:
        raise
    except ValueError:
        raise FileError(f"{path} is damaged; remove it and run again") from None


def check_name(name: str, of: str) -> str:
    """`name`, if it can be that of a device or of anything else that becomes a file.

    Args:
        of: what is named, for the message: ``device``.

    Raises:
        ValueError: it is not 1 to 64 letters, digits, ``_`` and ``-``, the first a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{of}={name[:80]!r} cannot be a name; allowed: up to 64 letters, digits, _ and -, a letter or digit first"
        )
    return name


@contextlib.contextmanager
def only_writer(folder: Path, of: str) -> Generator[None]:
    """Inside, this block alone writes to `folder`; reading needs no permission. The lock leaves no file, and ends with
    the process at the latest.

    Args:
        of: what is written there, for the message: ``a search``.

    Raises:
        FileError: another process is writing there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, f"{folder} is in use by {of} that is still running; wait for it, or use another")
        yield
    finally:
        os.close(handle)


def lock(handle: int, busy: str) -> None:
    """Locks an open file or folder for as long as `handle` is open; a system without such locks lets it be.

    Raises:
        FileError: something else has locked it; the message is `busy`.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileError(busy) from None
    except OSError:
        pass  # a file system without such locks


def remove_left_behind(folder: Path, names: str) -> None:
    """Removes what processes have left that were killed while they wrote files in `folder`.

    Args:
        names: of these files, as a pattern.
    """
    for old in folder.glob(f"{names}.*.partial"):
        number = old.name.removesuffix(".partial").rpartition(".")[2]
        if number.isdigit() and int(number) != os.getpid() and not _runs(int(number)):
            with contextlib.suppress(OSError):
                old.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
