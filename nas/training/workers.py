"""Processes that make batches while the network works on the ones before: torch's DataLoader, as it is needed here."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.training.sources import DataError

__all__ = ["made"]

_AHEAD = 2  # batches that a worker makes before they are asked for
_NICER = 19
"""Than this process is, with polite workers: they work while its threads wait for each other or for the next batch. As
important as those, they would hold one of them up, and by it all."""
_START = "forkserver"  # a copy of this process would have its locks, but none of its threads (OpenMP, Ray)

T = TypeVar("T")


def made(make: Callable[[T], np.ndarray], plan: Iterable[T], *, workers: int, device: str = "cpu") -> Iterator[Tensor]:
    """``make(item)`` for each item of `plan`, in that order, as tensors.

    Workers end with the iterator: when it is closed, or no longer there.

    Args:
        make: can be pickled if there are workers.
        plan: may have no end.
        workers: processes that make them; 0: this one does, when the next is asked for.
        device: what works on the batches. For a GPU they are in memory from which it fetches by itself; where it is the
            CPU, workers stand back behind this process.

    Raises:
        DataError, OSError, MemoryError: of `make`, also in a worker; ChildProcessError: a worker is no longer there.
    """
    if not workers:
        for item in plan:
            tensor = torch.from_numpy(make(item))
            yield tensor if device == "cpu" else tensor.pin_memory()
        return
    results = _started(make, plan, workers, device)
    try:
        for result in results:
            if isinstance(result, Exception):
                raise result
            yield result
    except RuntimeError as e:
        if not str(e).startswith("DataLoader worker (pid"):
            raise
        raise ChildProcessError(
            "a process that reads pictures has ended before its work was done; often memory or /dev/shm is too small: "
            "try fewer workers, or 0"
        ) from e
    finally:
        results._shutdown_workers()  # not when it is collected, which an error that is kept would put off


class _Made(Dataset, Generic[T]):
    """What `make` gives, or what it raises that is no fault of the program."""

    def __init__(self, make: Callable[[T], np.ndarray]) -> None:
        self._make = make

    def __getitem__(self, item: T) -> Tensor | Exception:
        try:
            return torch.from_numpy(self._make(item))
        except (DataError, OSError, MemoryError) as e:
            return e


def _started(make: Callable[[T], np.ndarray], plan: Iterable[T], workers: int, device: str) -> Any:
    """torch's iterator over the results."""
    context = multiprocessing.get_context(_START)
    context.set_forkserver_preload([__name__, "PIL.Image"])  # imported once, not by each worker
    on_child = signal.getsignal(signal.SIGCHLD)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than CPUs
        loader = DataLoader(
            _Made(make),
            sampler=plan,
            batch_size=None,  # an item of the plan is a whole batch
            num_workers=workers,
            prefetch_factor=_AHEAD,
            pin_memory=device != "cpu",
            multiprocessing_context=context,
            worker_init_fn=_behind if device == "cpu" else _as_worker,
            generator=torch.Generator(),  # not the one that dropout draws from
        )
        results = iter(loader)
    if threading.current_thread() is threading.main_thread() and on_child is not None:
        # torch's would raise the end of a worker anywhere in this program; so it is noticed at the next batch
        signal.signal(signal.SIGCHLD, on_child)
    return results


def _behind(number: int) -> None:
    os.nice(_NICER)
    _as_worker(number)


def _as_worker(number: int) -> None:
    """Ctrl-C is for the program, which then ends its workers. If it is killed they end by themselves; torch would wait
    for the end of their parent, but that is the server that forked them, which ends after them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    program = multiprocessing.parent_process()
    assert program is not None

    def end_with_it() -> None:
        program.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
