"""Reaching a cluster, and one of several nodes: one is killed in the middle of a search, others join."""

import json
import socket
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from nas_runtime import cluster
from nas_runtime.cluster import ResourceError, join, start
from tests.commands.test_commands import HANGS_S, ROOT, command
from tests.dying_cluster import SAMPLES


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1:6379", ("10.0.0.1", 6379)),
        ("head.lab.example:6379", ("head.lab.example", 6379)),
        ("[::1]:6379", ("::1", 6379)),
    ],
)
def test_forms_of_addresses(address, expected):
    assert cluster._host_and_port(address) == expected


@pytest.mark.parametrize(
    "address",
    [
        *(5, True, "", "auto", "local", "6379", ":6379", "host:", "host:0", "host:65536", "host:6379x", "host:²"),
        *("::1:6379", "http://host:80", f"host:{'9' * 5000}", "a\x1bb"),
    ],
)
def test_what_is_no_address(address):
    message = "ray.address=.*: it must be host:port, like 10.0.0.1:6379"
    with pytest.raises(ResourceError, match=message) as refused, join(address):
        pass
    assert len(str(refused.value)) < 200
    assert str(refused.value).isprintable()


def test_the_port_of_rays_client():
    message = "ray.address=ray://head:10001: give the cluster's own port, like head:6379"
    with pytest.raises(ResourceError, match=message), join("ray://head:10001"):
        pass


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example"])
def test_a_host_that_there_is_not(host):
    with pytest.raises(ResourceError, match=f"no Ray cluster answers at {host}:6379 "), join(f"{host}:6379"):
        pass


@pytest.mark.parametrize("answer", [b"", b"-ERR unknown command\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_what_answers_is_no_ray(answer, monkeypatch):
    """Silent, a Redis, a web server, or one that hangs up: Ray itself waits for minutes."""
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        served = []

        def serve():
            connection, _ = server.accept()
            if answer is None:
                connection.close()
            else:
                connection.recv(3)
                connection.sendall(answer)
                served.append(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ResourceError, match=f"what answers at {address} is no Ray cluster"), join(address):
            pass
        thread.join()
        for connection in served:
            connection.close()


def test_the_token_of_a_user(monkeypatch, tmp_path):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not cluster._has_token()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("7")
    assert cluster._has_token()

    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert not cluster._has_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "7")
    assert cluster._has_token()


def test_without_ray_or_with_an_old_one(monkeypatch):
    old = types.ModuleType("ray")
    old.__dict__.update(__version__="2.9.3", is_initialized=lambda: False)
    for module, message in (
        (None, "Ray cannot be imported .*; pip install 'ray\\[tune\\]', or use executor=serial"),
        (old, "Ray 2.9.3 is too old; pip install 'ray\\[tune\\]>=2.52', or use executor=serial"),
    ):
        monkeypatch.setitem(sys.modules, "ray", module)
        with pytest.raises(ResourceError, match=message), start(1):
            pass


def test_a_search_in_one_process_records_that_there_is_no_ray():
    from nas import environment

    assert environment.version("no-such-package") is None
    assert environment.version("ray")


def test_what_ray_says_when_it_does_not_start_is_one_line(monkeypatch, tmp_path):
    left = []

    def init(**settings):
        assert Path(settings["_temp_dir"]).parent.stat().st_mode & 0o777 == 0o700
        left.append(Path(settings["_temp_dir"]).parent)
        raise Exception("The current node timed out.\n\nIt may be overloaded.")

    fake = types.ModuleType("ray")
    fake.__dict__.update(__version__="3.0.0.dev0", is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", fake)
    message = "Ray does not start on this machine: The current node timed out. It may be overloaded.; mend that, or use"
    with pytest.raises(ResourceError, match=message), start(1):
        pass
    assert left
    assert not left[0].exists()


def test_without_a_loopback_interface():
    """Ray itself waits for ever."""
    program = "from nas_runtime.cluster import start\nwith start(1): pass"
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=HANGS_S,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("namespaces are not permitted here")
    assert "ResourceError: Ray needs 127.0.0.1, which does not work here" in done.stderr
    assert "ip link set lo up, or use executor=serial" in done.stderr


def test_a_node_dies_and_two_join(tmp_path):
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    done = command("tests.dying_cluster", str(tmp_path), cwd=tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rc"] == 0
    assert result["workers"] == 3  # more than it began with
    records = [json.loads(line)["record"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert sorted(record["sample"] for record in records) == list(range(SAMPLES))
    assert all(record["status"] == "ok" for record in records)
    assert {record["note"] for record in records} == set(result["nodes"])
