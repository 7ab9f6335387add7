"""How commands end: one line on standard error for what is wrong, and quietly where nobody reads any more."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

from nas_runtime.console import brief, shown

__all__ = ["EXPECTED", "closed_pipe", "full_error", "guarded", "one_line", "say"]

EXPECTED = (ValueError, OSError, MemoryError)
"""Errors whose message says it all to the person at the keyboard; any other is a fault of the program."""


def guarded(work: Callable[[], int]) -> int:
    """The exit code of a command: what `work` gives, or 1 after an error of `EXPECTED`, which is said in one line.

    With ``HYDRA_FULL_ERROR=1`` the error is raised instead.
    """
    try:
        code = work()
        for stream in (sys.stdout, sys.stderr):
            if stream:
                stream.flush()
        return code
    except BrokenPipeError:
        return closed_pipe()
    except EXPECTED as e:
        if full_error():
            raise
        say(f"error: {one_line(e)}")
        return 1


def full_error() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def one_line(error: Exception) -> str:
    """What an error says, in one line that fits on a screen."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{brief(error.filename)}: {error.strerror}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = brief(" ".join(lines) or type(error).__name__, most=1500)
    return f"not enough memory; give smaller numbers ({text})" if isinstance(error, MemoryError) else text


def say(text: str) -> None:
    """Prints to standard error, if anyone reads it."""
    if sys.stderr:
        with suppress(BrokenPipeError):
            sys.stderr.write(f"{shown(text)}\n")


def closed_pipe() -> int:
    """Nobody reads standard output any more (``| head``): ends quietly, also when Python flushes at its exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 1
