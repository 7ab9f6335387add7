"""Evaluations in clusters of other processes: with GPUs, with tokens, in a process that has Ray already."""

import os
import subprocess
import sys

import pytest

from tests.commands.test_commands import HANGS_S, ROOT
from tests.nas.test_executor_ray import ARCHS

_WITH_A_GPU = """
import subprocess, sys, ray
quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
ray.init(address="local", num_cpus=2, num_gpus=int(sys.argv[1]), **quiet)
joining = f'''
import os
from nas.executor_ray import RayExecutor
from nas.trial import Evaluation
from tests.nas.test_executor_ray import ARCHS
with RayExecutor(address="{ray.get_runtime_context().gcs_address}", num_gpus=0.5) as joined:
    print(len({{e.seconds for _, e in joined.run(lambda arch: Evaluation(top1=0, seconds=os.getpid()), ARCHS)}}))
'''
sys.exit(subprocess.run([sys.executable, "-c", joining]).returncode)
"""


@pytest.mark.parametrize(("gpus", "most"), [(1, 2), (2, len(ARCHS))])
def test_evaluations_that_take_a_gpu_share_processes_where_there_is_one(gpus, most):
    """A process stays on its first GPU; where a node has several, the next evaluation may have another."""
    done = subprocess.run(
        [sys.executable, "-c", _WITH_A_GPU, str(gpus)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= most < 3 or int(done.stdout) == most == len(ARCHS)


_WITH_A_TOKEN = """
import os, subprocess, sys, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
address = ray.get_runtime_context().gcs_address
joining = f'''
from nas.executor_ray import RayExecutor, ResourceError
from tests.nas.test_executor_ray import ARCHS, params_m
try:
    with RayExecutor(address="{address}") as joined:
        print("joined", sum(e.status == "ok" for _, e in joined.run(params_m, ARCHS)))
except ResourceError as e:
    print(e)
'''
others = {n: v for n, v in os.environ.items() if not n.startswith("RAY_AUTH")}
subprocess.run([sys.executable, "-c", joining], env={**others, "HOME": sys.argv[1]}, stderr=subprocess.DEVNULL)
"""


@pytest.mark.parametrize(
    ("mode", "known", "says"),
    [
        ("token", True, "joined 6"),
        ("token", False, "wants its token; copy ~/.ray/auth_token from its head node, or set RAY_AUTH_"),
        ("disabled", True, "joined 6"),
    ],
)
def test_a_cluster_that_wants_a_token_or_none(mode, known, says, tmp_path):
    """`ray start` makes one by itself, in the home of its user, but a driver shows none unless it is told to; and one
    that shows it where none is wanted would not hear of its workers."""
    token = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN": "7" * 64}
    if known:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text(token["RAY_AUTH_TOKEN"])
    done = subprocess.run(
        [sys.executable, "-c", _WITH_A_TOKEN, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=HANGS_S,
        check=False,
        env={**os.environ, **token},
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_a_process_that_has_ray_already(tmp_path):
    """Ray asks once for a process's way of authentication, when it is imported."""
    program = "import ray\nfrom nas.executor_ray import RayExecutor\nwith RayExecutor(workers=1): print('started')"
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**others, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["started"], done.stderr
