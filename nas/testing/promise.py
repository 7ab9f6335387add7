"""How a promise is checked."""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["global_random_states", "promise", "refused"]


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


def global_random_states() -> Mapping[str, Any]:
    """Of the generators that all programs share."""
    numpy: Any = np.random.get_state(legacy=False)
    numbers = [*numpy["state"]["key"].tolist(), numpy["state"]["pos"]]
    states: dict[str, Any] = {"random": random.getstate(), "numpy": numbers}
    if torch := sys.modules.get("torch"):
        states["torch"] = torch.get_rng_state().tolist()
    return states
