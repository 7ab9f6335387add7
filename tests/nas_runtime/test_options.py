"""Options are declared once: what conf/ has is declared and explained, and what is wrong is said in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from latency_luts.options import (
    BuildOptions,
    BundleOptions,
    CalibrateOptions,
    ImportOptions,
    ShowOptions,
    ValidateOptions,
)
from nas import controllers
from nas.search_options import SearchOptions
from nas_runtime.command import call, described, page
from nas_runtime.compose import choices, overview
from nas_runtime.declared import defaults
from nas_runtime.options import CommandOptions, declared, groups_of
from nas_runtime.reference import main as reference
from netadapt.options import NetadaptOptions

ROOT = Path(__file__).parents[2]
COMMANDS = [
    BuildOptions,
    BundleOptions,
    CalibrateOptions,
    ImportOptions,
    NetadaptOptions,
    SearchOptions,
    ShowOptions,
    ValidateOptions,
]


def leaves(values: dict, prefix: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return found


def ways(kind: type[CommandOptions]) -> list[list[str]]:
    """Overrides that choose each file of each group once."""
    chosen = overview(kind.config, [])[1]
    return [[]] + [
        [f"{'' if group in chosen else '+'}{group}={name}"]
        for group, fits in groups_of(kind).items()
        for name in choices(group, [])
        if fits(name)
    ]


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.command)
def test_whatever_is_in_conf_is_declared_and_explained(kind):
    for overrides in ways(kind):
        values, _ = overview(kind.config, overrides)
        options = dict(declared(kind, values))
        assert leaves(values) == set(options), overrides
        for name, option in options.items():
            assert option.kind.words, name
            assert 0 < len(option.meaning) <= 120, name
            assert "\n" not in option.meaning, name


@pytest.mark.parametrize("name", controllers.names())
def test_controllers_have_the_same_defaults_in_conf_and_in_python(name):
    values, _ = overview("search", [f"controller={name}"])
    assert values["controller"]["settings"] == defaults(controllers.CONTROLLERS.get(name), name)


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.command)
def test_help_explains_every_option(kind):
    printed = described(kind, ["--help"])
    values, _ = overview(kind.config, [])
    assert printed.startswith(f"usage: python -m {kind.command} ")
    words = " ".join(printed.split())
    for name, option in declared(kind, values):
        assert f"\n  {name}=" in printed
        assert f"{option.meaning} ({option.kind.words})" in words
    assert all(len(line) <= 120 for line in printed.splitlines())
    assert "--config-dir" in printed


def test_help_is_of_the_groups_that_are_chosen(capsys):
    printed = described(BuildOptions, ["space=accel_nasbench", "device=mine", "--help"])
    assert "\n  space=accel_nasbench " in printed
    assert "\n  device=mine  " in printed
    assert call(lambda options: None, BuildOptions, ["space=accel_nas", "-h"]) == 1
    assert capsys.readouterr().err.startswith("error: no space 'accel_nas'; did you mean accel_nasbench?")


@pytest.mark.parametrize("module", ["latency_luts.build"])
def test_help_and_errors_are_light(module, tmp_path):
    """Neither takes what takes long to import."""
    code = f"""
import runpy, sys
for arguments in (["--help"], ["devise=x"]):
    sys.argv[1:] = arguments
    try:
        runpy.run_module({module!r}, run_name="__main__")
    except SystemExit:
        pass
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.startswith(f"usage: python -m {module} ")
    said, modules = done.stderr.splitlines()
    assert said == "error: no setting 'devise'; did you mean device?; --cfg job shows all settings"
    assert not {"torch", "ray", "onnx", "onnxruntime", "matplotlib"} & set(modules.split())


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A folder of one's own beside conf/, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "space").mkdir(parents=True)
    (tmp_path / "own" / "space" / "tiny.yaml").write_text(
        "name: mnasnet\nbase_width: 0.35\nresolution_px: 32\nclasses: null\n"
    )
    (tmp_path / "own" / "space" / "typo.yaml").write_text("name: mnasnet\nbase_widht: 0.35\nresolution_px: 32\n")
    (tmp_path / "own" / "space" / "wrong.yaml").write_text("name: mnasnett\nbase_width: 1\nresolution_px: 32\n")
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config-dir", "own", "space=tyny"],
            "no space 'tyny'; did you mean tiny?; allowed: accel_nasbench, mnasnet",
        ),
        (["--config-dir", "own", "space=typo"], "no setting 'space.base_widht'; did you mean space.base_width?"),
        (["--config-dir", "own", "space=wrong"], "space.name=mnasnett; did you mean mnasnet?; allowed: mnasnet, "),
        (["--config-dir", "own", "dtype=int9"], "dtype=int9; did you mean int8?; allowed: fp32, fp16, int8"),
        (
            ["--config-dir", "own", "space=tiny", "space.bse_width=1"],
            "no setting 'space.bse_width'; did you mean space.b",
        ),
        (["--config-dir", "nowhere", "--help"], "--config-dir nowhere: there is no such folder"),
        (["-m", "threads=1,2", "devise=x"], "no setting 'devise'; did you mean device?"),
        (["-m", "threads=1,2", "+devise=x"], "no setting 'devise'; did you mean device?"),
        (["-m", "threads=1,2", "dtype=int9"], "job 0 (threads=1 dtype=int9): dtype=int9; did you mean int8?; allowed"),
        (["-m", "dtype=int9,fp33"], "job 0 (dtype=int9): dtype=int9; did you mean int8?; allowed: fp32, fp16, int8"),
        (["-m", "space=mnasnet,mnasnett"], "no space 'mnasnett'; did you mean mnasnet?; allowed"),
        (["dtype=int9"], "dtype=int9; did you mean int8?; allowed: fp32, fp16, int8"),
    ],
)
def test_what_may_be_meant_is_said_of_names_and_values(own, capfd, arguments, message):
    assert call(lambda options: None, BuildOptions, arguments) == 1
    assert capfd.readouterr().err.startswith(f"error: {message}")
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_files_of_ones_own(own, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    given = []
    assert call(given.append, BuildOptions, ["--config-dir", "own", "-m", "space=tiny", "threads=1,2"]) == 0
    assert [(options.space.base_width, options.threads) for options in given] == [(0.35, 1), (0.35, 2)]
    printed = described(BuildOptions, ["-cd", "own", "space=tiny", "-m", "threads=1,2", "-h"])
    assert "\n  space=tiny                      accel_nasbench, mnasnet, mobilenet_v3, tiny, typo, wrong\n" in printed
    assert "\n  space.base_width=0.35 " in printed
    assert "\n  threads=1 " in printed


def test_a_page_has_every_option_of_every_group():
    printed = page(BuildOptions)
    assert "| `device` | `host` | the name of the table; this machine is host, or host\\_NAME | text |" in printed
    for name in choices("space", []):
        assert f"### space={name}\n" in printed
        assert f"| `space.name` | `{name}` | " in printed
    assert "| `path` | to be given | " in page(ImportOptions)


def test_the_reference_is_of_the_commands_that_are_named(capsys):
    reference(["latency_luts.options:ShowOptions", "latency_luts.options:BundleOptions"])
    printed = capsys.readouterr().out
    assert printed.count("## python -m ") == 2
    assert "## python -m latency_luts.bundle\n" in printed
    with pytest.raises(ValueError, match="name the options of commands"):
        reference([])
