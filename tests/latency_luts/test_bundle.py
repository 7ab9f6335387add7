"""Bundles that measure on a device, and what comes back from there."""

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
from latency_luts import build, bundle, on_device, store
from latency_luts.key import key
from latency_luts.table import Identity, TableError, write
from search_spaces import onnx_net, spaces, zoo
from search_spaces.lower import lower
from tests.commands.test_commands import HANGS_S

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
