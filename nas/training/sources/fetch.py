"""Downloads: complete and checked, or not there."""

import http.client
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from nas.training.sources.wanted import DataError
from nas_runtime.files import complete

__all__ = ["fetch"]

_PIECE = 2**20


def fetch(url: str, path: Path, *, size_bytes: int, right: Callable[[Path], bool], whose: str) -> None:
    """Writes what `url` gives to `path`, complete and checked, or not at all.

    Args:
        size_bytes: of the file; no more than that is taken.
        right: whether a file is the one that is wanted, by its checksum.
        whose: file it is, for messages.

    Raises:
        DataError: it could not be fetched, or is another file.
        OSError: it cannot be written.
    """
    with complete(path) as partial:
        taken = 0
        with partial.open("wb") as file:
            for piece in _pieces(url, path):
                taken += len(piece)
                if taken > size_bytes:
                    raise DataError(f"{url} gave more than the {size_bytes:,} bytes of {whose}; it is another file")
                file.write(piece)
        if not right(partial):
            raise DataError(f"{url} gave another file than {whose} (its checksum differs, {taken:,} bytes)")


def _pieces(url: str, path: Path) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            while piece := response.read(_PIECE):
                yield piece
    except (OSError, EOFError, http.client.HTTPException) as e:
        raise DataError(f"{url} could not be fetched ({e}); put the file into {path.parent} by hand") from None
