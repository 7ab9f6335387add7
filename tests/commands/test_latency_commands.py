"""The commands of latency tables as a user runs them, on a space of the narrowest networks."""

import json
import signal
import zipfile
from pathlib import Path

import pytest

from latency_luts.key import key
from latency_luts.schedule import units_and_samples
from latency_luts.table import read
from search_spaces import spaces
from tests.commands.test_commands import command

TINY = ["space.base_width=0.01", "space.resolution_px=32"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, str]:
    """A table of this machine whose build was killed once: its folder, and what the second build printed."""
    cwd = tmp_path_factory.mktemp("tables")
    build = ["tests.quickly", "latency_luts.build", "device=host_here", "tables_dir=.", *TINY]
    killed = command("tests.signalled", "SIGKILL", "host_here.json.measured:20", *build, cwd=cwd)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (cwd / "host_here.json.measured").read_text().count('"chain"') > 10
    assert not (cwd / "host_here.json").exists()
    second = command(*build, cwd=cwd)
    assert second.returncode == 0, second.stderr
    return cwd, second.stdout


def test_a_killed_build_continues(built):
    cwd, printed = built
    assert "host_here: measured on" in printed
    assert "leave-one-out error" in printed
    assert not (cwd / "host_here.json.measured").exists()
    table = read(cwd / "host_here.json")
    units, _ = units_and_samples(spaces.get("mnasnet", base_width=0.01, resolution_px=32))
    assert set(table.units) == set(map(key, units))
    assert len(table.networks) == 32


def test_validate(built):
    cwd, _ = built
    before = len(read(cwd / "host_here.json").units)
    few = ("nets=10", "widths=0.01", "resolution_px=32", "bursts=8")
    done = command("tests.quickly", "latency_luts.validate", "device=host_here", *few, "tables_dir=.", cwd=cwd)
    assert done.returncode == 0, done.stderr
    report = json.loads((cwd / "validation.json").read_text())
    assert report["nets"] == 10
    for name in ("mape", "within_5pct", "within_10pct", "kendall_tau", "bias"):
        assert isinstance(report[name], float)
    assert (cwd / "host_here.parity.png").stat().st_size > 10_000
    validation = read(cwd / "host_here.json").validation
    assert validation is not None
    assert validation.mape == report["mape"]
    again = command("latency_luts.show", "device=host_here", "tables_dir=.", cwd=cwd)
    assert f"error {report['mape']:.1%} on 10 other networks" in again.stdout
    assert (cwd / "host_here.heatmap.png").exists()
    # what the validation measured stays in the table; a later build keeps all of it
    table = read(cwd / "host_here.json")
    assert len(table.units) > before
    # an interpolation measures no unit and is not what the table says of itself
    few = ("nets=10", "widths=0.7", "resolution_px=32", "bursts=4", "model=interpolated")
    done = command("tests.quickly", "latency_luts.validate", "device=host_here", *few, "tables_dir=.", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "of the networks have units that the table lacks" in done.stdout
    assert json.loads((cwd / "validation.json").read_text())["model"] == "interpolated"
    assert (cwd / "host_here.interpolated.parity.png").exists()
    assert read(cwd / "host_here.json") == table


def test_a_table_is_compared_and_corrected(built):
    cwd, _ = built
    done = command("latency_luts.compare", "pixel1", "host_here", "tables_dir=.", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "units in both; host_here takes" in done.stdout
    rows = [
        "network,resolution_px,latency_ms",
        *(f"{n},32,{ms}" for n, ms in (("MobileNetV2", 20), ("MnasNet-A1", 22), ("MnasNet-small", 6))),
    ]
    (cwd / "few.csv").write_text("\n".join(rows) + "\n")
    few = command(
        "latency_luts.calibrate", "device=mine", "latencies=few.csv", "correct=host_here", "tables_dir=.", cwd=cwd
    )
    assert few.returncode == 1
    assert few.stderr == "error: 3 networks for two coefficients; give at least 4\n"
    (cwd / "four.csv").write_text("\n".join([*rows, "MobileNetV3-Small,32,4.5", "MobileNetV3-Large,32,16"]) + "\n")
    correct = ("device=mine", "latencies=four.csv", "correct=host_here", "tables_dir=.", "force=true")  # made-up ms
    four = command("latency_luts.calibrate", *correct, cwd=cwd)
    assert four.returncode == 0, four.stderr
    assert "mine: corrected to 5 networks of four.csv; its units are those of host_here, measured on" in four.stdout


def test_another_way_of_measuring_needs_another_table(built):
    cwd, _ = built
    before = (cwd / "host_here.json").read_bytes()
    done = command("latency_luts.build", "device=host_here", "dtype=int8", "tables_dir=.", *TINY, cwd=cwd)
    assert done.returncode == 1
    assert (
        "host_here.json was measured with dtype fp32, but here is dtype int8; give dtype=fp32, or another device name, "
        "or measure again with: python -m latency_luts.build device=host_here fresh=true" in done.stderr
    )
    assert (cwd / "host_here.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("latency_luts.validate", "device=pixel1"), "error: the table of 'pixel1' is calibrated, not measured"),
        (("latency_luts.validate", "device=nowhere"), "error: no latency table for device 'nowhere'"),
        (("latency_luts.validate", "nets=3"), "error: nets=3: it must be a whole number at least 10"),
        (("latency_luts.validate", "spaces=[darts]"), "error: spaces="),
        (("latency_luts.build", "device=pixel1"), "error: device=pixel1 is a shipped table; use another name"),
        (("latency_luts.build", "device=rpi4", "from=none.jsonl"), "error: from=none.jsonl cannot be read"),
        (("latency_luts.build", "device=rpi4", "ray.address=127.0.0.1:1", "ray.resource=rpi4"), "error: no Ray"),
        (("latency_luts.build", "dtype=fp16"), "error: dtype=fp16: runtime onnxruntime computes in fp32 or int8"),
        (("latency_luts.import_table", "device=x", "path=none.yaml"), "error: path=none.yaml cannot be read"),
        (("latency_luts.import_table", "device=pixel1", "path=none.yaml"), "error: device=pixel1 is a shipped table"),
        (("latency_luts.calibrate", "device=x", "latencies=none.csv"), "error: latencies=none.csv cannot be read"),
        (("latency_luts.show", "device=nowhere"), "error: no latency table for device 'nowhere'"),
    ],
)  # fmt: skip
def test_messages(tmp_path, arguments, message):
    module, *rest = arguments
    done = command(module, *rest, "tables_dir=.", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_bundle(tmp_path):
    options = ("device=board", "space=mnasnet", "out=board.zip", "space.classes=7")  # classes change no table
    done = command("latency_luts.bundle", *options, *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"python -m latency_luts.build device=board {' '.join(TINY)} from=measured.jsonl" in done.stdout
    with zipfile.ZipFile(tmp_path / "board.zip") as file:
        names = file.namelist()
    assert {"board_bundle/manifest.json", "board_bundle/on_device.py"} <= set(names)
    assert (tmp_path / "board.zip").stat().st_size < 20e6
