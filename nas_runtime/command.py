"""What every command begins with: its options from the command line, its help, and one line for what is wrong.

Hydra stays here and in `nas_runtime.compose`: a command gets its options as a typed object.
"""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from nas_runtime import help
from nas_runtime.compose import choices, compose, overview, plain, run_hydra
from nas_runtime.console import brief, prepare_streams, shown
from nas_runtime.errors import EXPECTED, closed_pipe, full_error, guarded, one_line, say
from nas_runtime.options import CommandOptions, Options, groups_of, read
from nas_runtime.signals import interruptible

__all__ = ["call", "described", "page", "run", "run_plain"]

_HELP = ("--help", "-h")
C = TypeVar("C", bound=CommandOptions)

_PRESET = "preset"  # the group whose files set options of any name, and are no option themselves


@interruptible()
def run(task: Callable[[C], None], kind: type[C]) -> None:
    """Composes the config of a command with its command line and calls `task` with the options; see `call` for errors,
    and `interruptible` for Ctrl-C and other signals.
    """
    prepare_streams()
    if code := call(task, kind, sys.argv[1:]):
        sys.exit(code)


def call(task: Callable[[C], None], kind: type[C], arguments: list[str]) -> int:
    """What `run` does with `arguments`; gives the exit code.

    A wrong command line, or a ValueError, OSError or MemoryError of `task`, ends with one line on standard error and
    code 1. With ``HYDRA_FULL_ERROR=1`` it is raised instead. With ``-m`` a job that ends so leaves the others alone,
    and is named at the end. ``--help`` prints the options of the groups that `arguments` choose.
    """
    if any(argument in _HELP for argument in arguments):
        return guarded(functools.partial(_print_help, kind, arguments))
    return composed(lambda config: task(read(kind, plain(config), arguments)), kind.config, arguments)


def _print_help(kind: type[CommandOptions], arguments: list[str]) -> int:
    print(described(kind, arguments))
    return 0


def composed(task: Callable[[Any], None], config_name: str, arguments: list[str]) -> int:
    """Calls `task` with each config that `arguments` compose; gives the exit code."""
    failed: list[str] = []
    count = 0

    def job(config: Any, overrides: str | None) -> None:
        nonlocal count
        if overrides is not None:
            print(f"job {count}: {shown(overrides)}", flush=True)
        where = "" if overrides is None else f"job {count} ({brief(overrides, most=300)}): "
        count += 1
        try:
            task(config)
        except BrokenPipeError:
            raise SystemExit(closed_pipe()) from None
        except EXPECTED as e:
            if full_error():
                raise
            failed.append(f"error: {where}{one_line(e)}")
            say(failed[-1])

    def work() -> int:
        if any(argument.startswith("-") or "hydra" in argument for argument in arguments):
            run_hydra(job, config_name, arguments)
        else:
            job(compose(config_name, arguments), None)
        if failed and count > 1:
            say("\n".join([f"{len(failed)} of {count} jobs failed:", *failed]))
        return 1 if failed else 0

    return guarded(work)


def described(kind: type[CommandOptions], arguments: Sequence[str]) -> str:
    """The help of a command, with the options of the groups that `arguments` choose.

    Raises:
        ConfigError: an argument that does not fit.
    """
    values, chosen = overview(kind.config, [argument for argument in arguments if argument not in _HELP])
    return help.text(kind, values, _choices(kind, chosen, arguments))


def page(kind: type[CommandOptions]) -> str:
    """All options of a command as a page of Markdown, with those of every file of its groups."""
    values, chosen = overview(kind.config, [])
    groups = _choices(kind, chosen, [])
    own = [name for name in values if name not in groups]
    parts = [f"## python -m {kind.command}", kind.__doc__ or "", help.table(kind, values, own)]
    for group, choice in groups.items():
        for name in choice.names:
            given = f"{'' if choice.chosen else '+'}{group}={name}"
            parts += [f"### {given}", help.table(kind, overview(kind.config, [given])[0], [group])]
    return "\n\n".join(parts)


def _choices(kind: type[CommandOptions], chosen: Mapping[str, str], arguments: Sequence[str]) -> dict[str, help.Choice]:
    """The groups of the command that stand in folders, with the names of the files that fit it."""
    found: dict[str, help.Choice] = {}
    for name, fits in groups_of(kind).items():
        if files := choices(name, arguments):
            names = [file for file, shipped in files.items() if not shipped or fits(file)]
            found[name] = help.Choice(chosen.get(name), names)
    if _PRESET in chosen:
        found[_PRESET] = help.Choice(chosen[_PRESET], list(choices(_PRESET, arguments)))
    return found


@interruptible()
def run_plain(main: Callable[[list[str]], None], *kinds: type[Options]) -> None:
    """Calls `main` with the arguments of the command line, of a command that has no config; errors are one line.

    ``--help`` prints the text of its module instead, and the options `kinds`.
    """
    prepare_streams()
    arguments = sys.argv[1:]

    def work() -> int:
        if arguments in (["--help"], ["-h"]):
            print(help.plain(sys.modules[main.__module__].__doc__ or "", *kinds))
        else:
            main(arguments)
        return 0

    if code := guarded(work):
        sys.exit(code)
