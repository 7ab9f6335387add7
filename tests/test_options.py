"""Options are declared once: what conf/ has is declared and explained, and what is wrong is said in one line."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

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
from nas_runtime.kinds import Among, AnyPath, Free, Numbers, Several, Text
from nas_runtime.options import CommandOptions, Options, declared, groups_of, read, read_plain
from nas_runtime.reference import COMMANDS as COMMANDS_BY_NAME
from nas_runtime.reference import main as reference
from netadapt.options import NetadaptOptions
from search_spaces.show import NetworkOptions

ROOT = Path(__file__).parents[1]
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


class Inner(Options):
    share: float = Field(gt=0, le=1, description="of it")


class Round(Options):
    name: Literal["round"] = Field(description="its name")
    radius: float = Field(ge=0, description="of it; at least 0")


class Square(Options):
    name: Literal["square"] = Field(description="its name")
    side: int = Field(ge=1, le=10**9, description="of it")


class Demo(CommandOptions):
    """Everything that an option can be."""

    command, config = "demo", "demo"

    count: int = Field(ge=1, le=10, description="a whole number")
    many: int | None = Field(ge=0, le=10**9, description="null: none")
    weight: float = Field(ge=-10, le=0, description="a number")
    flag: bool = Field(description="true or false")
    dtype: Literal["fp32", "int8"] = Field(description="a choice")
    space: Annotated[str, Among(lambda: ("large", "small"), more=lambda name: ":" in name, or_else="or MODULE:NAME")]
    kinds: Annotated[tuple[str, ...], Several(lambda: ("stem", "head"))]
    others: Annotated[tuple[str, ...], Several(lambda: ("stem", "head"), empty=True)]
    widths: Annotated[tuple[float, ...], Numbers(above=0, high=4)]
    text: Text
    path: AnyPath | None
    settings: Free
    inner: Inner
    maybe: Inner | None
    shape: Round | Square
    file: AnyPath | None = Field(alias="from")


GOOD = {
    "count": 2,
    "many": None,
    "weight": -1,
    "flag": True,
    "dtype": "int8",
    "space": "small",
    "kinds": "stem",
    "others": None,
    "widths": [1, 0.5],
    "text": "words",
    "path": "~/x",
    "settings": {"a": 1},
    "inner": {"share": 1},
    "maybe": None,
    "shape": {"name": "square", "side": 3},
    "from": None,
}


def demo(**values) -> Demo:
    return read(Demo, {**GOOD, **values}, ["count=2", "+shape.side=3"])


def test_values_have_their_types():
    options = demo()
    assert (options.count, options.many, options.weight, options.flag) == (2, None, -1.0, True)
    assert (options.kinds, options.others, options.widths) == (("stem",), (), (1.0, 0.5))
    assert (options.path, options.settings, options.maybe) == (Path.home() / "x", {"a": 1}, None)
    assert options.shape == Square(name="square", side=3)
    assert demo(shape={"name": "round", "radius": 1}).shape == Round(name="round", radius=1.0)
    assert demo(space="mine:make").space == "mine:make"
    assert demo(settings=None).settings == {}
    assert options.written == GOOD
    assert options.given("count")
    assert options.given("shape.side")
    assert not options.given("shape")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count=0: it must be a whole number at least 1 and at most 10"),
        ({"count": 2.0}, "count=2.0: it must be a whole number at least 1"),
        ({"count": True}, "count=true: it must be a whole number"),
        ({"count": "2"}, "count=2: it must be a whole number"),
        ({"count": None}, "count=null: it must be a whole number"),
        ({"count": "???"}, "no count: add count=, a whole number"),
        ({"many": -1}, "many=-1: it must be a whole number at least 0, or null"),
        ({"many": 10**9 + 1}, "many=1000000001: it must be a whole number at least 0 and at most 1000000000, or null"),
        ({"weight": 1}, "weight=1: it must be a number at least -10 and at most 0"),
        ({"weight": float("nan")}, "weight=nan: it must be a number"),
        ({"weight": float("-inf")}, "weight=-inf: it must be a number"),
        ({"weight": False}, "weight=false: it must be a number"),
        ({"weight": -(10**400)}, "weight=-1000000000000000000000000000000000000000000"),
        ({"flag": 1}, "flag=1: it must be true or false"),
        ({"dtype": "fp33"}, "dtype=fp33; did you mean fp32?; allowed: fp32, int8"),
        ({"dtype": None}, "dtype=null; allowed: fp32, int8"),
        ({"space": "smal"}, "space=smal; did you mean small?; allowed: large, small, or MODULE:NAME"),
        ({"space": ["small"]}, "space=['small']; did you mean small?; allowed: "),
        ({"kinds": ["stem", "haed"]}, "kinds=['stem', 'haed']; did you mean head?; allowed: some of stem, head"),
        ({"kinds": []}, "kinds=[]; allowed: some of stem, head"),
        ({"others": 5}, "others=5; allowed: some of stem, head; [] for none"),
        ({"widths": [0]}, "widths=[0]: it must be numbers above 0, up to 4, like [0.5,1]"),
        ({"text": ""}, "text=: it must be a text of at most 1000 characters"),
        ({"text": 5}, "text=5: it must be a text of at most 1000 characters; write '\"5\"'"),
        ({"text": "y" * 10_000}, "text=yyyyy"),
        ({"dtype": "y" * 10_000}, "dtype=yyyyy"),
        ({"count": "a\nb\x1b[2J"}, "count=a b\\x1b[2J: it must be a whole number"),
        ({"path": "~nobody-of-that-name/x"}, "path=~nobody-of-that-name/x: it must be a path"),
        ({"path": ""}, "path=: it must be a path of at most 1000 characters, or null"),
        ({"path": 5}, "path=5: it must be a path of at most 1000 characters; write '\"5\"', or null"),
        ({"path": "a\0b"}, "path=a\\x00b: it must be a path"),
        ({"settings": 5}, "settings=5: it must be names with values"),
        ({"settings": {5: 5}}, "settings={5: 5}: it must be names with values"),
        ({"inner": 5}, "inner=5: it must be names with values; leave it out, or set inner.NAME="),
        ({"inner": None}, "inner=null: it must be names with values"),
        ({"inner": {}}, "inner.share=null: it must be a number above 0 and at most 1"),
        ({"inner": {"share": 1, "shere": 2}}, "no setting 'inner.shere'; did you mean inner.share?"),
        ({"inner": {"share": 0, "zzzzz": 2}}, "no setting 'inner.zzzzz'; allowed: count, "),
        ({"maybe": {"share": 2}}, "maybe.share=2: it must be a number above 0 and at most 1"),
        ({"shape": {"name": "round", "radius": -1}}, "shape.radius=-1: it must be a number at least 0"),
        ({"shape": {"name": "squares", "side": 1}}, "shape.name=squares; did you mean square?; allowed: round, square"),
        ({"shape": {"name": "round", "side": 1}}, "no setting 'shape.side'; "),
        ({"from": 5}, "from=5: it must be a path"),
        ({"cuont": 5}, "no setting 'cuont'; did you mean count?; --cfg job shows all settings"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(values, message):
    with pytest.raises(ValueError, match=".*") as caught:
        demo(**values)
    assert str(caught.value).startswith(message)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_plain_options():
    assert read_plain(NetworkOptions, ["width=0.5", "classes=10"]).model_dump() == {
        "width": 0.5,
        "resolution_px": None,
        "classes": 10,
        "groups": None,
    }


class Judged(Options):
    low: int = Field(ge=0, le=10**9, description="at most high")
    high: int = Field(ge=0, le=10**9, description="at least low")

    @model_validator(mode="after")
    def _in_order(self) -> "Judged":
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")
        return self


class Two(CommandOptions):
    command, config = "two", "two"
    judged: Judged


def test_values_that_do_not_go_with_each_other():
    assert read(Two, {"judged": {"low": 1, "high": 2}}).judged.high == 2
    with pytest.raises(ValueError, match="^low=3 is above high=2$"):
        read(Two, {"judged": {"low": 3, "high": 2}})


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
        (["--config-dir", "own", "dtype=int9"], "dtype=int9; did you mean int8?; allowed: fp32, int8"),
        (
            ["--config-dir", "own", "space=tiny", "space.bse_width=1"],
            "no setting 'space.bse_width'; did you mean space.b",
        ),
        (["--config-dir", "nowhere", "--help"], "--config-dir nowhere: there is no such folder"),
        (["-m", "threads=1,2", "devise=x"], "no setting 'devise'; did you mean device?"),
        (["-m", "threads=1,2", "+devise=x"], "no setting 'devise'; did you mean device?"),
        (["-m", "threads=1,2", "dtype=int9"], "job 0 (threads=1 dtype=int9): dtype=int9; did you mean int8?; allowed"),
        (["-m", "dtype=int9,fp33"], "job 0 (dtype=int9): dtype=int9; did you mean int8?; allowed: fp32, int8"),
        (["-m", "space=mnasnet,mnasnett"], "no space 'mnasnett'; did you mean mnasnet?; allowed"),
        (["dtype=int9"], "dtype=int9; did you mean int8?; allowed: fp32, int8"),
    ],
)
def test_what_may_be_meant_is_said_of_names_and_values(own, capfd, arguments, message):
    assert call(lambda options: None, BuildOptions, arguments) == 1
    assert capfd.readouterr().err.startswith(f"error: {message}")
    assert [path.name for path in own.parent.iterdir()] == ["own"]


def test_files_of_ones_own(own, capfd):
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


def test_the_reference_has_every_command(capsys):
    assert {COMMANDS_BY_NAME.get(name) for name in COMMANDS_BY_NAME.shipped} == set(COMMANDS)
    assert all(COMMANDS_BY_NAME.get(name).command == name for name in COMMANDS_BY_NAME.shipped)
    reference(["latency_luts.show", "latency_luts.options:BundleOptions"])
    printed = capsys.readouterr().out
    assert printed.count("## python -m ") == 2
    assert "## python -m latency_luts.bundle\n" in printed
