"""Packages that only some of this project needs: its extras."""

import importlib
from typing import Any

from nas_runtime.console import brief

__all__ = ["needed"]


def needed(module: str, extra: str, what: str) -> Any:
    """The module of a package that belongs to an extra.

    Args:
        extra: of this project, that brings the package.
        what: needs it, for the message.

    Raises:
        ValueError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as e:
        package = module.partition(".")[0].replace("_", "-")
        raise ValueError(
            f"{what} needs the package {package} ({brief(str(e))}); pip install 'platform-aware-nas[{extra}]'"
        ) from e
