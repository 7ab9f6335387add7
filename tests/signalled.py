"""A command that sends itself a signal at a moment of its own: `python -m tests.signalled SIGKILL 17 nas.search ...`.

So a test says when a command is stopped, however fast the machine is and whatever else runs on it. The moment is

    journal.jsonl:3   when the file of this name has got 3 lines
    17                at the 17th step of its writing. Steps are: half of a line is written; a line is on the disk; a
                      file is complete under another name; it has its own name
"""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nas_runtime import files, lines


def after_lines(name: str, count: int, send: Callable[[], None]) -> None:
    append = lines.LineFile.append

    def appended(self: lines.LineFile, *new: bytes) -> None:
        append(self, *new)
        if self.path.name == name and self.path.read_bytes().count(b"\n") >= count:
            send()

    lines.LineFile.append = appended


def at_step(number: int, send: Callable[[], None]) -> None:
    left = number

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            send()

    def then(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            result = function(*arguments)
            step()
            return result

        return called

    def write(handle: int, content: memoryview) -> int:
        half = os.write(handle, content[: len(content) // 2])
        step()
        return half + os.write(handle, content[half:])

    lines.os = SimpleNamespace(**{**vars(os), "write": write, "fsync": then(os.fsync)})
    files.os = SimpleNamespace(**{**vars(os), "fsync": then(os.fsync)})
    Path.replace = then(Path.replace)


def main() -> None:
    name, moment, module, *arguments = sys.argv[1:]
    number = signal.Signals[name]
    if number != signal.SIGKILL:  # which a shell may have made the tests ignore
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def send() -> None:
        os.kill(os.getpid(), number)

    file, _, count = moment.rpartition(":")
    if file:
        after_lines(file, int(count), send)
    else:
        at_step(int(count), send)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
