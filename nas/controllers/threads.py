"""`one_thread`: for mathematics so small that threads only wait for each other."""

import contextlib
from collections.abc import Iterator

__all__ = ["one_thread"]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch computes with one thread: policies and models are small, and beside trainings that use all cores
    several threads would take a hundred times as long. Threads that were never started cannot be missing where a
    process is forked later, either."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
