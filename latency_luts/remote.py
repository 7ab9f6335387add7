"""Measuring on another machine of a Ray cluster: the bench of `measure`, in an actor on the node that has a resource.

Start Ray on the device with a resource of its own, ``ray start --address=HOST:PORT --resources='{"rpi4": 1}'``; the
device needs this package with onnx and onnxruntime. The actor takes the whole of the resource, so that nothing else is
measured there at the same time.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from latency_luts.measure import Bench, bench, identity
from latency_luts.measurements import ChainTiming, NetworkTiming
from latency_luts.table import Identity, TableError
from nas_runtime.cluster import join
from search_spaces.arch import Arch

__all__ = ["RemoteBench", "remote_bench"]


class RemoteBench:
    """Has the methods of a `Bench`; the work is done by `actor`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def time_chains(self, chains: Sequence[Arch], *, bursts: int) -> list[ChainTiming]:
        return self._get(self._actor.time_chains.remote(list(chains), bursts))

    def time_networks(self, archs: Sequence[Arch], *, bursts: int) -> list[NetworkTiming]:
        return self._get(self._actor.time_networks.remote(list(archs), bursts))

    def _get(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as e:
            line = next((line for line in reversed(str(e).splitlines()) if line.strip()), type(e).__name__)
            raise TableError(
                f"measuring on the node failed: {line.strip()}; the same command without fresh=true continues"
            ) from None


class _Worker:
    """Runs on the node: a `Bench` that lives as long as the actor."""

    def __init__(self, threads: int, batch: int, dtype: str) -> None:
        self._how = identity(threads=threads, batch=batch, dtype=dtype)
        self._open = contextlib.ExitStack()
        self._bench: Bench = self._open.enter_context(bench(self._how))

    def identity(self) -> Identity:
        return self._how

    def time_chains(self, chains: list[Arch], bursts: int) -> list[ChainTiming]:
        return self._bench.time_chains(chains, bursts=bursts)

    def time_networks(self, archs: list[Arch], bursts: int) -> list[NetworkTiming]:
        return self._bench.time_networks(archs, bursts=bursts)

    def close(self) -> None:
        self._open.close()


@contextlib.contextmanager
def remote_bench(
    address: str, resource: str, *, threads: int, batch: int, dtype: str
) -> Iterator[tuple[Identity, RemoteBench]]:
    """What the node with `resource` is, and a bench on it.

    Raises:
        ValueError: the cluster cannot be joined (`join`), or no node has the resource.
        TableError: the node cannot measure: the package or the runtime is missing there.
    """
    with join(address) as ray:
        amounts = [
            node["Resources"][resource] for node in ray.nodes() if node["Alive"] and resource in node["Resources"]
        ]
        if not amounts:
            known = sorted({name for node in ray.nodes() for name in node["Resources"] if ":" not in name})
            raise ValueError(
                f"ray.resource={resource}: no node of the cluster has it (there are: {', '.join(known)}); start Ray on "
                f"the device with --resources='{{\"{resource}\": 1}}'"
            )
        actor = ray.remote(num_cpus=0, resources={resource: max(amounts)})(_Worker).remote(threads, batch, dtype)
        machine = RemoteBench(ray, actor)
        try:
            yield machine._get(actor.identity.remote()), machine
        finally:
            with contextlib.suppress(Exception):
                ray.get(actor.close.remote(), timeout=10)
            ray.kill(actor)
