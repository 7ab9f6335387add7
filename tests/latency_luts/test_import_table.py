"""Tables of other projects, taken over."""

from pathlib import Path

import pytest

import latency_luts
from latency_luts import import_table
from latency_luts.coverage import coverage
from latency_luts.key import key, parse
from latency_luts.options import ImportOptions
from latency_luts.table import TableError, Timing
from search_spaces import zoo
from search_spaces.arch import Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import lower, unit
from tests.conftest import options_of
from tests.latency_tables import made_up_table


def entries(*names: str) -> dict:
    return {name: {"mean": 1.0 + i, "var": 0.01} for i, name in enumerate(names)}


@pytest.mark.parametrize(
    ("name", "block", "size"),
    [
        (
            "MBConv-input:28x28x80-output:28x28x80-expand:3-kernel:5-stride:1-idskip:1-se:1",
            MBConv(in_ch=80, mid_ch=240, out_ch=80, kernel=5, act="hard_swish", se_ch=64, se_gate="hard_sigmoid",
                   skip="identity"),
            28,
        ),
        (
            "MBConv-input:100x100x16-output:50x50x24-expand:4-kernel:7-stride:2-idskip:0-se:0",
            MBConv(in_ch=16, mid_ch=64, out_ch=24, kernel=7, stride=2),
            100,
        ),
        (
            "MBConv-input:100x100x16-output:100x100x16-expand:1-kernel:3-stride:1-idskip:1-se:0",
            SepConv(in_ch=16, out_ch=16, kernel=3, skip="identity"),
            100,
        ),
        (
            "first_conv-input:224x224x3-output:112x112x24",
            ConvBN(in_ch=3, out_ch=24, kernel=3, stride=2, act="hard_swish"),
            224,
        ),
        (
            "final_expand_layer-input:7x7x160-output:7x7x960",
            ConvBN(in_ch=160, out_ch=960, kernel=1, act="hard_swish"),
            7,
        ),
        ("Conv-input:224x224x3-output:112x112x32", ConvBN(in_ch=3, out_ch=32, kernel=3, stride=2, act="relu6"), 224),
        (
            "expanded_conv-input:56x56x24-output:56x56x24-expand:6-kernel:5-stride:1-idskip:1",
            MBConv(in_ch=24, mid_ch=144, out_ch=24, kernel=5, act="relu6", skip="identity"),
            56,
        ),
        (
            "expanded_conv-input:28x28x40-output:14x14x80-mid:240-kernel:5-stride:2-idskip:0-se:1-hs:1",
            MBConv(in_ch=40, mid_ch=240, out_ch=80, kernel=5, stride=2, act="hard_swish", se_ch=64,
                   se_gate="hard_sigmoid"),
            28,
        ),
        (  # Once-for-All: channels, where se and hs follow
            "expanded_conv-input:14x14x136-output:14x14x136-expand:816-kernel:5-stride:1-idskip:1-se:1-hs:0",
            MBConv(in_ch=136, mid_ch=816, out_ch=136, kernel=5, act="relu", se_ch=208, se_gate="hard_sigmoid",
                   skip="identity"),
            14,
        ),
        ("Conv_1-input:7x7x320-output:7x7x1280", ConvBN(in_ch=320, out_ch=1280, kernel=1, act="relu6"), 7),
        ("Logits-input:7x7x1280-output:1000", Classifier(in_ch=1280, out_ch=1000), 7),
    ],
)  # fmt: skip
def test_every_form_of_key(name, block, size):
    units, left_out = import_table.convert(entries(name))
    assert left_out == {}
    assert list(units) == [key(unit(block, size, size))]
    assert units[key(unit(block, size, size))].ms == 1.0


def test_a_classifier_is_put_together_from_its_layers():
    units, left_out = import_table.convert(
        entries(
            "final_expand_layer-input:7x7x160-output:7x7x960",
            "feature_mix_layer-input:1x1x960-output:1x1x1280",
            "classifier-input:1280-output:1000",
        )
    )
    assert left_out == {}
    whole = unit(Classifier(in_ch=960, hidden_ch=1280, out_ch=1000), 7, 7)
    assert units[key(whole)].ms == 2.0 + 3.0


