"""Tables from elsewhere: imported, made by a bundle, interpolated; and the commands that show them."""

import json
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import latency_luts
from latency_luts import build, bundle, compare, import_table, on_device, show, store
from latency_luts.coverage import coverage
from latency_luts.interpolated import InterpolatedModel
from latency_luts.key import key, nearest, parse
from latency_luts.options import ImportOptions, ShowOptions
from latency_luts.table import Correction, Identity, MeasuredTable, TableError, Timing, write
from search_spaces import onnx_net, spaces, zoo
from search_spaces.arch import Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import lower, unit
from search_spaces.ops import Conv
from tests.conftest import options_of
from tests.test_commands import HANGS_S


def entries(*names: str) -> dict:
    return {name: {"mean": 1.0 + i, "var": 0.01} for i, name in enumerate(names)}


# ---- import


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
    entries = import_table.read_yaml(Path(__file__).parent / "data" / "once_for_all.yaml")
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


# ---- interpolation


def made_up_table(**changes) -> MeasuredTable:
    """A device that computes 16 channels at a time and needs 5 us per operator."""

    def ms(u) -> float:
        total = 0.0
        for node in u.nodes:
            out_ch, h, w = node.out_shape
            total += 0.005
            if isinstance(node.op, Conv):
                inner = node.op.kernel**2 * (1 if node.op.groups > 1 else -(-node.op.in_ch // 16) * 16)
                total += 1e-7 * -(-out_ch // 16) * 16 * h * w * inner
        return total

    units = spaces.get("mnasnet", base_width=0.5, resolution_px=96).units()
    return MeasuredTable(
        device="made_up",
        identity=Identity(cpu="x", runtime="y", threads=1, batch=1, dtype="fp32"),
        provenance={},
        units={key(u): Timing(ms(u), 0.0, 1) for u in units},
        **changes,
    )


@pytest.fixture(scope="module")
def interpolated() -> InterpolatedModel:
    return InterpolatedModel(made_up_table())


def test_what_the_table_has_is_taken_as_it_is(interpolated):
    for name, timing in list(interpolated.table.units.items())[::50]:
        assert interpolated.unit_ms(parse(name)) == timing.ms


def test_vector_width_and_error_are_found(interpolated):
    assert interpolated.vector_width == 16
    assert np.median(np.abs(interpolated.left_out_errors)) < 0.1
    assert "interpolated between widths" in interpolated.describe()


def test_widths_between_are_priced_in_steps(interpolated):
    block = MBConv(in_ch=24, mid_ch=72, out_ch=24, kernel=3, skip="identity")
    ms = [interpolated.unit_ms(unit(replace(block, mid_ch=mid), 12, 12)) for mid in (65, 72, 80, 81, 96, 112, 128)]
    assert ms[0] == pytest.approx(ms[2], rel=0.05)
    assert ms[3] > 1.02 * ms[2]
    assert ms[-1] > ms[3]


def test_interpolation_is_a_model_of_its_own(tmp_path):
    write(made_up_table(), tmp_path / "made_up.json")
    arch = zoo.get("mobilenet_v3_small", resolution_px=96)
    with pytest.raises(latency_luts.MissingUnitsError, match=r"has no unit .* \(nearest: "):
        latency_luts.load("made_up", tables_dir=tmp_path).latency_ms(arch)
    assert latency_luts.load("made_up", model="interpolated", tables_dir=tmp_path).latency_ms(arch) > 0
    with pytest.raises(TableError, match="no latency model 'guessed'; there are: table, interpolated"):
        latency_luts.load("made_up", model="guessed", tables_dir=tmp_path)
    with pytest.raises(TableError, match="is calibrated: it prices any unit"):
        latency_luts.load("pixel1", model="interpolated")


def test_interpolation_needs_units():
    table = made_up_table()
    few = replace(table, units=dict(list(table.units.items())[:10]))
    with pytest.raises(TableError, match=r"has 10 units above 0\.001 ms; interpolation needs 30"):
        InterpolatedModel(few)
    seconds = replace(table, units={name: replace(t, ms=t.ms * 1e-6) for name, t in table.units.items()})
    with pytest.raises(TableError, match=r"has 0 units above 0\.001 ms"):
        InterpolatedModel(seconds)


def test_nearest_keys_differ_least():
    wanted = "MBConv(in_ch=24,mid_ch=72,out_ch=40,kernel=5)@56x56"
    known = ["MBConv(in_ch=24,mid_ch=144,out_ch=40,kernel=5)@56x56", "MBConv(in_ch=8,mid_ch=8,out_ch=8,kernel=3)@7x7"]
    assert nearest(wanted, [*known, "ConvBN(in_ch=24,out_ch=40,kernel=5)@56x56"], n=1) == known[:1]


# ---- bundles

ONLY_NUMPY_AND_ONNXRUNTIME = """
import importlib.abc, runpy, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"onnx", "torch", "search_spaces", "latency_luts", "nas", "hydra", "rich"}:
            raise ImportError(f"{name} is not on the device")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def on_the_device(tmp_path_factory):
    """A bundle of two small networks, unpacked, and a function that runs its program."""
    folder = tmp_path_factory.mktemp("device")
    monkeypatch = pytest.MonkeyPatch()
    for module in (build, bundle):
        monkeypatch.setattr(module, "units_and_samples", tiny_units_and_samples)
    monkeypatch.setattr(bundle, "BURSTS", 2)
    monkeypatch.setattr(bundle, "NETWORK_BURSTS", 4)
    monkeypatch.setattr(bundle, "NETWORK_TURNS", 2)
    path = folder / "board.zip"
    bundle.bundle(
        "board", spaces.get("mnasnet"), path, threads=1, batch=1, dtype="fp32", options="space.base_width=0.5"
    )
    with zipfile.ZipFile(path) as file:
        assert all(name.startswith("board_bundle/") and ".." not in name for name in file.namelist())
        file.extractall(folder)

    def run(*arguments: str):
        program = str(folder / "board_bundle" / "on_device.py")
        return subprocess.run(
            [sys.executable, "-c", ONLY_NUMPY_AND_ONNXRUNTIME, program, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGS_S,
        )

    yield folder, run
    monkeypatch.undo()


def tiny_units_and_samples(space):
    archs = [zoo.get("mobilenet_v3_small", width=w, resolution_px=32) for w in (0.35, 0.5, 0.75, 1.0)]
    units = {each for arch in archs for each in lower(arch)}
    return units, {f"n{i}": arch for i, arch in enumerate(archs)}


def test_a_bundle_makes_a_table(on_the_device):
    folder, run = on_the_device
    done = run()
    assert done.returncode == 0, done.stderr
    assert "python -m latency_luts.build device=board space.base_width=0.5 from=measured.jsonl" in done.stdout
    space = spaces.get("mnasnet")
    file = folder / "measured.jsonl"
    table = build.build_from(file, device="board", space=space, path=folder / "board.json")
    units, samples = tiny_units_and_samples(space)
    assert set(table.units) == {key(each) for each in units}
    assert all(timing.ms > 0 for timing in table.units.values())
    assert len(table.networks) == len(samples)
    model = latency_luts.load(folder / "board.json")
    assert model.latency_ms(samples["n3"]) > 0.5 * model.latency_ms(samples["n0"])
    # the same file again changes nothing, another adds to the table what it lacks, and nothing is replaced unasked
    assert build.build_from(file, device="board", space=space, path=folder / "board.json") == table
    again = folder / "again.jsonl"
    again.write_bytes(file.read_bytes().replace(b"\n", b" \n", 1))
    with pytest.raises(TableError, match=r"has all units of from=.*again.jsonl already; replace it with fresh=true"):
        build.build_from(again, device="board", space=space, path=folder / "board.json")
    half = {name: timing for i, (name, timing) in enumerate(table.units.items()) if i % 2}
    write(replace(table, units=half), folder / "half.json")
    grown = build.build_from(again, device="board", space=space, path=folder / "half.json")
    assert {name: grown.units[name] for name in half} == half
    assert set(grown.units) == set(table.units)
    fresh = build.build_from(again, device="board", space=space, path=folder / "half.json", fresh=True)
    assert fresh.units == table.units
    again.unlink()
    with pytest.raises(TableError, match="holds what was measured on a device; take another device name"):
        store.check_replaceable(folder / "board.json")
    # finished: nothing is measured again
    before = file.read_bytes()
    assert run().returncode == 0
    assert file.read_bytes() == before
    # interrupted, with a line cut short: only what is missing is measured
    lines = before.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-4]) + b'{"file": "n')
    with pytest.raises(TableError, match="is damaged"):
        build.build_from(file, device="board", space=space, path=folder / "other.json")
    file.write_bytes(b"".join(lines[:-4]))
    with pytest.raises(TableError, match=r"is unfinished: .* run on_device.py on the device again, it continues"):
        build.build_from(file, device="board", space=space, path=folder / "other.json")
    file.write_bytes(b"".join(lines[:-4]) + b'{"file": "n')
    assert run().returncode == 0
    after = file.read_bytes().splitlines(keepends=True)
    assert after[: len(lines) - 4] == lines[:-4]
    assert len(after) == len(lines)
    assert not (folder / "other.json").exists()
    with pytest.raises(TableError, match="was measured for device=board, not rpi5"):
        build.build_from(file, device="rpi5", space=space, path=folder / "rpi5.json")


def test_a_bundle_s_graph_takes_the_same_kernels_as_the_network(on_the_device):
    """Made-up weights change no kernel: the same operators run in the same order."""
    import onnxruntime

    folder, _ = on_the_device
    arch = zoo.get("mobilenet_v3_small", resolution_px=32)
    manifest = json.loads((folder / "board_bundle" / "manifest.json").read_text())
    (entry,) = [e for group in manifest["networks"] for e in group if e["name"] == "n3"]
    if not (folder / "board_bundle" / on_device.WEIGHTS).exists():
        sections = {int(section): size for section, size in manifest["weights"].items()}
        on_device.write_weights(folder / "board_bundle" / on_device.WEIGHTS, sections)
    kinds = []
    for model in (str(folder / "board_bundle" / entry["file"]), onnx_net.model(arch).SerializeToString()):
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(folder / "p")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (y,) = session.run(None, {"input": np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)})
        assert np.isfinite(y).all()
        assert 1e-6 < np.abs(y).max() < 1e6  # no denormal numbers, which are slow, and no overflow
        events = json.loads(Path(session.end_profiling()).read_text())
        kinds.append([e["args"]["op_name"] for e in events if e.get("cat") == "Node" and "op_name" in e["args"]])
    assert Counter(kinds[0]) == Counter(kinds[1])  # the order of independent kernels is not fixed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a file of on_device.py"),
        ('{"format": 7}\n', "is not a file of on_device.py"),
        ("{", "is damaged"),
        ('{"format": 1, "device": "board", "identity": {}, "chains": 0, "networks": 0}\n', "is damaged"),
    ],
)
def test_measured_file_messages(tmp_path, content, message):
    path = tmp_path / "m.jsonl"
    path.write_text(content)
    with pytest.raises(TableError, match=message):
        bundle.read_measured(path)


def test_a_latency_that_cannot_be_is_refused(tmp_path):
    head = {
        "format": 1,
        "device": "board",
        "identity": vars(Identity(cpu="x", runtime="y", threads=1, batch=1, dtype="fp32")),
        "chains": 1,
        "networks": 0,
    }
    chain = {
        "keys": ["ConvBN(in_ch=3,out_ch=8)@8x8"],
        "ms": [-1.0],
        "spread": [0.0],
        "kernels": [1],
        "runs": 1,
        "reference_ms": 1.0,
    }
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(head) + "\n" + json.dumps({"file": "c.onnx", "turn": 0, "chain": chain}) + "\n")
    with pytest.raises(TableError, match=r"is damaged: -1.0 is no latency; copy it again"):
        bundle.read_measured(path)
    path.write_text(path.read_text().replace("-1.0", "1.0").replace('"runs": 1', '"runs": 1e999'))
    with pytest.raises(TableError, match=r"is damaged: cannot convert float infinity to integer; copy it again"):
        bundle.read_measured(path)


# ---- showing and comparing


def test_heat_map_of_a_phone():
    model = latency_luts.load("pixel1")
    sizes, widths, ms = show.heat_map(model, show.units_of(model))
    assert sizes == [112, 56, 28, 14, 7]
    assert ms.shape == (5, len(widths))
    assert np.nanmin(ms) > 0
    column = ms[:, widths.index(512)]
    known = column[~np.isnan(column)]
    assert len(known) >= 2
    assert (np.diff(known) < 0).all()  # smaller maps are faster


def test_a_heat_map_has_medians_of_blocks_without_a_stride():
    wide = [MBConv(in_ch=24, mid_ch=mid, out_ch=24, kernel=k) for mid, k in ((65, 3), (128, 3), (100, 5))]
    narrow = MBConv(in_ch=24, mid_ch=64, out_ch=24, kernel=3)
    others = [replace(narrow, stride=2), SepConv(in_ch=24, out_ch=24, kernel=3)]
    ms = {unit(block, 28, 28): t for block, t in zip(wide, (1.0, 2.0, 9.0), strict=True)}
    ms |= {unit(narrow, 7, 7): 0.5} | {unit(block, 28, 28): 100.0 for block in others}
    ms[unit(replace(narrow, kernel=5), 7, 7)] = 0.0  # its neighbours' kernels do all of it
    table = replace(made_up_table(), units={key(each): Timing(t, 0.0, 1) for each, t in ms.items()})
    sizes, widths, medians = show.heat_map(latency_luts.LatencyModel(table), list(ms))
    assert (sizes, widths) == ([28, 7], [64, 128])
    np.testing.assert_array_equal(medians, [[np.nan, 2.0], [0.5, np.nan]])


def test_a_foreign_table_is_shown_harmlessly(tmp_path, capsys, monkeypatch):
    table = made_up_table()
    foreign = replace(table.identity, cpu="\x1b]0;evil\x07 [bold]$x_{$", runtime="\x9b31m")
    units = {**table.units} | {name: replace(table.units[name], ms=0.0) for name in list(table.units)[:200]}
    provenance = {"imported_from": "\x1b[2J.yaml", "note": "\x1b[31m"}
    write(replace(table, identity=foreign, units=units, provenance=provenance), tmp_path / "made_up.json")
    values = {"device": "made_up", "tables_dir": str(tmp_path), "out": str(tmp_path / "map.png")}
    show._main(options_of(ShowOptions, **values))
    printed = capsys.readouterr().out
    assert not set("\x1b\x07\x9b") & set(printed)
    assert "made_up: imported from \\x1b[2J.yaml;" in printed
    assert "[bold]$x_{$" in printed
    assert "covers all networks of: space=mnasnet space.base_width=0.5 space.resolution_px=96\n" in printed
    before = (tmp_path / "map.png").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        show._main(options_of(ShowOptions, **values))
    assert caught.value.filename == str(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes() == before


def test_common_units_of_two_tables(tmp_path):
    made_up = latency_luts.LatencyModel(made_up_table())
    pixel1 = latency_luts.load("pixel1")
    both = compare.common_units(pixel1, made_up)
    assert {key(each) for each, _, _ in both} == made_up.table.units.keys()
    for each, x, y in both:
        assert x == pixel1.unit_ms(each)
        assert y == made_up.table.units[key(each)].ms
    some = made_up_table()
    nothing, _, *rest = some.units
    some = replace(some, units={nothing: Timing(0.0, 0.0, 1)} | {name: some.units[name] for name in rest})
    fewer = compare.common_units(latency_luts.LatencyModel(some), made_up)
    assert {key(each) for each, _, _ in fewer} == set(rest)  # what takes nothing has no ratio


def test_networks_that_a_table_gives_no_latency_are_not_compared(tmp_path, capsys):
    small, large = zoo.get("mobilenet_v3_small"), zoo.get("mobilenet_v2")
    units = {key(each): Timing(1.0, 0.01, 20) for arch in (small, large) for each in lower(arch)}
    less = Correction(offset_ms=-float(len(small.blocks)))
    write(replace(made_up_table(), units=units, correction=less), tmp_path / "fast.json")
    compare.main(["pixel1", str(tmp_path / "fast.json")])
    printed = capsys.readouterr().out
    assert "mobilenet_v2" in printed
    assert "mobilenet_v3_small" not in printed


def test_compare_needs_two_tables(capsys):
    with pytest.raises(ValueError, match="give two tables: python -m latency_luts.compare A B"):
        compare.main(["pixel1"])
    compare.main(["pixel1", "pixel3"])
    printed = capsys.readouterr().out
    assert "units in both; pixel3 takes" in printed
    assert "mobilenet_v3_large" in printed
