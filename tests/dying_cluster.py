"""A cluster for tests, in a process of its own: `python -m tests.dying_cluster FOLDER`.

A search runs on two nodes; one of them is killed in the middle, and two others join, without which the search does not
end. Prints, as JSON, the ids of the four nodes and how many workers the search had at its end.
"""

import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import latency_luts
from nas import controllers
from nas.executor_ray import RayExecutor
from nas.journal import Journal
from nas.loop import search
from nas.reward import Reward
from nas.trial import Evaluation
from search_spaces import spaces
from tests.commands.test_commands import HANGS_S
from tests.nas.test_kills import lines

SAMPLES = 320
BEFORE, TOGETHER = 24, 100  # samples before a node is killed, and those that may begin before all four have had one


def evaluate(folder: Path, arch) -> Evaluation:
    """Says on which node it ran."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    (folder / f"{node}.node").touch()
    time.sleep(0.2)
    while lines(folder / "journal.jsonl") > TOGETHER and len(list(folder.glob("*.node"))) < 4:
        time.sleep(0.05)
    return Evaluation(top1=0.5, note=node)


def run_search(folder: Path, address: str) -> None:
    space = spaces.get("accel_nasbench")
    with RayExecutor(address=address) as executor:
        search(
            space=space,
            controller=controllers.make("evolution", space),
            evaluate=functools.partial(evaluate, folder),
            latency_ms=latency_luts.load("pixel1").latency_ms,
            reward=Reward(name="soft", target_ms=51),
            samples=SAMPLES,
            batch=8,
            executor=executor,
            journal=Journal(folder / "journal.jsonl", space.decode),
        )
        print(executor.workers)


def main(folder: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0)
        first, second = (cluster.add_node(num_cpus=1) for _ in range(2))
        cluster.wait_for_nodes()
        command = [sys.executable, "-m", "tests.dying_cluster", str(folder), cluster.address]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while lines(folder / "journal.jsonl") < BEFORE:
            if process.poll() is not None:
                sys.exit("the search ended too early")
            time.sleep(0.1)
        cluster.remove_node(second, allow_graceful=False)
        joined = [cluster.add_node(num_cpus=1) for _ in range(2)]
        out, _ = process.communicate(timeout=HANGS_S)
        nodes = [node.node_id for node in (first, second, *joined)]
        print(json.dumps({"rc": process.returncode, "nodes": nodes, "workers": int(out.split()[-1])}))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        # the function of the importable module, so that workers find it
        from tests.dying_cluster import run_search

        run_search(Path(sys.argv[1]), sys.argv[2])
    else:
        main(Path(sys.argv[1]))
