"""`python -m tests.mutants [MODULE ...]`: breaks the core line by line, and says which breaks no test notices.

mutmut makes and runs the mutants: a module is broken in one place at a time (a sign, a limit, an argument left out),
and those tests of its room that come by there are run until the first one fails. What it leaves as it is: names of
modules, decorated functions (properties, caches), and here the words of errors. A mutant that hangs is stopped.

`tests/mutants.toml` has the rooms, and the survivors that are no holes: ``was`` becomes ``is_now``, and why nothing
can notice it; with ``module = "*"`` they are parts of lines, in any room. A room's folder, .cache/mutants/MODULE, is
made anew each time; `mutmut browse` shows it.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("nas", "nas_runtime", "netadapt", "search_spaces", "latency_luts")
BESIDE = ("conf", "tests", "experiments", "README.md", "docs")
GOAL = 0.9

SETTINGS = """
[tool.mutmut]
source_paths = {packages}
only_mutate = [{module}]
do_not_mutate_patterns = ['^\\s*raise \\w+']
also_copy = {beside}
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"
timeout_constant = 4.0
timeout_multiplier = 5.0
track_dependencies = false
use_git_change_detection = false
"""
"""Of mutmut: workers are forked from a process that has imported everything, and has called nothing."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A mutant that was run.

    Attributes:
        name: mutmut's.
        status: ``killed``, ``timeout``, ``survived``, ``no tests``, or another word of mutmut.
        was, is_now: the lines that differ; empty but for survivors.
    """

    name: str
    status: str
    was: str = ""
    is_now: str = ""


def main(arguments: Sequence[str]) -> int:
    """0 where every module meets `GOAL`, without the survivors that are explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="like nas/reward.py; all if there is none")
    parser.add_argument("--most", type=int, help="so many mutants of each module, drawn the same way each time")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    known = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())
    rooms = known["rooms"]
    if unknown := set(given.modules) - set(rooms):
        parser.error(f"no room for {sorted(unknown)[0]}; there are: {', '.join(rooms)}")
    missed = []
    for module in given.modules or rooms:
        mutants = run(module, rooms[module], most=given.most, workers=given.workers)
        if not report(module, mutants, [s for s in known.get("survivors", []) if s["module"] in (module, "*")]):
            missed.append(module)
    if missed:
        print(f"below {GOAL:.0%}: {', '.join(missed)}")
    return int(bool(missed))


def run(module: str, tests: Sequence[str], *, most: int | None, workers: int) -> list[Mutant]:
    """The mutants of `module`, by the `tests` of its room."""
    folder = ROOT / ".cache" / "mutants" / module.removesuffix(".py").replace("/", ".")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in (*PACKAGES, *BESIDE):
        (folder / name).symlink_to(ROOT / name)
    files = [str(next((ROOT / "tests").rglob(name)).relative_to(ROOT)) for name in tests]
    settings = {"packages": list(PACKAGES), "module": json.dumps(module), "beside": list(BESIDE), "tests": files}
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + SETTINGS.format(**settings))
    names = drawn(folder, module, most) if most else []
    subprocess.run([mutmut(), "run", "--max-children", str(workers), *names], cwd=folder, env=environment(), check=True)
    found = json.loads((folder / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    return [mutant(folder, name, code) for name, code in found.items() if not names or name in names]


def mutmut() -> str:
    """The command, beside the interpreter."""
    return str(Path(sys.executable).with_name("mutmut"))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}


def drawn(folder: Path, module: str, most: int) -> list[str]:
    """Names of at most `most` of the mutants, those with the smallest hashes."""
    code = (
        "import sys; from mutmut.mutation.file_mutation import mutate_file_contents as mutate; "
        "print(*mutate(sys.argv[1], open(sys.argv[1]).read()).mutant_names)"
    )
    command = [sys.executable, "-c", code, module]
    done = subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True, text=True)
    dotted = module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    names = [f"{dotted}.{name}" for name in done.stdout.split()]
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:most]


def mutant(folder: Path, name: str, exit_code: int | None) -> Mutant:
    from mutmut.stats import status_by_exit_code

    status = status_by_exit_code[exit_code]
    if status != "survived":
        return Mutant(name=name, status=status)
    command = [mutmut(), "show", name]
    done = subprocess.run(command, cwd=folder, env=environment(), check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    was, is_now = ("\n".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
    return Mutant(name=name, status=status, was=was, is_now=is_now)


def is_explained(survivor: Mutant, known: Mapping[str, str]) -> bool:
    if known["module"] != "*":
        return (survivor.was, survivor.is_now) == (known["was"], known["is_now"])
    places = survivor.was.split(known["was"])  # one of them is changed
    made = [
        known["was"].join(places[:i]) + known["is_now"] + known["was"].join(places[i:]) for i in range(1, len(places))
    ]
    return survivor.is_now in made


def report(module: str, mutants: Sequence[Mutant], explained: Sequence[Mapping[str, str]]) -> bool:
    """Prints how many were noticed, and every one that was not and is not explained; returns whether `GOAL` is met."""
    count = Counter(each.status for each in mutants)
    alive = [each for each in mutants if each.status not in ("killed", "timeout")]
    holes = [each for each in alive if not any(is_explained(each, known) for known in explained)]
    noticed = count["killed"] + count["timeout"]
    for each in holes:
        print(f"\n{each.name}: {each.status}\n- {each.was}\n+ {each.is_now}")
    print(
        f"\n{module}: {noticed} of {len(mutants)} mutants noticed ({noticed / max(1, len(mutants)):.1%}, of them "
        f"{count['timeout']} stopped), {len(alive) - len(holes)} survivors explained, {len(holes)} not\n"
    )
    return noticed >= GOAL * (len(mutants) - len(alive) + len(holes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
