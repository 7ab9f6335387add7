"""`RayExecutor`: evaluations as Ray tasks, on this machine or on a cluster.

The evaluation (with its data set) goes into the object store once; each task gets one network. A crashed worker's task
is retried by Ray, a straggler is cancelled and tried again.
"""

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from latency_luts.remote import join
from nas.executor import Evaluate, Shared, guarded
from nas.trial import Evaluation
from search_spaces.arch import Arch

__all__ = ["RayExecutor", "ResourceError", "fits"]


_COUNT_EVERY_S = 5.0


class ResourceError(ValueError):
    """The cluster cannot be reached, or can never give what a task asks for."""


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
        address: ``host:port`` of a cluster to join; None starts one on this machine for as long as it is needed.
        workers: evaluations at a time; None: as many as the cluster's CPUs (and GPUs) allow, also as nodes come or go.
        num_cpus, num_gpus: what one evaluation takes; ``num_gpus`` may be a fraction.
        timeout_s: an evaluation that takes longer is cancelled.
        retries: how often an evaluation that failed or took too long is tried again, before it is recorded as failed.

    Raises:
        ResourceError: nothing answers at `address`, or no node can ever run one evaluation.
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
        self.timeout_s: float | None = timeout_s
        self.retries = retries
        self._num_cpus, self._num_gpus, self._at_most = num_cpus, num_gpus, workers
        self._counted = time.monotonic()
        self._temp_dir: str | None = None
        self._evaluate_ref: tuple[Evaluate, Any] | None = None
        if address is None:
            self._ray = self._start(workers * num_cpus if workers else 0)
        else:
            try:
                os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
                self._ray = join(address)
            except ValueError as e:
                raise ResourceError(str(e)) from None
        total = self._ray.cluster_resources()
        try:
            room = fits(self._ray.nodes(), num_cpus, num_gpus)
            if room < 1:
                raise ResourceError(
                    f"no node has {num_cpus:g} CPUs and {num_gpus:g} GPUs for one evaluation (the cluster has "
                    f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs); "
                    "lower ray.num_cpus or ray.num_gpus"
                )
        except BaseException:
            self.close()
            raise
        self.workers = min(workers or room, room)
        """How many evaluations run at a time."""
        self._tasks: dict[bool, Any] = {}

    def __enter__(self) -> "RayExecutor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def share(self, value: Any) -> Shared:
        return _InStore(self._ray.put(value))

    def run(self, evaluate: Evaluate, archs: Sequence[Arch]) -> Iterator[tuple[int, Evaluation]]:
        """Yields (position in `archs`, evaluation) as evaluations finish."""
        if self._evaluate_ref is None or self._evaluate_ref[0] is not evaluate:
            self._evaluate_ref = (evaluate, self._ray.put(evaluate))
        waiting = [(i, 1) for i in range(len(archs))][::-1]
        running: dict[Any, tuple[int, int, float]] = {}  # ref -> position, attempt, start
        while waiting or running:
            self._count_workers()
            while waiting and len(running) < self.workers:
                i, attempt = waiting.pop()
                ref = self._task().remote(self._evaluate_ref[1], archs[i])
                running[ref] = (i, attempt, time.monotonic())
            ready, _ = self._ray.wait(list(running), num_returns=1, timeout=1.0)
            for ref in ready:
                i, attempt, _ = running.pop(ref)
                evaluation = self._result(ref)
                if evaluation.status == "failed" and attempt <= self.retries:
                    waiting.append((i, attempt + 1))
                else:
                    yield i, evaluation
            for ref, (i, attempt, start) in list(running.items()):
                if self.timeout_s and time.monotonic() - start > self.timeout_s:
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
        self._ray.shutdown()
        if self._temp_dir:
            shutil.rmtree(self._temp_dir, ignore_errors=True)

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
        except self._ray.exceptions.RayError as e:  # the worker or its node died more often than Ray retries
            return Evaluation(top1=0.0, status="failed", note=f"{type(e).__name__}: {str(e).splitlines()[0]}")

    def _start(self, num_cpus: float) -> Any:
        """A cluster of our own on this machine, with its own token, that writes nothing outside its folder."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if "ray" not in sys.modules:  # it asks once for a process's way of authentication
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.pop("RAY_ADDRESS", None)
        self._temp_dir = tempfile.mkdtemp(prefix="nas-ray-")
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ray.init(
            address="local",
            num_cpus=int(max(available, num_cpus)),
            include_dashboard=False,
            _temp_dir=self._temp_dir,
            **quiet,
        )
        return ray


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
