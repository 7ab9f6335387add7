"""`RayExecutor`: evaluations as Ray tasks, on this machine or on a cluster.

The evaluation (with its data set) goes into the object store once; each task gets one network. A crashed worker's task
is retried by Ray, a straggler is cancelled and tried again.
"""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nas.executor import Evaluate, Shared, cause, guarded
from nas.trial import Evaluation
from nas_runtime.cluster import ResourceError, available_cpus, join, joined, start
from nas_runtime.signals import held_back
from search_spaces.arch import Arch

__all__ = ["RayExecutor", "ResourceError", "fits"]


_COUNT_EVERY_S = 5.0
_MOST_ON_A_CPU = 16  # processes of some 0.3 GB each
_MOST_ON_A_GPU = 100


@dataclass(frozen=True)
class _InStore:
    """A value in Ray's object store; processes on one machine read its arrays from the same memory."""

    ref: Any

    def get(self) -> Any:
        import ray

        return ray.get(self.ref)


class RayExecutor:
    """Runs evaluations on a Ray cluster; use it as a context manager.

    Args:
        address: ``host:port`` of a cluster to join; None starts one on this machine for as long as it is needed. A
            cluster that this process is in already is used, and goes on.
        workers: evaluations at a time; None: as many as the cluster's CPUs (and GPUs) allow, also as nodes come or go.
        num_cpus, num_gpus: what one evaluation takes; ``num_gpus`` may be a fraction.
        timeout_s: an evaluation that takes longer is cancelled.
        retries: how often an evaluation that failed or took too long is tried again, before it is recorded as failed.

    Raises:
        ResourceError: nothing answers at `address`, Ray does not start, or no node can ever run one evaluation.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        workers: int | None = None,
        num_cpus: float = 1,
        num_gpus: float = 0,
        timeout_s: float = 3600,
        retries: int = 1,
    ) -> None:
        _check(
            address is None, workers=workers, num_cpus=num_cpus, num_gpus=num_gpus, timeout_s=timeout_s, retries=retries
        )
        self.timeout_s: float | None = timeout_s
        self.retries = retries
        self._num_cpus, self._num_gpus, self._at_most = num_cpus, num_gpus, workers
        self._counted = time.monotonic()
        self._evaluate_ref: tuple[Evaluate, Any] | None = None
        self._goes_on = joined() is not None
        with contextlib.ExitStack() as stack:
            cluster = start(workers * num_cpus if workers else 0) if address is None else join(address)
            self._ray = stack.enter_context(cluster)
            room = self._room()
            self._open = stack.pop_all()
        self.workers = min(workers or room, room)
        """How many evaluations run at a time."""
        self._tasks: dict[bool, Any] = {}

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def share(self, value: Any) -> Shared:
        return _InStore(self._put(value))

    def run(self, evaluate: Evaluate, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yields (position in `archs`, evaluation) as evaluations finish; those under way when it is closed are ended.

        Raises:
            ValueError: `evaluate` cannot be sent to other processes.
        """
        if self._evaluate_ref is None or self._evaluate_ref[0] is not evaluate:
            self._evaluate_ref = (evaluate, self._put(evaluate))
        running: dict[Any, tuple[int, int, float]] = {}
        try:
            yield from self._run(self._evaluate_ref[1], archs, running)
        finally:
            if self._goes_on and self._ray.is_initialized():  # elsewhere they end with the cluster, or our part of it
                for ref in running:
                    self._ray.cancel(ref)  # by force, one that is just done may bring down the process

    def _run(
        self, evaluate_ref: Any, archs: Sequence[Arch], running: dict[Any, tuple[int, int, float]]
    ) -> Iterator[tuple[int, Evaluation]]:
        """`run`, with what is under way in `running`: the reference of its result to position, attempt and begin."""
        waiting = [(i, 1) for i in range(len(archs))][::-1]
        while waiting or running:
            self._count_workers()
            while waiting and len(running) < self.workers:
                i, attempt = waiting.pop()
                ref = self._task().remote(evaluate_ref, archs[i])
                running[ref] = (i, attempt, time.monotonic())
            ready, _ = self._ray.wait(list(running), num_returns=1, timeout=1.0)
            for ref in ready:
                i, attempt, _ = running.pop(ref)
                evaluation = self._result(ref)
                if evaluation.status == "failed" and attempt <= self.retries:
                    waiting.append((i, attempt + 1))
                else:
                    yield i, evaluation
            for ref, (i, attempt, begun) in list(running.items()):
                if self.timeout_s and time.monotonic() - begun > self.timeout_s:
                    self._ray.cancel(ref, force=True)
                    del running[ref]
                    if attempt <= self.retries:
                        waiting.append((i, attempt + 1))
                    else:
                        note = f"took, or waited for a place, longer than {self.timeout_s:g} s (ray.timeout_s), "
                        note += f"{attempt} times"
                        yield i, Evaluation(top1=0.0, status="failed", note=note)

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        with held_back():
            self._open.close()

    def _put(self, value: Any) -> Any:
        try:
            return self._ray.put(value)
        except TypeError as e:  # Ray adds a drawing of what it went through
            line = next((line for line in str(e).splitlines() if "pickle" in line), str(e).partition("\n")[0])
            raise ValueError(
                f"what evaluates cannot be sent to other processes ({line.strip()[:200]}); open files, locks "
                "and the like only inside of it, or use executor=serial"
            ) from None

    def _room(self) -> int:
        """How many evaluations the cluster can run at a time, at least one."""
        room = fits(self._ray.nodes(), self._num_cpus, self._num_gpus)
        if room < 1:
            total = self._ray.cluster_resources()
            raise ResourceError(
                f"no node has {self._num_cpus:g} CPUs and {self._num_gpus:g} GPUs for one evaluation (the cluster has "
                f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs); lower ray.num_cpus or ray.num_gpus"
            )
        return room

    def _task(self) -> Any:
        """What evaluates a network. A process with CUDA stays on the GPU that Ray gave it first, so that only where no
        node has several can it serve again; elsewhere, as Ray has it, each evaluation gets a new one, which takes
        seconds."""
        again = self._num_gpus == 0 or all(node["Resources"].get("GPU", 0) <= 1 for node in self._ray.nodes())
        if again not in self._tasks:
            options = {"num_cpus": self._num_cpus, "num_gpus": self._num_gpus, "max_retries": 2}
            options["max_calls"] = 0 if again else 1
            self._tasks[again] = self._ray.remote(**options)(_guarded_on_gpu if self._num_gpus else guarded)
        return self._tasks[again]

    def _count_workers(self) -> None:
        """Every few seconds: the cluster may have grown or shrunk."""
        now = time.monotonic()
        if self._at_most is None and now - self._counted > _COUNT_EVERY_S:
            self._counted = now
            self.workers = max(1, fits(self._ray.nodes(), self._num_cpus, self._num_gpus))

    def _result(self, ref: Any) -> Evaluation:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as e:
            # the worker or its node died more often than Ray retries, or the result cannot be sent
            return Evaluation(top1=0.0, status="failed", note=cause(getattr(e, "cause", None) or e))


