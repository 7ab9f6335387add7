"""Folders of which nothing stays behind."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nas_runtime import scratch
from nas_runtime.scratch import private_folder
from tests.commands.test_commands import ROOT

HOLD = """
import sys, tempfile
from nas_runtime.scratch import private_folder
tempfile.tempdir = sys.argv[1]
with private_folder("ours-") as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def base(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_nobody_else_may_enter_and_nothing_stays(base):
    def work():
        with private_folder("ours-") as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "file").touch()
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        work()
    assert list(base.iterdir()) == []


def test_folders_of_killed_processes_are_removed_and_no_others(base):
    def hold() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(base)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        return process, Path(process.stdout.readline().strip())

    living, of_living = hold()
    killed, of_killed = hold()
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert (of_killed / "deep" / "file").exists()
    (base / "ours-old").mkdir()  # of an earlier version: it has no lock
    (base / "ours-link").symlink_to(base / "elsewhere")
    (base / "elsewhere").mkdir()
    (base / "elsewhere" / "lock").touch()
    with private_folder("ours-"):
        pass
    assert {path.name for path in base.iterdir()} == {of_living.name, "ours-old", "ours-link", "elsewhere"}
    assert (of_living / "deep" / "file").exists()
    living.communicate("")
    killed.communicate()
    assert not of_living.exists()


def test_a_folder_of_somebody_else_is_left_alone(base, monkeypatch):
    (base / "ours-other").mkdir()
    (base / "ours-other" / "lock").touch()
    monkeypatch.setattr(scratch.os, "getuid", lambda: os.stat(base).st_uid + 1)
    with private_folder("ours-"):
        pass
    assert (base / "ours-other").exists()


def test_a_path_that_is_too_long(base, monkeypatch):
    long = base / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with private_folder("nas-test-", longest_bytes=40) as folder:
        assert folder.parent in (Path("/tmp"), Path("/var/tmp"))
    with (
        pytest.raises(OSError, match=f"no folder for temporary files .* at most 1 bytes .*{long}.*; set TMPDIR to one"),
        private_folder("nas-test-", longest_bytes=19),
    ):
        pass
