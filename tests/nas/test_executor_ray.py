"""Evaluations under Ray: the same results as in this process, whatever happens to the workers."""

import itertools
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas import executor_ray
from nas.executor import SerialExecutor
from nas.executor_ray import RayExecutor, ResourceError
from nas.trial import Evaluation
from nas_runtime import cluster
from search_spaces import cost
from tests.commands.test_commands import HANGS_S
from tests.conftest import random_archs

# Ray's own warnings about its own future, and sockets and files that it leaves to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def executor():
    with RayExecutor(workers=2, timeout_s=HANGS_S) as ray_executor:
        yield ray_executor


ARCHS = random_archs(6, rng_seed=0)


def params_m(arch):
    return Evaluation(top1=1 / cost.params(arch))


def results(executor, evaluate, archs=ARCHS):
    pairs = list(executor.run(evaluate, archs))
    assert sorted(i for i, _ in pairs) == list(range(len(archs)))
    return [evaluation for _, evaluation in sorted(pairs, key=lambda pair: pair[0])]


def test_the_same_as_in_process(executor):
    assert results(executor, params_m) == results(SerialExecutor(), params_m)
    assert results(executor, params_m, []) == []


@pytest.mark.parametrize("value", [None, (0.5, 0.1), "0.5", 71.5])
def test_what_is_no_accuracy_is_the_same_failure_as_in_process(executor, value):
    (here,), (there,) = (results(e, lambda arch: value, ARCHS[:1]) for e in (SerialExecutor(), executor))
    assert here == there
    assert here.note.startswith(f"the evaluator returned {value!r}; expected a number in [0, 1] or an Evaluation")


def test_evaluations_run_side_by_side(executor, tmp_path):
    """Each waits for the other one to begin."""

    def meet(arch):
        (tmp_path / str(ARCHS.index(arch))).touch()
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        return 0.5

    assert results(executor, meet, ARCHS[:2]) == [Evaluation(top1=0.5)] * 2


def test_a_crashed_worker_is_replaced(executor, tmp_path):
    marker = tmp_path / "crashed"

    def crash_once(arch):
        if not marker.exists():
            marker.touch()
            os._exit(1)
        return params_m(arch)

    assert results(executor, crash_once) == results(SerialExecutor(), params_m)
    assert marker.exists()


def test_a_network_that_always_kills_its_worker_fails_alone(executor):
    def crash_on_first(arch):
        if arch == ARCHS[0]:
            os._exit(1)
        return params_m(arch)

    first, *rest = results(executor, crash_on_first, ARCHS[:3])
    assert first.status == "failed"
    assert "died" in first.note or "crash" in first.note.lower()
    assert all(e.status == "ok" for e in rest)


def test_an_exception_is_tried_again_and_then_recorded(executor, tmp_path):
    def broken(arch):
        (tmp_path / str(time.monotonic_ns())).touch()
        raise RuntimeError("no camera")

    (evaluation,) = results(executor, broken, ARCHS[:1])
    assert evaluation.status == "failed"
    assert evaluation.note.startswith("RuntimeError: no camera (test_executor_ray.py, line ")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_straggler_is_cancelled_and_tried_again(executor, tmp_path, monkeypatch):
    """By a clock on which it is late once it has begun, and the next attempt never is."""
    marker, looks = tmp_path / "slow", itertools.count()

    def now() -> float:
        return 1000.0 if next(looks) > 1 and marker.exists() else 0.0  # the first two are before it is sent

    def endless_once(arch):
        if not marker.exists():
            marker.touch()
            threading.Event().wait()
        return params_m(arch)

    monkeypatch.setattr(executor_ray, "time", SimpleNamespace(monotonic=now))
    monkeypatch.setattr(executor, "timeout_s", 40)
    assert results(executor, endless_once, ARCHS[:1]) == [params_m(ARCHS[0])]


def test_its_folder_is_private_and_holds_what_its_processes_write(executor):
    import ray

    (evaluation,) = results(executor, lambda arch: Evaluation(top1=0, note=tempfile.gettempdir()), ARCHS[:1])
    folder = Path(evaluation.note).parent
    assert folder.name.startswith("nas-ray-")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert Path(ray.nodes()[0]["ObjectStoreSocketName"]).is_relative_to(folder)
    assert tempfile.gettempdir() != evaluation.note  # this process goes on as it was
    assert os.environ.get("TMPDIR") != evaluation.note


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Ray finds its processes by their group")
def test_its_processes_do_not_get_the_signals_to_this_group(executor):
    (evaluation,) = results(executor, lambda arch: Evaluation(top1=0, seconds=os.getpgid(0)), ARCHS[:1])
    assert evaluation.seconds != os.getpgid(0)


