"""A phone without Python: LiteRT's program ``benchmark_model`` runs the graphs there, reached by ``adb``."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

RUNS = 20  # of a graph each time it is started
MOST_S = 5  # that these may take
_TIMES = re.compile(r"\bcount=\d+ (?:.*\bmin=(\d+)|curr=(\d+))")  # one run has no statistics
_PROGRAM = "benchmark_model"
_AT_ONCE = 64  # files in one command, whose length systems limit


class Phone:
    """The phone that ``adb`` reaches; of several the one that ANDROID_SERIAL names.

    Args:
        folder: of the bundle.
        program: ``benchmark_model`` for the phone.
        core: the first of the cores that it runs on; None: the last ones, which are the fast ones of most phones.

    Attributes:
        cpu: the phone and its cores.
        runtime: with what tells two builds of the program apart.

    Raises:
        SystemExit: no program, no ``adb``, no phone, or no such core.
    """

    def __init__(self, folder: Path, program: str, *, core: str | None, threads: int) -> None:
        self._folder, self._program, self._threads = folder, Path(program), threads
        try:
            build = _digest(self._program.read_bytes())
        except OSError as e:
            raise SystemExit(f"error: adb={program}: {e.strerror}; give the program benchmark_model") from None
        first = self._first_core(core)
        self._mask = f"{((1 << threads) - 1) << first:x}"
        names = [self._shell(f"getprop {name}").strip() for name in ("ro.product.model", "ro.board.platform")]
        cores_used = f"core {first}" if threads == 1 else f"cores {first} to {first + threads - 1}"
        self.cpu = f"{' '.join(filter(None, names)) or 'phone'}, {cores_used}"
        self.runtime = f"litert {_PROGRAM}-{build}"
        bundle = _digest((folder / "manifest.json").read_bytes())
        self._there = f"/data/local/tmp/latency_luts-{bundle}-{build}"  # of this bundle and program, by what they are

    def _first_core(self, core: str | None) -> int:
        said = self._shell("cat /sys/devices/system/cpu/present").strip().rpartition("-")[2]
        if not said.isdecimal():
            raise SystemExit(f"error: the phone says {said!r} for the numbers of its cores; is it Android?")
        last = int(said) + 1 - self._threads
        if last < 0:
            raise SystemExit(
                f"error: the phone has {int(said) + 1} cores, and the bundle is for {self._threads} threads"
            )
        first = last if core is None else int(core) if core.isdecimal() else -1
        if not 0 <= first <= last:
            raise SystemExit(f"error: core={core}: it must be from 0 to {last}")
        return first

    def push(self) -> None:
        """Copies the graphs and the program to the phone, unless that was done before."""
        done = f"{self._there}/complete"
        if self._shell(f"[ -e {done} ] && echo yes || echo no").strip() == "yes":
            return
        print(f"copying the graphs to {self._there}, which can be removed later", flush=True)
        self._shell(f"mkdir -p {self._there}")
        files = [str(file) for file in sorted(self._folder.glob("*.tflite"))]
        for start in range(0, len(files), _AT_ONCE):
            self._adb("push", *files[start : start + _AT_ONCE], f"{self._there}/")
        self._adb("push", str(self._program), f"{self._there}/{_PROGRAM}")
        self._shell(f"chmod +x {self._there}/{_PROGRAM} && touch {done}")

    def graph(self, file: str) -> _PhoneGraph:
        """A graph, which takes turns."""
        if not (self._folder / file).exists():
            raise FileNotFoundError(2, "it is missing", str(self._folder / file))
        return _PhoneGraph(self, file)

    def run_s(self, file: str) -> float:
        """Seconds of the fastest run of a graph.

        Raises:
            SystemExit: the program cannot run it.
        """
        said = self._shell(
            f"cd {self._there} && taskset {self._mask} ./{_PROGRAM} --graph='{file}' --num_threads={self._threads} "
            f"--use_xnnpack=true --warmup_runs=2 --warmup_min_secs=0 --num_runs={RUNS} --min_secs=0 --max_secs={MOST_S}"
            " 2>&1; true"  # what went wrong is in what it says
        )
        times = _TIMES.findall(said)  # of the runs that warm it up, and of those behind them
        if len(times) < 2:
            last = (said.strip().splitlines() or ["nothing"])[-1]
            raise SystemExit(f"error: {_PROGRAM} does not tell how long {file} takes; it said: {last[:200]}")
        return (int(times[-1][0] or times[-1][1]) + 0.5) / 1e6  # whole microseconds, rounded down

    def _shell(self, command: str) -> str:
        return self._adb("shell", command)

    def _adb(self, *words: str) -> str:
        try:
            done = subprocess.run(
                ("adb", *words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except FileNotFoundError:
            raise SystemExit("error: there is no adb; install Android's platform tools") from None
        if done.returncode:
            last = ((done.stderr.strip() or done.stdout.strip()).splitlines() or ["it says nothing"])[-1]
            raise SystemExit(f"error: adb {words[0]}: {last[:200]}; start again when the phone is there: it continues")
        return done.stdout


class _PhoneGraph:
    """A graph on the phone."""

    def __init__(self, phone: Phone, file: str) -> None:
        self._phone, self._file = phone, file

    def burst(self) -> float:
        """Seconds of one inference."""
        return self._phone.run_s(self._file)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
