"""Ctrl-C, SIGTERM (``kill``, batch systems) and SIGHUP (a terminal that was closed) end a program in the same way."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

from nas_runtime.console import shown

__all__ = ["held_back", "interruptible", "kept"]

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def interruptible() -> Generator[None]:
    """Inside, each of the three signals raises KeyboardInterrupt in the main thread; if that leaves the block, the
    program ends with one line on standard error, which has the message of the KeyboardInterrupt if it has one, and
    128 + the signal's number as its exit code, as shells have it.

    A signal that is ignored stays so, like SIGHUP under ``nohup``.
    """
    received: list[int] = []
    before = _handlers()

    def on_signal(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    _set(dict.fromkeys(before, on_signal))
    try:
        yield
    except BaseException as e:
        # a library may have turned the interrupt into an error, or what says goodbye found the terminal closed
        if not received and not isinstance(e, KeyboardInterrupt):
            raise
        _set(dict.fromkeys(before, signal.SIG_IGN))  # nothing disturbs the last steps
        before = {}
        how_to_continue = str(e) if isinstance(e, KeyboardInterrupt) else ""
        _say(f"interrupted: {shown(how_to_continue)}" if how_to_continue else "interrupted")
        sys.exit(128 + (received[0] if received else signal.SIGINT))
    finally:
        _set(before)


@contextlib.contextmanager
def held_back(*, most_s: float = 20.0) -> Generator[None]:
    """A signal that arrives inside takes effect when the block ends, so that starting or tidying up is done in full.

    Args:
        most_s: later ones take effect at once: whoever waits for a block that hangs can end it.
    """
    begun, received = time.monotonic(), list[int]()
    before = _handlers()

    def on_signal(number: int, frame: Any) -> None:
        if time.monotonic() - begun < most_s:
            received.append(number)
        else:
            _set(before)
            signal.raise_signal(number)

    _set(dict.fromkeys(before, on_signal))
    try:
        yield
    finally:
        _set(before)
        if received:
            signal.raise_signal(received[0])


@contextlib.contextmanager
def kept() -> Generator[None]:
    """The handlers of signals are afterwards what they were before, whatever a library installs inside.

    Ray takes SIGTERM for itself, for Python and once more below it, where it prints addresses of machine code. In a
    program without a handler of its own SIGTERM raises SystemExit afterwards, as with Ray's, so that what is open is
    closed.
    """
    before = _handlers()
    try:
        yield
    except SystemExit:  # from Ray's handler, while it was there
        _set(before)
        if callable(before.get(signal.SIGTERM)):
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        _set(before)
        if before.get(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: Any) -> None:
    sys.exit(128 + number)


def _say(line: str) -> None:
    """To a terminal that may be closed: what is left to be written then goes nowhere, also at Python's exit."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{line}\n")):
        try:
            if stream:  # there is none if its file was closed from the start
                stream.write(text)
                stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _handlers() -> dict[int, Any]:
    """What each signal does, but those that are ignored, or handled by no Python; {} outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in _ENDING}
    return {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}


def _set(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
