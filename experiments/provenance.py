"""Where a result is from: what stands above its rows, as lines ``# name: text``.

    # command: python -m experiments.busy_machine programs=1,2
    # commit: 9b47a6b 2026-11-28
    # seeds: networks 7, build 0
    # machine: AMD EPYC (25/17/1), 2 cores
    # versions: python 3.11.9, numpy 2.1.0, onnxruntime 1.20.0
    # date: 2026-11-28

Of results of a time when this was not written, `recorded` stands instead of `commit`, `versions` and `date`: the
commit that added them.
"""

import contextlib
import datetime
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from latency_luts.on_device import cpu_name
from nas.environment import code, version
from nas_runtime.cluster import available_cpus
from nas_runtime.files import write_text
from nas_runtime.run import Run, open_shared

__all__ = ["NEEDED", "NOTHING_RANDOM", "began", "header", "of", "recording", "split"]

NOTHING_RANDOM = "none: nothing random"
NEEDED = ("command", "seeds", "machine")  # and `commit` or `recorded`
_PACKAGES = ("torch", "numpy", "onnxruntime", "ray")  # that may matter, if they were imported
_COMMITS = "commits.txt"
_LINE = re.compile(r"# ([a-z]+): (.+)")


@cache
def began() -> str:
    """The commit of the code, as it is when this is first called: at the start of the program, since files of a
    checkout may change while it runs."""
    return code() or "of no checkout"


@contextlib.contextmanager
def recording(runs: Path, *, kind: str | None = None) -> Iterator[Run]:
    """Inside, this program and its processes alone add records to the folder `runs` of an experiment.

    That this version of the code did so is written down first, so that `of` can name the versions of all records.

    Args:
        kind: of run; None: the folder's name.

    Raises:
        RunError: the folder is another kind of run's, or a newer version's.
        FileError: another process is adding records to it.
    """
    with open_shared(runs, kind=kind or runs.name) as run:
        file = runs / _COMMITS
        known = file.read_text().splitlines() if file.exists() else []
        if not known and run.resumed:
            known = ["earlier ones, not noted"]
        if began() not in known:
            write_text(file, "".join(f"{commit}\n" for commit in (*known, began())))
        yield run


def of(
    seeds: str, *, device: str = "cpu", packages: Sequence[str] = (), runs: Sequence[Path] = (), command: str = ""
) -> dict[str, str]:
    """The provenance of what this program is about to write.

    Args:
        seeds: which random numbers it took; ``none: nothing random`` is an answer.
        device: where networks were trained; for "cuda" the GPU is named.
        packages: whose versions matter, also if only other processes imported them.
        runs: folders of records that it went on from (see `recording`).
        command: what was run, if not this program.
    """
    machine = f"{cpu_name()}, {available_cpus()} cores"
    if device == "cuda":
        import torch

        machine += f", {torch.cuda.get_device_name()}"
    commits = [commit for folder in runs for commit in (folder / _COMMITS).read_text().splitlines()]
    imported = [name for name in _PACKAGES if name in sys.modules]
    versions = {name: version(name) for name in dict.fromkeys((*imported, *packages))}
    return {
        "command": command or _command(),
        "commit": ", ".join(dict.fromkeys(commits)) or began(),
        "seeds": seeds,
        "machine": machine,
        "versions": ", ".join(f"{k} {v}" for k, v in {"python": sys.version.split()[0], **versions}.items() if v),
        "date": datetime.date.today().isoformat(),
    }


def header(provenance: Mapping[str, str]) -> str:
    """Its lines."""
    return "".join(f"# {name}: {text}\n" for name, text in provenance.items())


def split(text: str) -> tuple[dict[str, str], str]:
    """The provenance above a result, and the result.

    Raises:
        ValueError: something of it is missing.
    """
    provenance = {}
    while match := _LINE.match(text):
        provenance[match[1]] = match[2]
        text = text[match.end() + 1 :]
    if missing := [name for name in NEEDED if name not in provenance]:
        raise ValueError(f"{missing[0]} is missing; a result begins with lines like '# {missing[0]}: ...'")
    if not {"commit", "recorded"} & provenance.keys():
        raise ValueError("commit is missing; a result begins with lines like '# commit: 4f2a91c 2026-11-30'")
    return provenance, text


def _command() -> str:
    """The command line of this program, without the machine's own paths."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name if spec else Path(sys.argv[0]).stem
    pairs = [(argument.split("=")[0], argument) for argument in sys.argv[1:]]
    arguments = [f"{name}=DIR" if name == "to" or name.endswith("path") else argument for name, argument in pairs]
    return shlex.join(["python", "-m", module, *arguments])