def test_what_fits_no_unit_is_said():
    good = "MBConv-input:28x28x80-output:28x28x80-expand:3-kernel:5-stride:1-idskip:1-se:0"
    units, left_out = import_table.convert(
        entries(
            good,
            "Mystery-input:28x28x80-output:28x28x80",
            "MBConv-input:28x28x80-output:9x9x80-expand:3-kernel:5-stride:3-idskip:0-se:0",
            "MBConv-input:28x28x80-output:28x28x96-expand:3-kernel:5-stride:1-idskip:1-se:0",
            "classifier-input:99-output:1000",
        )
    )
    assert len(units) == 1
    assert len(left_out) == 4
    assert "its kind 'Mystery' is not known" in left_out["Mystery-input:28x28x80-output:28x28x80"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: }", "is not YAML"),
        ("", "holds no table"),
        ("a-b:\n  mean: -1\n", "has 'a-b' with mean -1; it must be milliseconds above 0"),
        ("a-b:\n  mean: 0\n", "has 'a-b' with mean 0; it must be milliseconds above 0"),
        ("a-b:\n  mean: 2020-13-45\n", "has 'a-b' with mean nan"),
        ("a-b:\n  mean: .nan\n", "has 'a-b' with mean nan"),
        ("a-b:\n  other: 1\n", "has 'a-b' with mean none"),
        ("a-b: 3\nc-d:\n mean: 1\n", "has 'a-b' without mean: and var:"),
        ("a: &a\n  mean: 1\nb: *a\n", "holds no table: it has an alias in line 3"),
        ("[" * 900, "holds no table: it has a list in line 1"),
        ("[" * 100_000, "is not YAML: .*nesting depth"),
        ("{a: " * 900, "holds no table: it has a mapping in an entry in line 1"),
        ("{a: {b: " + "{" * 900, "holds no table: it has a mapping in an entry in line 1"),
        ("x" * 900 + ":\n  mean: -1\n", r"xxx\.\.\. with mean -1"),
        ("a-b:\n  mean: 1\na-b:\n  mean: 2\n", "has 'a-b' twice; remove one"),
    ],
)
def test_import_messages(tmp_path, content, message):
    path = tmp_path / "t.yaml"
    path.write_text(content)
    with pytest.raises(TableError, match=message):
        import_table.read_yaml(path)
    with pytest.raises(TableError, match="cannot be read"):
        import_table.read_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("classifier", "no unit: it has no input"),
        ("MBConv", "no unit: it has no input"),
        ("first_conv-input:0x0x0-output:0x0x0", "its input is '0x0x0'; it must be of whole numbers from 1 to 100000"),
        ("first_conv-input:8x8-output:8x8", "its input is '8x8'; it must be height x width x channels"),
        ("MBConv-input:8x8x8-output:8x8x8-expand:inf-kernel:3-stride:1", "its expand is 'inf'; it must be a ratio"),
        ("MBConv-input:8x8x8-output:8x8x8-expand:3-kernel:-stride:1", "its kernel is ''; it must be of whole numbers"),
        ("Conv_2-input:1x1x960-output:1x1x1280", "no pooling, hidden layer and classifier of this file fit together"),
        ("x" * 5000, "its kind 'xxx"),
    ],
)
def test_what_cannot_be_is_left_out_with_a_reason(name, reason):
    units, left_out = import_table.convert(entries(name))
    assert units == {}
    assert reason in left_out[name]
    assert len(left_out[name]) < 300


