"""How a promise is checked."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["promise", "refused"]


def promise(kept: object, what: str) -> None:
    """Raises an AssertionError that says `what` is promised, unless it is kept."""
    if not kept:
        raise AssertionError(what)


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Inside, a ValueError must be raised, and nothing else.

    Args:
        what: must be refused, for the message.
    """
    try:
        yield
    except ValueError:
        return
    except Exception as e:
        raise AssertionError(f"{what} must be refused with a ValueError, not with {type(e).__name__}: {e}") from e
    raise AssertionError(f"{what} must be refused with a ValueError, and was accepted")
