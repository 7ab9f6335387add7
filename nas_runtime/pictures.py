"""Pictures in files."""

from pathlib import Path
from typing import Any

from nas_runtime.files import complete

__all__ = ["save"]


def save(figure: Any, path: Path, *, dpi: int = 130) -> None:
    """Writes a Matplotlib figure in the format that the name of the file ends with, or as PNG; the file is complete or
    unchanged.

    Args:
        dpi: pixels an inch.
    """
    with complete(path) as partial:
        figure.savefig(partial, dpi=dpi, format=path.suffix[1:] or "png")
