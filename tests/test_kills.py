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

from tests.test_commands import ROOT


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


def finish(process: subprocess.Popen, timeout: float = 300) -> None:
    _, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def records(folder: Path) -> list[dict]:
    found = [json.loads(line)["record"] for line in (folder / "journal.jsonl").read_text().splitlines()[1:]]
    for record in found:
        record.pop("seconds")
    return found


@pytest.mark.parametrize(("controller", "times"), [("evolution", 17), ("rnn_ppo", 3)])
def test_a_search_killed_again_and_again_is_the_search_that_was_not(controller, times, tmp_path):
    """With the serial executor: the same journal, and the controller ends in the same state."""
    arguments = (controller, "240", "0.01")
    finish(start(tmp_path / "whole", *arguments))
    rng = random.Random(controller)
    folder, kills = tmp_path / "killed", 0
    while kills < times:
        (folder / "started").unlink(missing_ok=True)
        process = start(folder, *arguments)
        while not (folder / "started").exists():
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(rng.uniform(0.02, 0.2))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += 1
    finish(start(folder, *arguments))
    assert kills == times
    assert records(folder) == records(tmp_path / "whole")
    assert (folder / "controller").read_text() == (tmp_path / "whole" / "controller").read_text()
    counts = [lines(where / "evaluated") for where in (folder, tmp_path / "whole")]
    assert counts[1] <= counts[0] <= counts[1] + kills  # but for what was under way or just ended


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
    deadline = time.monotonic() + 90
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
        process.communicate(timeout=150)  # ends by itself
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process = start(tmp_path, *arguments)
    finish(process, timeout=150)
    found = records(tmp_path)
    assert sorted(r["sample"] for r in found) == list(range(320))
    assert all(r["status"] == "ok" for r in found)
    evaluated = Counter(line.split()[1] for line in (tmp_path / "evaluated").read_text().splitlines())
    assert len(evaluated) == sum(r["reused"] is None for r in found)
    twice = sum(count - 1 for count in evaluated.values())
    assert twice <= 2 * 7  # only what was under way, two at a time, when something was killed
