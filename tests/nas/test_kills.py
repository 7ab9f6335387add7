"""`kill -9` at random moments: the driver, workers, and Ray itself. Nothing is lost, nothing is done twice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.commands.test_commands import HANGS_S, ROOT


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "tests.killed_search", str(folder), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> None:
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == code, err


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def records(folder: Path) -> list[dict]:
    found = [json.loads(line)["record"] for line in (folder / "journal.jsonl").read_text().splitlines()[1:]]
    for record in found:
        record.pop("seconds")
    return found


@pytest.mark.parametrize(("controller", "times", "samples"), [("evolution", 17, 240), ("rnn_ppo", 3, 80)])
def test_a_search_killed_again_and_again_is_the_search_that_was_not(controller, times, samples, tmp_path):
    """With the serial executor: the same journal, and the controller ends in the same state. Each evaluation takes 10
    ms, so that no more than 12 are done before a kill, and no search comes to its end, however fast the machine is."""
    arguments, folder = (controller, str(samples), "0.01"), tmp_path / "killed"
    finish(start(tmp_path / "whole", *arguments))
    rng = random.Random(controller)
    for _ in range(times):
        finish(start(folder, *arguments, f"{rng.uniform(0.02, 0.12)}"), code=-signal.SIGALRM)
    finish(start(folder, *arguments))
    assert records(folder) == records(tmp_path / "whole")
    assert (folder / "controller").read_text() == (tmp_path / "whole" / "controller").read_text()
    counts = [lines(where / "evaluated") for where in (folder, tmp_path / "whole")]
    assert counts[1] <= counts[0] <= counts[1] + times  # but for what was under way or just ended


def processes(session: int, name: str) -> list[int]:
    """Processes of a session of the system, or their descendants, whose command line has `name`."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(entry.name)
            parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[pid] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()

    def descends(pid: int) -> bool:
        while pid in parents:
            if pid == session:
                return True
            pid = parents[pid]
        return False

    return [pid for pid, line in commands.items() if name in line and descends(pid)]


def wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + HANGS_S
    while lines(path) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_workers_and_ray_itself_are_killed(tmp_path):
    """Four workers, then the node's manager, the driver, the cluster's head (without which tasks may go on to the end);
    the same command goes on."""
    arguments = ("evolution", "320", "0.1", "ray")
    journal = tmp_path / "journal.jsonl"
    process = start(tmp_path, *arguments)
    rng = random.Random(0)
    for kill in range(4):
        wait_for_lines(journal, 8 + 8 * kill, process)
        workers = processes(process.pid, "ray::guarded")
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(rng.choice(workers), signal.SIGKILL)
    for name in ("raylet/raylet", "tests.killed_search", "gcs_server"):
        before = lines(journal)
        wait_for_lines(journal, before + 8, process)
        for pid in processes(process.pid, name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=HANGS_S)  # ends by itself
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process = start(tmp_path, *arguments)
    finish(process)
    found = records(tmp_path)
    assert sorted(r["sample"] for r in found) == list(range(320))
    assert all(r["status"] == "ok" for r in found)
    evaluated = Counter(line.split()[1] for line in (tmp_path / "evaluated").read_text().splitlines())
    assert len(evaluated) == sum(r["reused"] is None for r in found)
    twice = sum(count - 1 for count in evaluated.values())
    assert twice <= 2 * 7  # only what was under way, two at a time, when something was killed
