"""Experiments that reproduce a table: ours against what was printed."""

import importlib
import re
from pathlib import Path

import pytest

from experiments import design_trend, mobilenet_v1_layers, options
from search_spaces import zoo
from search_spaces.arch import MBConv, SepConv
from search_spaces.lower import lower

SEEDS = Path(__file__).parents[2] / "shared" / "seeds"


def test_the_design_trend_table_equals_the_printed_one():
    files = [path for path in SEEDS.glob("*.txt") if "Table A: All MBConv blocks" in path.read_text()]
    if not files:
        pytest.skip("the printed table is not here")
    printed = {}
    for line in files[0].read_text().splitlines():
        title, _, rest = line.partition("\t")
        name = re.sub(r" \[\d+\]$", "", title)
        if name in design_trend.NETWORKS:
            printed[name] = [cell.strip() for cell in rest.split("\t")]
    assert printed.keys() == design_trend.NETWORKS.keys()
    differ = set()
    for title, name in design_trend.NETWORKS.items():
        ours = design_trend.cells(name)
        theirs = printed[title] + [""] * (len(ours) - len(printed[title]))
        assert len(theirs) == len(ours)
        differ |= {(title, stage) for stage, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b}
    assert differ == set(design_trend.DIFFERENCES)


def test_mobilenet_v1_table_2():
    for kind, (madds, params) in mobilenet_v1_layers.shares().items():
        printed = mobilenet_v1_layers.PAPER[kind]
        if kind == "Conv 3x3":  # printed with its digits swapped
            assert round(madds, 2) == 1.91
        else:
            assert madds == pytest.approx(printed[0], abs=0.006)
        assert params == pytest.approx(printed[1], abs=0.006)


def test_a_separable_convolution_costs_what_the_formula_says():
    for _, _, counted, formula in mobilenet_v1_layers.separable_ratios():
        assert counted == pytest.approx(formula)


ROW = re.compile(r"\$(\d+)\^\{?2\}? \\times (\d+)\$\tbneck, (\d)x\d\t(\d+)\t(\d+)\t[^\t]*\t(HS|RE)\t(\d)")


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("mobilenet_v3_large", "Table 1. Specification for MobileNetV3-Large"),
        ("mobilenet_v3_small", "Table 2. Specification for MobileNetV3-Small"),
    ],
)
def test_the_specification_of_mobilenet_v3_is_the_printed_one(name, caption):
    """Rows of tables 1 and 2: input, kernel, expansion, output, non-linearity, stride (SE is illegible in places)."""
    texts = [text for path in SEEDS.glob("*.txt") if caption in (text := path.read_text())]
    if not texts:
        pytest.skip("the printed table is not here")
    before = texts[0][: texts[0].index(caption)]
    table = before[before.rindex("Input\tOperator") :]
    printed = [match.groups() for match in map(ROW.match, table.splitlines()) if match]
    acts = {"relu": "RE", "hard_swish": "HS"}
    ours = []
    for part in lower(zoo.get(name))[1:-2]:
        block, (channels, height, _) = part.block, part.in_shape
        assert isinstance(block, SepConv | MBConv)
        expansion = block.mid_ch if isinstance(block, MBConv) else channels
        ours.append((height, channels, block.kernel, expansion, block.out_ch, acts[block.act], block.stride))
    assert [tuple(map(str, row)) for row in ours] == [tuple(row) for row in printed]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seeds=0", "seeds=0; it must be a whole number above 0"),
        ("seeds=1e400", "seeds=1e400; it must be a whole number above 0"),
        ("seeds=1000000000000", "seeds=1000000000000; it must be at most 1000000000"),
        ("minutes=5,x", "minutes=x; it must be a whole number above 0"),
        ("share=-1", "share=-1; it must be a number, 0 or more"),
        ("share=nan", "share=nan; it must be a number, 0 or more"),
        ("methods=a,c", "methods=c; allowed: a, b"),
        ("seed=1", "seed=1; did you mean seeds?; there are seeds=, minutes=, share=, methods=, path="),
        ("seeds", "seeds; there are seeds=, minutes=, share=, methods=, path="),
        ("path=nowhere", "path=nowhere: there is no such file or folder"),
        (f"share={'x' * 10_000}", f"share={'x' * 60}... (10,000 characters); it must be a number, 0 or more"),
    ],
)
def test_options_of_experiments(monkeypatch, tmp_path, argument, message):
    defaults = {"seeds": 2, "minutes": (5, 15), "share": 0.5, "methods": ("a", "b"), "path": ""}
    path = tmp_path / "a=b,c"
    path.touch()
    monkeypatch.setattr("sys.argv", ["x", "minutes=10,10", "methods=b,a", f"path={path}"])
    given = options.read(defaults, {"methods": ("a", "b")}, needed=["path"])
    assert given == {"seeds": 2, "minutes": (10,), "share": 0.5, "methods": ("b", "a"), "path": str(path)}
    monkeypatch.setattr("sys.argv", ["x", argument])
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        options.read(defaults, {"methods": ("a", "b")})


EXPERIMENTS = sorted(
    path.stem for path in Path(options.__file__).parent.glob("*.py") if 'if __name__ == "__main__":' in path.read_text()
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_refuses_what_it_does_not_know(monkeypatch, capsys, name):
    """Before it begins; and it says what it is with --help."""
    module = importlib.import_module(f"experiments.{name}")
    for argument, message in {"x=1": "error: x=1; there are ", "path=/nowhere": "error: path=/nowhere"}.items():
        monkeypatch.setattr("sys.argv", [name, argument])
        with pytest.raises(SystemExit) as ended:
            options.run(module.main)
        printed = capsys.readouterr().err
        assert (ended.value.code, printed.count("\n")) == (1, 1)
        assert printed.startswith(message)
    monkeypatch.setattr("sys.argv", [name, "--help"])
    options.run(module.main)
    assert f"python -m experiments.{name}" in capsys.readouterr().out
    assert "    options.run(main)" in Path(str(module.__file__)).read_text()