def once_for_all(arch) -> list[str]:
    """The keys of a network in a table of Once-for-All's MobileNetV3, as its `MBv3LatencyTable` asks for them."""
    names = []
    for each in lower(arch):
        block, (in_ch, size, _), shape = each.block, each.in_shape, each.out_shape
        ends = f"input:{size}x{size}x{in_ch}-output:{shape[1]}x{shape[2]}x{shape[0]}" if len(shape) == 3 else ""
        if isinstance(block, ConvBN):
            names.append(f"{'Conv' if block.kernel == 3 else 'Conv_1'}-{ends}")
        elif isinstance(block, Classifier):
            names.append(f"AvgPool2D-input:{size}x{size}x{in_ch}-output:1x1x{in_ch}")
            names.append(f"Conv_2-input:1x1x{in_ch}-output:1x1x{block.hidden_ch}")
            names.append(f"Logits-input:1x1x{block.hidden_ch}-output:{block.out_ch}")
        else:
            settings = f"kernel:{block.kernel}-stride:{block.stride}-idskip:{int(block.skip == 'identity')}"
            hs = f"se:{int(block.se_ch > 0)}-hs:{int(block.act == 'hard_swish')}"
            names.append(f"expanded_conv-{ends}-expand:{getattr(block, 'mid_ch', block.in_ch)}-{settings}-{hs}")
    return names


def test_a_once_for_all_table_covers_the_network_that_it_was_made_of(tmp_path, capsys):
    arch = zoo.get("mobilenet_v3_large")
    path = tmp_path / "ofa.yaml"
    names = dict.fromkeys([*once_for_all(arch), "AvgPool2D-input:9x9x9-output:1x1x9"])
    path.write_text("".join(f"{name}:\n  mean: 0.5\n  var: 0.01\n" for name in names))
    values = {"device": "ofa", "path": str(path), "cpu": None, "tables_dir": str(tmp_path)}
    import_table._main(options_of(ImportOptions, **values))
    printed = capsys.readouterr().out
    assert "1 entries left out:" in printed
    assert (
        "no pooling, hidden layer and classifier of this file fit together with it (as AvgPool2D-input:9x9x9" in printed
    )
    assert "covers all networks of: no search space of this project of widths" in printed
    assert "covers of the zoo: mobilenet_v3_large at 224 px\n" in printed
    assert "ofa: imported from ofa.yaml; error on whole networks unknown" in printed
    model = latency_luts.load("ofa", tables_dir=tmp_path)
    assert model.latency_ms(arch) == pytest.approx(0.5 * (len(arch.blocks) + 2))


def test_a_table_of_a_space_covers_it():
    found = coverage(made_up_table())
    assert found.spaces == ("space=mnasnet space.base_width=0.5 space.resolution_px=96",)
    assert found.networks == ()
    assert found.interpolates


def test_a_file_in_once_for_alls_format_is_taken_over_whole():
    """Two widths of the space, each with a hidden layer and a classifier of its own; the maps of 3 and 4 px are those
    of networks of 96 and 128 px."""
    entries = import_table.read_yaml(Path(__file__).parents[1] / "data" / "once_for_all.yaml")
    assert len(entries) == 21
    units, left_out = import_table.convert(entries)
    assert left_out == {}
    assert len(units) == 21 - 4 + 3  # two classifiers of two layers each, on three maps
    ms = {parse(name): timing.ms for name, timing in units.items()}
    first = unit(ConvBN(in_ch=3, out_ch=24, kernel=3, stride=2, act="hard_swish"), 96, 96)
    last = unit(
        MBConv(in_ch=160, mid_ch=960, out_ch=160, kernel=7, act="hard_swish", se_ch=240, se_gate="hard_sigmoid",
               skip="identity"), 3, 3,
    )  # fmt: skip
    narrow, wide = (Classifier(in_ch=n, hidden_ch=h, out_ch=1000) for n, h in ((960, 1280), (1152, 1536)))
    assert (ms[first], ms[last]) == (0.75, 3.75)
    assert [ms[unit(narrow, px, px)] for px in (3, 4)] == [4.75 + 5.25] * 2
    assert ms[unit(wide, 3, 3)] == 5.0 + 5.5
    head = key(unit(ConvBN(in_ch=160, out_ch=960, kernel=1, act="hard_swish"), 4, 4))
    assert units[head] == Timing(4.5, round(1.349 * 0.0001**0.5 / 4.5, 4), 0)
