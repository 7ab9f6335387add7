"""Hydra's flags on a command line: those that change what is composed, and their place."""

import argparse
from collections.abc import Sequence
from contextlib import suppress

from nas_runtime.console import brief, did_you_mean

__all__ = ["flags_first", "flags_of"]

_FLAGS = ("--help", "-h", "--hydra-help", "--version", "--multirun", "-m", "--resolve")
_WITH_VALUE = (
    *("--config-name", "-cn", "--config-dir", "-cd", "--config-path", "-cp", "--cfg", "-c", "--package", "-p"),
    *("--shell-completion", "-sc", "--experimental-rerun", "--info", "-i"),
)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Flags before options, since Hydra takes no options on both sides of a flag.

    Raises:
        ValueError: no such flag.
    """
    flags: list[str] = []
    options: list[str] = []
    words = iter(arguments)
    for word in words:
        name = word.partition("=")[0]
        if not word.startswith("-"):
            options.append(word)
        elif name not in (*_FLAGS, *_WITH_VALUE):
            hint = did_you_mean(name, (*_FLAGS, *_WITH_VALUE))
            raise ValueError(f"no flag {brief(name)}{hint}; allowed: -m, --help, --cfg job, --config-dir DIR")
        else:
            flags.append(word)
            if name in _WITH_VALUE and "=" not in word:
                flags += [value for value in [next(words, None)] if value is not None]
    return [*flags, *options]


def flags_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Those of Hydra's flags that change what is composed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--multirun", "-m", action="store_true")
    flags = argparse.Namespace(config_name=None, config_dir=None, multirun=False)
    with suppress(argparse.ArgumentError):  # Hydra says what is wrong
        parser.parse_known_args(list(arguments), flags)
    return flags
