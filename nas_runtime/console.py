"""What a person reads: names, paths and messages as they are, whatever characters they are made of."""

import difflib
import functools
import re
import sys
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "brief",
    "counted",
    "did_you_mean",
    "in_ms",
    "new_console",
    "on_terminal",
    "picture_text",
    "prepare_streams",
    "shown",
]

# what moves the cursor, colours, rings, or turns the direction of reading: C0 but newline and tab, DEL, C1,
# directional marks, and halves of characters, which come from file names that are no UTF-8
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """`text` with everything that a terminal would obey instead of show written out, as ``\\x1b``."""
    return _UNSHOWABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def brief(value: object, most: int = 80) -> str:
    """A value that a person typed, for a message: harmless, on one line, of at most `most` characters."""
    text = shown(" ".join(str(value).split()))
    return text if len(text) <= most else f"{text[: most - 20]}... ({len(text):,} characters)"


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """``; did you mean ...?`` with the option that is much like `name`; nothing if there is none."""
    close = difflib.get_close_matches(brief(name), list(options), n=1)
    return f"; did you mean {close[0]}?" if close and close[0] != name else ""


def picture_text(text: str) -> str:
    """`text` for Matplotlib, which takes what stands between two dollar signs for a formula."""
    return shown(text).replace("$", r"\$")


def counted(n: int, thing: str) -> str:
    """``1 image``, ``2,000 images``, ``3 classes``."""
    return f"{n:,} {thing}{'' if n == 1 else 'es' if thing.endswith('s') else 's'}"


def in_ms(ms: float) -> str:
    """Milliseconds: ``15.8``, ``0.83``."""
    return f"{ms:.1f}" if round(ms, 1) >= 10 else f"{ms:.2f}"


@functools.cache
def _plain() -> "type[Console]":
    """The kind of console on which ``[v2]`` and ``:smile:`` are what they look like, and escape sequences harmless."""
    from rich.console import Console  # here, since messages are made where nothing is printed

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> "Text":
            as_it_is: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
            return super().render_str(shown(text), **(options | as_it_is))

    return Plain


def new_console(*, stderr: bool = False, width: int | None = None, file: IO[str] | None = None) -> "Console":
    """The console of a command: lines are not broken, and nothing in them is taken for markup.

    Args:
        width: in characters; None: the terminal's.
        file: what is written to instead of standard output.
    """
    return _plain()(
        highlight=False, markup=False, emoji=False, soft_wrap=width is None, stderr=stderr, width=width, file=file
    )


def on_terminal() -> bool:
    """Whether standard output is one."""
    return sys.stdout is not None and sys.stdout.isatty()


def prepare_streams() -> None:
    """Lets standard output and error take every character, also where they are ASCII only."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
