"""Folders for the time that a process runs, which nobody else may enter, and of which nothing stays behind."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

from nas_runtime.signals import held_back

__all__ = ["private_folder"]

_LOCK = "lock"


@contextlib.contextmanager
def private_folder(prefix: str, *, longest_bytes: int = 4096) -> Generator[Path]:
    """A new folder, which is removed when the block ends; where the process is killed, by the next one that asks for
    a folder with the same prefix.

    Args:
        longest_bytes: of its path. Where the system's folder for such things (``TMPDIR``) is too long, it is /tmp.

    Raises:
        OSError: there is no folder that can be written to and is short enough.
    """
    base = _base(prefix, longest_bytes)
    _sweep(base, prefix)
    lock, folder = None, None
    try:
        with held_back():
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
            lock = _hold(folder)
        yield folder
    finally:
        with held_back():
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


def _base(prefix: str, longest_bytes: int) -> Path:
    ours = len(os.fsencode(prefix)) + 1 + 8  # a slash, and what mkdtemp adds
    candidates = list(dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")))
    for path in candidates:
        if len(os.fsencode(path)) + ours <= longest_bytes and os.access(path, os.W_OK | os.X_OK):
            return Path(path)
    raise OSError(
        f"no folder for temporary files that can be written to and whose path has at most {longest_bytes - ours} bytes "
        f"(of {', '.join(candidates)}); set TMPDIR to one"
    )


def _hold(folder: Path) -> int | None:
    """Marks `folder` as one of a living process, at whose end the system takes the mark away."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system, and no sweeping
        return None
    handle = os.open(folder / f"{_LOCK}.new", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(folder / f"{_LOCK}.new", folder / _LOCK)  # so that nobody finds a lock that nobody holds yet
    except OSError:  # a file system without locks: nobody sweeps what has no lock
        pass
    return handle


def _sweep(base: Path, prefix: str) -> None:
    """Removes the folders of this user's processes that were killed. One without a lock is left alone."""
    try:
        import fcntl
    except ImportError:
        return
    for folder in base.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its process lives
                for path in folder.iterdir():  # the lock goes last: a removal that fails is tried again
                    if path.name != _LOCK:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                shutil.rmtree(folder)
            finally:
                os.close(handle)
