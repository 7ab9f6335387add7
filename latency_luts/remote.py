"""Measuring on another machine of a Ray cluster: the bench of `measure`, in an actor on the node that has a resource.

Start Ray on the device with a resource of its own, ``ray start --address=HOST:PORT --resources='{"rpi4": 1}'``; the
device needs this package with onnx and onnxruntime. The actor takes the whole of the resource, so that nothing else is
measured there at the same time.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latency_luts.measure import Bench, ChainTiming, NetworkTiming, bench, identity
from latency_luts.table import Identity, TableError
from search_spaces.arch import Arch

__all__ = ["RemoteBench", "join", "remote_bench"]

_GIVE_TOKEN = "copy ~/.ray/auth_token from its head node, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"


def join(address: str) -> Any:
    """The module ``ray``, in the cluster at `address`, with this user's token if it wants one.

    Raises:
        ValueError: no HOST:PORT, nothing answers there, or the cluster wants a token that is not here.
    """
    _probe(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ and _wants_token(address):
        # Ray asks for the mode once, when it is imported. A driver with the other mode than its cluster's can join
        # it at best, and not be reached by its workers.
        if not _has_token():
            raise ValueError(f"the Ray cluster at {address} wants its token; {_GIVE_TOKEN}")
        os.environ["RAY_AUTH_MODE"] = "token"
    import ray as ray_package

    ray: Any = ray_package  # its stubs know neither actors nor names of log levels
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as e:
        line = next(iter(str(e).splitlines()), type(e).__name__)
        raise ValueError(
            f"cannot join the Ray cluster at {address}: {line}; if it wants another token, {_GIVE_TOKEN}"
        ) from None
    return ray


def _wants_token(address: str) -> bool:
    """Whether a cluster refuses those who show none, as `ray start` makes it do since Ray 2.59."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address.removeprefix("ray://")]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    try:
        asked = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return False
    return "AuthenticationError" in asked.stdout + asked.stderr


def _has_token() -> bool:
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or file.exists()


def _probe(address: str) -> None:
    """Asks the port of a cluster's address, since Ray itself waits for a minute without a word.

    Raises:
        ValueError: no HOST:PORT, or nothing answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"ray.address={address}: it must be host:port, like 10.0.0.1:6379")
    try:
        with contextlib.closing(socket.create_connection((host, int(port)), timeout=5)):
            pass
    except OSError as e:
        raise ValueError(f"no Ray cluster answers at {address} ({e}); start one with: ray start --head") from None


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
            raise TableError(f"measuring on the node failed: {line.strip()}; the same command continues") from None


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
    ray = join(address)
    try:
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
    finally:
        ray.shutdown()
