"""Whatever stands in a config: a command accepts it, or says in one line which setting is wrong."""

import contextlib
import math
import re
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from omegaconf import OmegaConf

import nas.search
import netadapt.run
from latency_luts import build, bundle, calibrate, import_table, show, validate
from latency_luts.key import key
from latency_luts.options import (
    BuildOptions,
    BundleOptions,
    CalibrateOptions,
    ImportOptions,
    ShowOptions,
    ValidateOptions,
)
from latency_luts.table import Identity, MeasuredTable, Timing, write
from nas.search_options import SearchOptions
from nas_runtime.compose import compose, plain
from nas_runtime.console import brief, shown
from nas_runtime.errors import one_line
from nas_runtime.options import CommandOptions, read
from netadapt.options import NetadaptOptions
from search_spaces import zoo
from search_spaces.lower import lower

HOSTILE = {
    "numbers": (5, -1, 0, 1e18, None, True),
    "numbers without end": (10**18, 10**400, math.inf, math.nan),
    "texts": ("", "x", "../../evil", "~nobody-here/x", "$x"),
    "long or strange texts": ("a\nb\x1b[2J", "y" * 10_000),
    "more than one": ([], [1], {}, ["x", "x"], {"x": 1}, [None]),
}
LENGTH = 700  # characters of a message: some list what is allowed
COMMANDS: dict[str, tuple[Callable[[Any], None], type[CommandOptions], list[str]]] = {
    "search": (nas.search.main, SearchOptions, ["+target=pixel1_small", "dry_run=true"]),
    "shared": (
        *(nas.search.main, SearchOptions),
        ["+target=pixel1_small", "dry_run=true", "evaluator=shared_weights", "controller=bayesian"],
    ),
    "netadapt": (
        netadapt.run.main,
        NetadaptOptions,
        ["seed=mnasnet_small", "dry_run=true", "+target=pixel1_small", "width=2"],
    ),
    "build": (build._main, BuildOptions, ["device=here", "tables_dir=.", "ray.resource=x"]),
    "bundle": (bundle._main, BundleOptions, ["device=here"]),
    "calibrate": (calibrate._main, CalibrateOptions, ["device=pixel1", "tables_dir=."]),
    "validate": (validate._main, ValidateOptions, ["device=board", "tables_dir=."]),
    "import_table": (import_table._main, ImportOptions, ["device=here", "path=x.yaml", "tables_dir=."]),
    "show": (show._main, ShowOptions, ["device=pixel1"]),
}


class BegunError(Exception):
    """Raised where a command has read its settings and would begin to work."""


@pytest.fixture(autouse=True)
def nothing_begins(monkeypatch, tmp_path):
    def stop(*arguments: Any, **options: Any) -> None:
        raise BegunError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("x: 1\n")
    how = Identity(cpu="board", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")
    units = {key(unit): Timing(ms=1, spread=0.01, runs=9, kernels=3) for unit in lower(zoo.get("mobilenet_v1"))}
    board = MeasuredTable(device="board", identity=how, provenance={}, units=units)
    monkeypatch.setattr("latency_luts.store.read_own", lambda path, how: board)
    write(board, tmp_path / "board.json")
    for module in (nas.search, netadapt.run):
        monkeypatch.setattr(module, "describe", lambda *arguments: None)
    monkeypatch.setattr("nas.plan.reach", lambda space, latency: (0.0, 1e9))
    work = {
        build: ("build_for_space", "build_from", "remote_bench"),
        bundle: ("bundle",),
        calibrate: ("calibrate", "correct"),
        validate: ("sample",),
        import_table: ("read_yaml",),
        show: ("units_of",),
    }
    for module, functions in work.items():
        for name in functions:
            monkeypatch.setattr(module, name, stop)


def names(config: Any, prefix: str = "") -> Iterator[str]:
    """Of all settings, and of the groups that they are in."""
    for name, value in config.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from names(value, f"{prefix}{name}.")


def check(command: str, values: Callable[[int], list[Any]]) -> list[str]:
    """What is wrong with how `command` takes each of ``values(i)`` for its setting number i."""
    task, kind, overrides = COMMANDS[command]
    config = compose(kind.config, overrides)
    OmegaConf.set_struct(config, False)
    wrong = []
    with contextlib.suppress(BegunError):
        task(read(kind, plain(config)))  # it works as it stands
    before = OmegaConf.to_container(config)
    for i, name in enumerate(names(before)):
        for value in values(i):
            OmegaConf.update(config, name, value, merge=False)
            try:
                task(read(kind, plain(config)))
            except BegunError:
                pass
            except (ValueError, OSError) as e:
                said = shown(one_line(e))
                if "\n" in said or len(said) > LENGTH or "\x1b" in said:
                    wrong.append(f"{name}={brief(value)}: a message of {len(said)} characters: {said[:200]!r}")
                if not any(re.sub("_ms$|s_dir$", "", part) in said for part in (*name.split("."), brief(value))):
                    wrong.append(f"{name}={brief(value)} is not named: {said[:200]!r}")
            except BaseException as e:
                wrong.append(f"{name}={brief(value)}: {type(e).__name__}: {str(e)[:200]}")
        OmegaConf.update(config, name, reduce(getitem, name.split("."), before), merge=False)
    assert OmegaConf.to_container(config) == before
    return wrong


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_with_hostile_values(command):
    """Each setting with a value of each kind; the values of a kind take turns."""
    assert check(command, lambda i: [kind[i % len(kind)] for kind in HOSTILE.values()]) == []


def test_the_check_can_fail(monkeypatch):
    class Careless(CommandOptions, extra="ignore"):
        command, config = "careless", "lut_show"
        device: Any

    def careless(options: Careless) -> None:
        if len(options.device) > 100:
            raise ValueError("something is wrong")

    monkeypatch.setattr("nas_runtime.options.kind_of", lambda field: None)
    monkeypatch.setitem(COMMANDS, "careless", (careless, Careless, []))
    wrong = check("careless", lambda i: [value for kind in HOSTILE.values() for value in kind])
    assert any(line.startswith("device=5: TypeError") for line in wrong)
    assert any("is not named: 'something is wrong'" in line for line in wrong)