def _guarded_on_gpu(evaluate: Evaluate, arch: Arch) -> Evaluation:
    """`guarded`; but a process whose CUDA is broken for good ends, so that Ray tries again in a new one."""
    evaluation = guarded(evaluate, arch)
    torch = sys.modules.get("torch")
    if evaluation.status == "failed" and torch and torch.cuda.is_initialized():
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            os._exit(1)
    return evaluation


def _check(
    here: bool, *, workers: int | None, num_cpus: float, num_gpus: float, timeout_s: float, retries: int
) -> None:
    """Raises ValueError for what can never be, or would fill a machine with processes."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: it must be at least 1")
    if not (num_cpus == 0 or 1 / _MOST_ON_A_CPU <= num_cpus < math.inf):
        raise ValueError(f"ray.num_cpus={num_cpus}: it must be at least {1 / _MOST_ON_A_CPU:g}, or 0")
    if not (
        num_gpus == 0 or 1 / _MOST_ON_A_GPU <= num_gpus <= 1 or (num_gpus < math.inf and num_gpus == int(num_gpus))
    ):
        raise ValueError(f"ray.num_gpus={num_gpus}: it must be a whole number, or a part of one of at least 0.01")
    cpus = available_cpus()
    if here and (workers or 1) * max(1, num_cpus) > _MOST_ON_A_CPU * cpus:
        raise ValueError(
            f"workers={workers or 1}, ray.num_cpus={num_cpus:g}: too many for the {cpus} CPUs of this machine, at most "
            f"{_MOST_ON_A_CPU * cpus} in all"
        )
    if workers is None and num_cpus == num_gpus == 0:
        raise ValueError("ray.num_cpus=0 and ray.num_gpus=0: set workers, since nothing else limits how many there are")
    if not timeout_s > 0:
        raise ValueError(f"ray.timeout_s={timeout_s}: it must be above 0")
    if retries < 0:
        raise ValueError(f"retries={retries}: it must be at least 0")


def fits(nodes: Sequence[dict[str, Any]], num_cpus: float, num_gpus: float) -> int:
    """How many tasks fit on the nodes that are alive, at once."""
    count = 0
    for node in nodes:
        if node["Alive"]:
            cpus = node["Resources"].get("CPU", 0) / num_cpus if num_cpus else float("inf")
            gpus = _by_gpus(node["Resources"].get("GPU", 0), num_gpus) if num_gpus else float("inf")
            count += int(min(cpus, gpus, 1e6))
    return count


def _by_gpus(gpus: float, num_gpus: float) -> float:
    """How many tasks `gpus` have room for: each takes whole ones, or a part of one."""
    return gpus / num_gpus if num_gpus >= 1 else int(gpus) * int(1 / num_gpus + 1e-9)
