"""Signals that end a program."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from nas_runtime import signals
from nas_runtime.signals import held_back, interruptible, kept
from tests.commands.test_commands import HANGS_S, ROOT
from tests.nas.test_kills import wait_for_lines

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers():
    """Those of the tests themselves come back."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:  # also where the tests run under nohup
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_program_with_a_line_and_its_code(number, code, capsys):
    closed = []

    @interruptible()
    def program():
        try:
            signal.raise_signal(number)
        finally:
            closed.append(True)

    with pytest.raises(SystemExit) as ended:
        program()
    assert closed
    assert ended.value.code == code
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(number) == signal.SIG_IGN  # a second one does not disturb the last steps


def test_what_a_library_makes_of_an_interrupt(capsys):
    @interruptible()
    def program():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise OSError("the terminal is closed") from None

    with pytest.raises(SystemExit) as ended:
        program()
    assert ended.value.code == 143
    with pytest.raises(SystemExit) as ended, interruptible():
        raise KeyboardInterrupt  # of a library that had the signal itself
    assert ended.value.code == 130


def test_where_nobody_reads():
    """The terminal is closed, or there was none from the start."""
    program = """
import os, signal, sys
from nas_runtime.signals import interruptible
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)  # every write fails
with interruptible():
    print("stopped")
    signal.raise_signal(signal.SIGHUP)
"""
    for close in ("", "2>&-", "1>&- 2>&-"):
        command = ["sh", "-c", f'exec "$0" -E -c "$1" {close}', sys.executable, program]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_S, check=False)
        assert (done.returncode, done.stderr) == (129, "" if close else "interrupted\n")


def test_without_a_signal_all_is_as_before():
    before = [signal.getsignal(number) for number in ENDING]
    with pytest.raises(ValueError, match="mine"), interruptible():
        raise ValueError("mine")
    assert [signal.getsignal(number) for number in ENDING] == before
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    with interruptible():
        signal.raise_signal(signal.SIGHUP)


def test_a_signal_that_is_held_back_takes_effect_at_the_end():
    done = []

    def starting(most_s):
        with held_back(most_s=most_s):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("in full")
        done.append("and on")

    with pytest.raises(KeyboardInterrupt):
        starting(10)
    assert done == ["in full"]
    with pytest.raises(KeyboardInterrupt):  # who has waited for long enough
        starting(0)
    assert done == ["in full"]


def test_a_library_that_takes_sigterm_does_not_keep_it():
    def of_the_library(number, frame):
        raise SystemExit(number)

    def mine(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, mine)
    with kept():
        signal.signal(signal.SIGTERM, of_the_library)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)

    @kept()
    def start():
        signal.signal(signal.SIGTERM, of_the_library)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with kept():
        signal.signal(signal.SIGTERM, of_the_library)
    with pytest.raises(SystemExit) as ended:  # in anyone's script: what is open is closed
        signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == 143


def test_only_the_main_thread_has_handlers(monkeypatch):
    monkeypatch.setattr(signals.threading, "main_thread", lambda: None)
    monkeypatch.setattr(signal, "signal", None)  # which elsewhere raises an error
    with interruptible(), held_back(), kept():
        pass


def in_session(session: int) -> list[str]:
    """The living processes of a session of the system."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.mark.parametrize(("kind", "number", "code"), [("ray", signal.SIGTERM, 143), ("serial", signal.SIGHUP, 129)])
def test_signals_end_a_search_like_ctrl_c(kind, number, code, tmp_path):
    """A signal to all of its processes, as from a terminal that is closed or a batch system, and Ctrl-C while it
    tidies up: nothing of it stays."""
    settings = ["space=accel_nasbench", "evaluator=surrogate", "controller=random", "samples=50000", "batch=2"]
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", "nas.search", "+target=pixel1_small", f"executor={kind}", "run_dir=run", *settings],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": scratch},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_for_lines(tmp_path / "run" / "journal.jsonl", 4, process)
        assert len(os.listdir(scratch)) == (kind == "ray")
        os.killpg(process.pid, number)
        time.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=HANGS_S)
        assert (process.returncode, err) == (code, "interrupted\n")
        assert "continue with the same command and run_dir=run" in out
        deadline = time.monotonic() + HANGS_S
        while in_session(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert in_session(process.pid) == []
        assert os.listdir(scratch) == []
