"""Ray on this machine (`start`), or a cluster of others (`join`), for as long as a block lasts.

What Ray itself answers with a minute of silence, or with addresses of machine code, is asked first and said in a line.
"""

import contextlib
import functools
import logging
import math
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

from nas_runtime.console import brief
from nas_runtime.scratch import private_folder
from nas_runtime.signals import held_back, kept

__all__ = ["ResourceError", "available_cpus", "join", "joined", "start"]

_OLDEST = (2, 52)
# the path of a socket has at most 103 bytes, on Linux 107
_LONGEST_FOLDER_BYTES = 103 - len("/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_ANSWER_S = 5.0
_GIVE_TOKEN = "copy ~/.ray/auth_token from its head node, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
_SERIAL = "or use executor=serial"

_log = logging.getLogger(__name__)


class ResourceError(ValueError):
    """The cluster cannot be started or reached, or can never give what a task asks for."""


@contextlib.contextmanager
def start(num_cpus: float) -> Generator[Any]:
    """The module ``ray``, in a cluster of our own on this machine, with its own token, that ends with the block and
    writes nothing outside its folder. A cluster that this process has joined already is used, and goes on.

    Args:
        num_cpus: how many CPUs it is to have at least, whatever the machine has.

    Raises:
        ResourceError: Ray is missing or too old, or does not start on this machine.
    """
    if ray := joined():
        yield ray
        return
    _check_loopback()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "ray" not in sys.modules:  # it asks once for a process's way of authentication
        os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.pop("RAY_ADDRESS", None)
    ray = _import_ray()
    with private_folder("nas-ray-", longest_bytes=_LONGEST_FOLDER_BYTES) as folder:
        try:
            with kept(), held_back(), _temporary_files_in(folder / "tmp"), _in_groups_of_their_own():
                ray.init(
                    address="local",
                    num_cpus=math.ceil(max(available_cpus(), num_cpus)),
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    _temp_dir=str(folder / "r"),  # which Ray opens to everyone
                    **_store(folder),
                )
        except Exception as e:  # a plain Exception where its processes do not come up
            _leave(ray)
            raise ResourceError(f"Ray does not start on this machine: {_one_line(e)}; mend that, {_SERIAL}") from None
        except BaseException:
            _leave(ray)
            raise
        try:
            yield ray
        finally:
            _leave(ray)


@contextlib.contextmanager
def join(address: str) -> Generator[Any]:
    """The module ``ray``, in the cluster at `address`, with this user's token if it wants one.

    Raises:
        ResourceError: no HOST:PORT, no Ray answers there, the cluster wants a token that is not here, or this process
            has joined another one.
    """
    host, port = _host_and_port(address)
    _probe(address, host, port)
    if ray := joined():
        known = ray.get_runtime_context().gcs_address
        if known not in _names(host, port):
            raise ResourceError(
                f"ray.address={address}: this process is in the Ray cluster at {known} already; "
                "call ray.shutdown() first, or use that one"
            )
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ and _wants_token(address):
        # Ray asks for the mode once, when it is imported. A driver with the other mode than its cluster's can join
        # it at best, and not be reached by its workers.
        if not _has_token():
            raise ResourceError(f"the Ray cluster at {address} wants its token; {_GIVE_TOKEN}")
        os.environ["RAY_AUTH_MODE"] = "token"
    ray = _import_ray()
    try:
        try:
            with kept():
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except Exception as e:
            raise ResourceError(
                f"cannot join the Ray cluster at {address}: {_one_line(e)}; if it wants another token, {_GIVE_TOKEN}"
            ) from None
        yield ray
    finally:
        _leave(ray)


def available_cpus() -> int:
    """The CPUs of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _import_ray() -> Any:
    try:
        import ray  # its stubs know neither actors nor names of log levels
    except ImportError as e:
        raise ResourceError(f"Ray cannot be imported ({e}); pip install 'ray[tune]', {_SERIAL}") from None
    version = tuple(int(part) for part in ray.__version__.split(".")[:2] if part.isdigit())
    if version < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ResourceError(f"Ray {ray.__version__} is too old; pip install 'ray[tune]>={oldest}', {_SERIAL}")
    return ray


def joined() -> Any:
    """The module ``ray`` if this process is in a cluster, else None."""
    ray = sys.modules.get("ray")
    return ray if ray and ray.is_initialized() else None


def _leave(ray: Any) -> None:
    with held_back():  # but for a second SIGTERM: Ray lets go of it in the middle, so that it ends the process at once
        ray.shutdown()


def _check_loopback() -> None:
    """Ray's processes on a machine talk to each other over it, and without it wait for ever."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_ANSWER_S).close()
    except OSError as e:
        raise ResourceError(
            f"Ray needs 127.0.0.1, which does not work here ({e.strerror or e}); ip link set lo up, {_SERIAL}"
        ) from None


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Generator[None]:
    """Processes that are started inside have their temporary files in `folder`: it goes also when they are killed."""
    folder.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


@contextlib.contextmanager
def _in_groups_of_their_own() -> Generator[None]:
    """Ray's processes that are started inside do not get the signals that a terminal or a batch system sends to all of
    a command's: Ray ends a program the hard way whose other processes go first."""
    services: Any = sys.modules.get("ray._private.services")
    popen = getattr(services, "ConsolePopen", None)
    if sys.platform != "linux" or popen is None:  # elsewhere Ray itself finds its processes by their group
        yield
        return
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _store(folder: Path) -> dict[str, str]:
    """Where Ray's object store lies, if it is not where Ray would put it, which waits for ever if it cannot write."""
    if sys.platform != "linux" or os.access("/dev/shm", os.W_OK):
        return {}
    _log.warning("/dev/shm cannot be written to: Ray's object store is in %s, which is slower", folder)
    return {"_plasma_directory": str(folder)}


def _host_and_port(address: Any) -> tuple[str, int]:
    """Of ``host:port``; an IPv6 address stands in brackets."""
    text = address if isinstance(address, str) else ""
    host, _, port = text.rpartition(":")
    if host.startswith("ray://") or text.startswith("ray://"):
        raise ResourceError(
            f"ray.address={brief(address)}: give the cluster's own port, like {host[6:] or '10.0.0.1'}:6379"
        )
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ResourceError(f"ray.address={brief(address)}: it must be host:port, like 10.0.0.1:6379")
    return host, int(port)


def _probe(address: str, host: str, port: int) -> None:
    """Asks the port of a cluster's address, since Ray itself waits for minutes without a word.

    Raises:
        ResourceError: nothing answers there, or something that is no Ray.
    """
    try:
        with socket.create_connection((host, port), timeout=_ANSWER_S) as connection:
            is_ray = os.environ.get("RAY_USE_TLS") == "1" or _speaks_http2(connection)
    except (OSError, UnicodeError) as e:  # UnicodeError: of a name that can be no host's
        raise ResourceError(f"no Ray cluster answers at {address} ({e}); start one with: ray start --head") from None
    if not is_ray:
        raise ResourceError(f"what answers at {address} is no Ray cluster; start one with: ray start --head")


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the greeting of gRPC (RFC 9113, section 3.4) is answered by one: a frame of type SETTINGS."""
    try:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        return connection.makefile("rb").read(4)[3:] == b"\4"
    except OSError:  # it hangs up, or says nothing
        return False


def _names(host: str, port: int) -> set[str]:
    """The addresses that `host` stands for, as Ray writes them."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return {f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip in found | {host}}


def _wants_token(address: str) -> bool:
    """Whether a cluster refuses those who show none, as `ray start` makes it do since Ray 2.59."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    try:
        asked = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"AuthenticationError" in asked.stdout + asked.stderr


def _has_token() -> bool:
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token")
    with contextlib.suppress(RuntimeError):  # of a user without a home
        file = file.expanduser()
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or file.exists()


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__
