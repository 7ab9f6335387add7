"""Tensors with a few texts in a safetensors file that is complete or not there."""

import errno
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nas_runtime.files import complete

__all__ = ["read", "save", "sum_of"]


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Writes the file; it is complete or unchanged.

    Raises:
        OSError: it cannot be written, as on a full disk; names it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with complete(path) as partial:
        partial.touch()
        mode = partial.stat().st_mode
        try:  # without a copy in memory, but private
            save_file({name: value.detach().contiguous() for name, value in tensors.items()}, partial, dict(about))
        except SafetensorError as e:
            raise _os_error(e) from None
        partial.chmod(mode)


def _os_error(error: Exception) -> OSError:
    """The system's error that the library has put into words."""
    if known := re.search(r"(?P<why>[^:]+) \(os error (?P<number>\d+)\)", str(error)):
        return OSError(int(known["number"]), known["why"].strip())
    return OSError(errno.EIO, str(error))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file.

    Raises:
        ValueError: it is not there, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as e:
        raise ValueError(f"{path} is damaged ({e})") from None


def sum_of(tensors: Mapping[str, Tensor]) -> str:
    """What stands for tensors in records: equal for the same ones."""
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(name.encode(), found)
        found = zlib.crc32(tensors[name].detach().cpu().contiguous().numpy().data, found)
    return f"{found:08x}"
