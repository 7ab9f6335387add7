"""What a value of an option may be, and what is said of another."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from nas_runtime.amounts import Numbers
from nas_runtime.kinds import Among, AnyPath, Free, Several, Text
from nas_runtime.options import CommandOptions, Options, read, read_plain
from search_spaces.show import NetworkOptions


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
