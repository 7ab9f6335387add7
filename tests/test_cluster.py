"""A cluster of several nodes: one is killed in the middle of a search, another one joins."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_commands import ROOT
from tests.test_kills import lines

# Ray's own warnings about its own future, and sockets and files that it leaves to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SCRIPT = """
import sys, time
from pathlib import Path
import latency_luts
from nas import controllers
from nas.executor_ray import RayExecutor
from nas.journal import Journal
from nas.loop import search
from nas.reward import Reward
from nas.trial import Evaluation
from search_spaces import spaces

folder, address = Path(sys.argv[1]), sys.argv[2]


def evaluate(arch):
    import ray

    time.sleep(0.2)
    return Evaluation(top1=0.5, note=ray.get_runtime_context().get_node_id())


space = spaces.get("accel_nasbench")
with RayExecutor(address=address) as executor:
    search(
        space=space,
        controller=controllers.make("evolution", space),
        evaluate=evaluate,
        latency_ms=latency_luts.load("pixel1").latency_ms,
        reward=Reward(name="soft", target_ms=51),
        samples=int(sys.argv[3]),
        batch=8,
        executor=executor,
        journal=Journal(folder / "journal.jsonl", space.decode),
    )
    print(executor.workers)
"""


def test_a_node_dies_and_two_join(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0)
        first = cluster.add_node(num_cpus=1)
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), cluster.address, "320"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        _wait_for(tmp_path / "journal.jsonl", 24, process)
        cluster.remove_node(second, allow_graceful=False)
        joined = [cluster.add_node(num_cpus=1) for _ in range(2)]
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    finally:
        cluster.shutdown()
    records = [json.loads(line)["record"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert sorted(record["sample"] for record in records) == list(range(320))
    assert all(record["status"] == "ok" for record in records)
    used = {record["note"] for record in records}
    assert used == {first.node_id, second.node_id, *(node.node_id for node in joined)}
    assert out.split()[-1] == "3"  # more than it began with


def _wait_for(path: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 90
    while lines(path) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