def test_what_cannot_be_sent_between_processes(executor):
    lock = threading.Lock()

    def holds_a_lock(arch):
        return float(lock.locked())

    with pytest.raises(
        ValueError, match="what evaluates cannot be sent .*cannot pickle '_thread.lock'.* executor=serial"
    ):
        results(executor, holds_a_lock)
    with pytest.raises(ValueError, match="what evaluates cannot be sent"):
        executor.share(lock)
    (evaluation,) = results(executor, lambda arch: Evaluation(top1=0.5, state=threading.Lock()), ARCHS[:1])
    assert evaluation.status == "failed"
    assert evaluation.note.startswith("TypeError: ")
    assert "cannot pickle '_thread.lock' object" in evaluation.note
    assert "\n" not in evaluation.note


def test_wrong_answers_fail_as_in_process(executor):
    answers = [None, (0.5, 1), "0.5", 97.0, float("nan"), 0.5]

    def evaluate(arch):
        return answers[ARCHS.index(arch)]

    assert results(executor, evaluate) == results(SerialExecutor(), evaluate)


def test_who_stops_asking_leaves_nothing_running(executor):
    def quick_once(arch):
        if arch != ARCHS[0]:
            threading.Event().wait()
        return 0.5

    with RayExecutor(workers=2) as another:  # in the same cluster, which goes on
        running = another.run(quick_once, ARCHS)
        assert next(running) == (0, Evaluation(top1=0.5))
        running.close()
    assert results(executor, params_m) == results(SerialExecutor(), params_m)


def test_nothing_answers_at_the_address(monkeypatch):
    """It is found out without Ray, which waits for minutes."""
    monkeypatch.setattr(cluster, "_import_ray", None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ResourceError, match=f"no Ray cluster answers at {address} .* ray start --head"):
        RayExecutor(address=address)
    with pytest.raises(ResourceError, match="ray.address=nonsense: it must be host:port"):
        RayExecutor(address="nonsense")


def test_a_process_that_is_in_a_cluster_uses_that_one(executor):
    import ray

    address = ray.get_runtime_context().gcs_address
    for settings in ({}, {"address": address}):
        with RayExecutor(workers=1, **settings) as another:
            assert results(another, params_m, ARCHS[:1]) == [params_m(ARCHS[0])]
        assert ray.is_initialized()
        another.close()  # once more does no harm
    with pytest.raises(ResourceError, match="no node has 1 CPUs and 99 GPUs"):
        RayExecutor(num_gpus=99)
    assert ray.is_initialized()
    others = ray.nodes()[0]  # something else of this machine that speaks Ray's language
    other = f"{others['NodeManagerAddress']}:{others['NodeManagerPort']}"
    message = (
        f"ray.address={other}: this process is in the Ray cluster at {address} already; call ray.shutdown\\(\\) first"
    )
    with pytest.raises(ResourceError, match=message):
        RayExecutor(address=other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers=0: it must be at least 1"),
        (
            {"workers": 10**9},
            "workers=1000000000, ray.num_cpus=1: too many for the .* CPUs of this machine, at most .* in all",
        ),
        ({"workers": 1, "num_cpus": 10**9}, "workers=1, ray.num_cpus=1e\\+09: too many for the"),
        ({"num_cpus": 0.0001}, "ray.num_cpus=0.0001: it must be at least 0.0625, or 0"),
        ({"num_cpus": float("nan")}, "ray.num_cpus=nan: it must be at least 0.0625, or 0"),
        ({"num_cpus": float("inf")}, "ray.num_cpus=inf: it must be"),
        ({"num_cpus": -1}, "ray.num_cpus=-1: it must be"),
        ({"num_gpus": 1.5}, "ray.num_gpus=1.5: it must be a whole number, or a part of one of at least 0.01"),
        ({"num_gpus": 0.001}, "ray.num_gpus=0.001: it must be"),
        ({"num_gpus": float("inf")}, "ray.num_gpus=inf: it must be"),
        ({"num_cpus": 0}, "ray.num_cpus=0 and ray.num_gpus=0: set workers, since nothing else limits"),
        ({"timeout_s": 0}, "ray.timeout_s=0: it must be above 0"),
        ({"timeout_s": float("nan")}, "ray.timeout_s=nan: it must be above 0"),
        ({"retries": -1}, "retries=-1: it must be at least 0"),
    ],
)
def test_numbers_that_can_never_be(settings, message):
    with pytest.raises(ValueError, match=message):
        RayExecutor(**settings)


def test_joining_a_cluster_and_asking_too_much(executor):
    import ray

    address = ray.get_runtime_context().gcs_address
    script = f"""
import sys
from nas.executor_ray import RayExecutor, ResourceError
from tests.nas.test_executor_ray import ARCHS, params_m
with RayExecutor(address="{address}") as joined:
    assert [e for _, e in sorted(joined.run(params_m, ARCHS[:2]), key=lambda pair: pair[0])] == [
        params_m(arch) for arch in ARCHS[:2]
    ]
try:
    RayExecutor(address="{address}", num_gpus=3)
except ResourceError as e:
    print(e)
"""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no node has 1 CPUs and 3 GPUs for one evaluation" in done.stdout
