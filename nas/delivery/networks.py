"""The networks in a run's directory.

``best.json`` is the network whose weights ``best.safetensors`` has, if there are any; ``searched.json`` the network as
it was searched and priced, which may be for larger images. Runs of earlier versions have the latter as ``best.json``
and the former as ``trained.json``, if they have trained one.
"""

import os
from pathlib import Path

from nas_runtime.files import write_text
from search_spaces import text
from search_spaces.arch import Arch

__all__ = ["searched_net", "trained_net", "write_networks"]

_SEARCHED, _BEST, _TRAINED_BEFORE = "searched.json", "best.json", "trained.json"


def searched_net(run_dir: str | os.PathLike[str]) -> Arch:
    """The network as the run in a directory searched and priced it.

    Raises:
        ValueError: there is none, or its file is damaged.
    """
    return text.from_file(_first(Path(run_dir), _SEARCHED, _BEST))


def trained_net(run_dir: str | os.PathLike[str]) -> Arch:
    """The network as the run in a directory trained it; where it trained none, as it was searched.

    Raises:
        ValueError: there is none, or its file is damaged.
    """
    before = () if (Path(run_dir) / _SEARCHED).exists() else (_TRAINED_BEFORE,)
    return text.from_file(_first(Path(run_dir), *before, _BEST))


def _first(run_dir: Path, *names: str) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (run_dir / name).exists():
            return run_dir / name
    raise ValueError(f"{run_dir} has no {names[-1]}; give the folder of a finished run")


def write_networks(run_dir: str | os.PathLike[str], *, trained: Arch, searched: Arch) -> None:
    """Writes the network as it was trained (where it was not, the same) and as it was searched."""
    folder = Path(run_dir)
    write_text(folder / _SEARCHED, text.to_json(searched))
    write_text(folder / _BEST, text.to_json(trained))
    (folder / _TRAINED_BEFORE).unlink(missing_ok=True)
