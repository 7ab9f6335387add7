"""Executors: run an evaluation on several networks. This one in the process itself, one after the other."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nas.trial import Evaluation, short
from search_spaces.arch import Arch

__all__ = ["Evaluate", "Executor", "SerialExecutor", "Shared", "cause", "guarded"]

_LONGEST_NOTE = 1000
_OURS = ("nas", "nas_runtime", "netadapt", "search_spaces", "latency_luts", "functools")

Evaluate = Callable[[Arch], "Evaluation | float"]


class Shared(Protocol):
    """Something large that evaluations need, brought to their processes once: see `Executor.share`."""

    def get(self) -> Any:
        """The value. Its arrays may be read-only."""
        ...


class Executor(Protocol):
    """Runs `evaluate` on networks; results come as they are done.

    Attributes:
        timeout_s: an evaluation that takes longer is cancelled; None: it never is. May be changed between runs.
    """

    timeout_s: float | None

    def share(self, value: Any) -> Shared:
        """`value` for evaluations to hold instead of a copy of their own."""
        ...

    def run(self, evaluate: Evaluate, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yields (position in `archs`, evaluation) in any order, each once. A broken evaluation has status failed."""
        ...


@dataclass(frozen=True)
class _Here:
    value: Any

    def get(self) -> Any:
        return self.value


class SerialExecutor:
    """In this process, in order.

    Args:
        retries: how often an evaluation that failed is tried again.
    """

    def __init__(self, *, retries: int = 1) -> None:
        self.timeout_s: float | None = None
        self._retries = retries

    def share(self, value: Any) -> Shared:
        return _Here(value)

    def run(self, evaluate: Evaluate, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        for i, arch in enumerate(archs):
            evaluation = guarded(evaluate, arch)
            for _ in range(self._retries):
                if evaluation.status == "failed":
                    evaluation = guarded(evaluate, arch)
            yield i, evaluation


def guarded(evaluate: Evaluate, arch: Arch) -> Evaluation:
    """`evaluate(arch)`; what it raises, or returns beside a number in [0, 1] or an `Evaluation`, makes an evaluation of
    status ``failed`` whose note is the cause."""
    try:
        result = evaluate(arch)
    except (Exception, SystemExit) as e:  # an evaluator is anyone's code: whatever it raises must not end the search
        return Evaluation(top1=0.0, status="failed", note=cause(e) + _place(e))
    if isinstance(result, Evaluation):
        return result
    try:
        return Evaluation(top1=result)
    except ValueError as e:
        percent = "; it looks like percent" * ("percent" in str(e))
        note = f"the evaluator returned {short(result)}; expected a number in [0, 1] or an Evaluation{percent}"
        return Evaluation(top1=0.0, status="failed", note=note)


def cause(error: BaseException) -> str:
    """`error` in one line, for a note."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_LONGEST_NOTE]


def _place(error: BaseException) -> str:
    """Where in somebody else's code it was raised, or nothing: of the first package in the traceback that is none of
    these, the last line."""
    package, place = None, ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__")).split(".")[0]
        if package is None and name not in _OURS:
            package = name
        if name == package:
            place = f" ({Path(frame.f_code.co_filename).name}, line {line})"
    return place
