"""Executors: run an evaluation on several networks. This one in the process itself, one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nas.trial import Evaluation
from search_spaces.arch import Arch

__all__ = ["Evaluate", "Executor", "SerialExecutor", "Shared", "guarded"]

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
    """`evaluate(arch)`, with an exception turned into an evaluation of status ``failed`` that carries its message."""
    try:
        result = evaluate(arch)
    except Exception as e:  # an evaluator is anyone's code: whatever it raises must not end the search
        return Evaluation(top1=0.0, status="failed", note=f"{type(e).__name__}: {e}")
    return result if isinstance(result, Evaluation) else Evaluation(top1=float(result))
