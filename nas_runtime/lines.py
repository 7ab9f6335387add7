"""Files of lines that grow at their end: read without being written to, appended to by one writer at a time."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from nas_runtime.files import FileError, lock

__all__ = ["LineFile"]

LONGEST_LINE = 16 * 2**20
"""Bytes of the longest line that is read."""


class LineFile:
    r"""The lines of a file. Only ``\n`` ends a line.

    A process that dies while it writes leaves a last line without its end. Reading leaves it out, and leaves it there;
    the next `append` cuts it off.

    Attributes:
        end: bytes of the lines that were read or appended so far.
        rest: what stood behind the last complete line when the file was read: nothing, or a line cut short.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.end = 0
        self.rest = b""
        self._handle: int | None = None

    def read(self) -> list[bytes]:
        """The complete lines behind `end`, without their ends: at first all, later what another writer has added.

        Raises:
            FileError: the file cannot be read, has become shorter, or has a line that is too long.
        """
        lines: list[bytes] = []
        self.rest = b""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self.end:
                    raise FileError(f"{self.path} is shorter than when it was read; restore it, or use another")
                file.seek(self.end)
                while raw := file.readline(LONGEST_LINE):
                    if not raw.endswith(b"\n"):
                        self.rest = raw
                        break
                    lines.append(raw[:-1])
                    self.end += len(raw)
        except FileNotFoundError:
            return []
        except OSError as e:
            raise FileError(f"{self.path} cannot be read: {e.strerror or e}") from None
        if len(self.rest) == LONGEST_LINE:
            raise FileError(
                f"{self.path} has a line of more than {LONGEST_LINE / 2**20:.0f} MiB, the most that is read"
            )
        return lines

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Inside, nothing else writes to the file; reading needs no permission. The lock ends with the process at the
        latest.

        Raises:
            FileError: something else is writing to it.
        """
        if self._handle is not None:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            lock(self._handle, f"{self.path} is being written by another process; wait for it, or use another")
            yield
        finally:
            os.close(self._handle)
            self._handle = None

    def append(self, *lines: bytes) -> None:
        """Writes lines (without their ends) and waits until they are on the disk; one that cannot be written whole is
        taken back.

        Raises:
            FileError: something else is writing to the file, or has written to it since it was read.
            OSError: no space, or another reason why nothing can be written.
        """
        with self.writing():
            handle = self._handle
            assert handle is not None
            if os.fstat(handle).st_size != self.end:
                end = self.end
                if self.read():
                    self.end = end
                    raise FileError(f"{self.path} was written by another process since it was read; open it again")
                os.ftruncate(handle, self.end)
            content = memoryview(b"".join(line + b"\n" for line in lines))
            written = 0
            try:
                while written < len(content):
                    written += os.write(handle, content[written:])
                os.fsync(handle)
            except OSError as e:
                with contextlib.suppress(OSError):  # if that fails too, the next append cuts it off
                    os.ftruncate(handle, self.end)
                raise OSError(e.errno, e.strerror or str(e), str(self.path)) from e
            self.end += written
