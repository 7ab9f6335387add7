"""Downloads: complete and checked, or not there."""

import urllib.request
from collections.abc import Callable
from pathlib import Path

from nas.training.sources.wanted import DataError
from nas_runtime.files import write_bytes

__all__ = ["fetch"]


def fetch(url: str, path: Path, right: Callable[[bytes], bool], whose: str) -> None:
    """Writes what `url` gives to `path`, complete and checked, or not at all."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            content = response.read()
        ok = right(content)
    except (OSError, EOFError) as e:
        raise DataError(f"{url} could not be fetched ({e}); put the file into {path.parent} by hand") from None
    if not ok:
        raise DataError(f"{url} gave another file than {whose} (its checksum differs)")
    write_bytes(path, content)
