"""Bundles of LiteRT, measured in a process and on a phone that adb reaches."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from latency_luts import build, bundle
from latency_luts.key import key
from latency_luts.on_device import encode
from search_spaces import spaces
from search_spaces.lower import lower
from tests.commands.test_commands import HANGS_S
from tests.latency_luts.test_bundle import ONLY_NUMPY_AND_ONNXRUNTIME, tiny_units_and_samples

pytest.importorskip("ai_edge_litert")
ONLY_NUMPY_AND_LITERT = ONLY_NUMPY_AND_ONNXRUNTIME.replace('{"onnx", ', '{"onnx", "onnxruntime", ')

WITHOUT_PACKAGES = """
import importlib.metadata as metadata
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
"""

ADB = """#!/bin/sh
# Android's adb, with a folder for the phone
there() { printf %s "$1" | sed "s#/data/local/tmp#$PHONE/tmp#g; s#/sys/devices#$PHONE/sys/devices#g"; }
echo "$*" >> "$PHONE/log"
if [ -e "$PHONE/off" ]; then echo "adb: no devices/emulators found" >&2; exit 1; fi
if [ "$1" != push ]; then PATH="$PHONE:$PATH" sh -c "$(there "$2")"; exit; fi
shift
for last in "$@"; do :; done
while [ $# -gt 1 ]; do echo copied >> "$PHONE/log"; cp "$1" "$(there "$last")"; shift; done
"""

BENCHMARK = """#!/bin/sh
# LiteRT's benchmark_model: a graph takes 2 us, and 1 more for each 1,000 bytes of its file
for word in "$@"; do case $word in --graph=*) graph=${word#--graph=};; esac; done
printf . >> "$PHONE/starts"
if [ "$(wc -c < "$PHONE/starts")" -gt "${MOST:-1000000}" ]; then echo "Failed to initialize the interpreter"; exit 1; fi
us=$((2 + $(wc -c < "$graph") / 1000))
echo "INFO: STARTING!"
echo "INFO: count=2 first=900 curr=950 min=900 max=950 avg=925 std=25 p5=900 median=950 p95=950"
echo "INFO: Running benchmark for at least 20 iterations"
echo "INFO: count=20 first=99999 curr=$us min=$us max=99999 avg=1.2e+04 std=1 p5=$us"
echo "INFO: Inference timings in us: Init: 55, First inference: 900, Warmup (avg): 925, Inference (avg): 12000"
"""


def few_units_and_samples(space):
    """Of networks that share units."""
    _, samples = tiny_units_and_samples(space)
    archs = {name: replace(arch, blocks=(*arch.blocks[:5],)) for name, arch in samples.items()}
    return {each for arch in archs.values() for each in lower(arch)}, archs


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A bundle of small networks for LiteRT."""
    folder = tmp_path_factory.mktemp("lite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "units_and_samples", few_units_and_samples)
        patch.setattr(bundle, "NETWORK_BURSTS", 4)
        patch.setattr(bundle, "NETWORK_TURNS", 2)
        patch.setattr(bundle, "BURSTS", 2)
        path = folder / "phone.zip"
        graphs = bundle.bundle("phone", spaces.get("mnasnet"), path, threads=1, batch=1, dtype="fp32", runtime="litert")
    with zipfile.ZipFile(path) as file:
        sizes = [item.file_size for item in file.infolist() if item.filename.endswith(".tflite")]
        file.extractall(folder)
    assert len(sizes) == graphs
    assert path.stat().st_size < sum(sizes) / 8  # weights that repeat
    return folder / "phone_bundle"


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """A phone that adb reaches, and the program that is to run there."""
    its = tmp_path / "phone"
    (its / "tmp").mkdir(parents=True)
    (its / "sys/devices/system/cpu").mkdir(parents=True)
    (its / "sys/devices/system/cpu/present").write_text("0-7\n")
    programs = {
        "getprop": "#!/bin/sh\ncase $1 in ro.product.model) echo Pixel 8;; *) echo zuma;; esac\n",
        "taskset": '#!/bin/sh\nshift\nexec "$@"\n',
        "benchmark_model": BENCHMARK,
    }
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "adb").write_text(ADB)
    for name, text in programs.items():
        (its / name).write_text(text)
    for program in (bin_dir / "adb", *(its / name for name in programs)):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    monkeypatch.setenv("PHONE", str(its))
    return its


def run(unpacked, folder, *arguments, only=ONLY_NUMPY_AND_LITERT):
    return subprocess.run(
        [sys.executable, "-c", only, str(unpacked / "on_device.py"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_S,
    )


def table_of(file, folder, monkeypatch):
    monkeypatch.setattr(build, "units_and_samples", few_units_and_samples)
    return build.build_from(file, device="phone", space=spaces.get("mnasnet"), path=folder / "phone.json")


def test_units_and_networks_make_a_table_of_litert(unpacked, tmp_path, monkeypatch):
    done = run(unpacked, tmp_path)
    assert done.returncode == 0, done.stderr
    table = table_of(tmp_path / "measured.jsonl", tmp_path, monkeypatch)
    units, samples = few_units_and_samples(None)
    assert set(table.units) == {key(unit) for unit in units}
    assert table.identity.runtime_name == "litert"
    assert len(table.networks) == len(samples)
    assert "fastest call of each unit by itself" in table.provenance["statistic"]
    manifest = json.loads((unpacked / "manifest.json").read_text())
    timed = [json.loads(line)["record"] for line in (tmp_path / "measured.jsonl").read_text().splitlines()]
    turns = [item["turn"] for item in timed if "chain" in item]
    assert sorted(set(turns)) == [-2, -1, 0]
    assert len(turns) == manifest["chain_turns"] * len(units) == timed[0]["chains"]


def test_a_phone_is_measured_by_adb(unpacked, phone, tmp_path, monkeypatch):
    """By its program's fastest runs, on its last core; what was interrupted goes on, and files are copied once."""
    program = str(phone / "benchmark_model")
    (phone / "off").touch()
    away = run(unpacked, tmp_path, f"adb={program}")
    assert away.returncode == 1
    assert away.stderr.startswith("error: adb shell: adb: no devices/emulators found; start again when the phone")
    (phone / "off").unlink()
    done = run(unpacked, tmp_path, f"adb={program}")
    assert done.returncode == 0, done.stderr
    said = (phone / "log").read_text()
    assert said.count("copied") == len(list(unpacked.glob("*.tflite"))) + 1
    assert " taskset 80 ./benchmark_model --graph=" in said
    starts = (phone / "starts").stat().st_size
    whole = (tmp_path / "measured.jsonl").read_text().splitlines()
    (tmp_path / "measured.jsonl").write_text("\n".join(whole[: len(whole) // 2]) + '\n{"half')
    again = run(unpacked, tmp_path, f"adb={program}")
    assert again.returncode == 0, again.stderr
    assert (phone / "log").read_text().count("copied") == said.count("copied")
    assert starts < (phone / "starts").stat().st_size < 1.9 * starts
    records = [json.loads(line)["record"] for line in (tmp_path / "measured.jsonl").read_text().splitlines()[1:]]
    assert len({(record["file"], record["turn"]) for record in records}) == len(records) == len(whole) - 1
    table = table_of(tmp_path / "measured.jsonl", tmp_path, monkeypatch)
    assert table.identity.cpu == "Pixel 8 zuma, core 7"
    assert table.identity.runtime.startswith("litert benchmark_model-")
    timed = [json.loads(line)["record"] for line in (tmp_path / "measured.jsonl").read_text().splitlines()[1:]]
    for item in timed:
        ms = item["chain"]["ms"][0] if "chain" in item else item["ms"]
        size = (unpacked / item["file"]).stat().st_size
        assert ms == pytest.approx((2 + size // 1000 + 0.5) / 1e3, abs=1e-6)
    assert np.isfinite([timing.ms for timing in table.units.values()]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adb=nothing"], "error: adb=nothing: No such file or directory; give the program benchmark_model"),
        (["adb={program}", "core=8"], "error: core=8: it must be from 0 to 7"),
        (["adb={program}", "core=last"], "error: core=last: it must be from 0 to 7"),
        (["adb={program}", "broken"], "usage: python on_device.py"),
    ],
)
def test_what_a_phone_cannot(unpacked, phone, tmp_path, words, message):
    done = run(unpacked, tmp_path, *(word.format(program=phone / "benchmark_model") for word in words))
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert not (tmp_path / "measured.jsonl").exists()


def test_a_program_that_fails_says_why(unpacked, phone, tmp_path, monkeypatch):
    monkeypatch.setenv("MOST", "30")
    done = run(unpacked, tmp_path, f"adb={phone / 'benchmark_model'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: benchmark_model does not tell how long ")
    assert done.stderr.endswith(" takes; it said: Failed to initialize the interpreter\n")
    assert done.stderr.count("\n") == 1
    monkeypatch.setenv("PATH", "/nowhere")
    no_adb = run(unpacked, tmp_path, f"adb={phone / 'benchmark_model'}")
    assert no_adb.stderr == "error: there is no adb; install Android's platform tools\n"


def test_another_bundle_of_the_same_name_is_copied_anew(unpacked, phone, tmp_path):
    """A phone has the graphs of one; and a folder's name may have anything in it."""
    other = tmp_path / "phone bundle 2"
    shutil.copytree(unpacked, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "threads": 2}))
    program = str(phone / "benchmark_model")
    for folder in (unpacked, other):
        done = run(folder, tmp_path, f"adb={program}", f"out={folder.name}.jsonl")
        assert done.returncode == 0, done.stderr
    said = (phone / "log").read_text()
    assert said.count("copied") == 2 * (len(list(unpacked.glob("*.tflite"))) + 1)
    assert " taskset c0 " in said
    (other / "manifest.json").write_text(json.dumps({**manifest, "threads": 9}))
    many = run(other, tmp_path, f"adb={program}", "out=many.jsonl")
    assert many.stderr == "error: the phone has 8 cores, and the bundle is for 9 threads\n"


def test_what_is_to_be_timed_again_is_timed_on_the_phone(unpacked, phone, tmp_path):
    program = str(phone / "benchmark_model")
    assert run(unpacked, tmp_path, f"adb={program}", "core=3").returncode == 0
    head, *lines = (tmp_path / "measured.jsonl").read_text().splitlines()
    slow = json.loads(lines[0])["record"]
    slow["chain"]["reference_ms"] *= 2
    (tmp_path / "measured.jsonl").write_text("\n".join([head, encode(slow), *lines[1:]]) + "\n")
    done = run(unpacked, tmp_path, f"adb={program}", "core=3")
    words = next(line for line in done.stdout.splitlines() if "once more" in line).partition("on_device.py ")[2].split()
    assert words == ["out=measured.jsonl", "core=3", f"adb={program}", "again=busy"]
    assert run(unpacked, tmp_path, *words).returncode == 0


def test_without_litert_it_says_what_to_install(unpacked, tmp_path):
    done = run(unpacked, tmp_path, only=WITHOUT_PACKAGES + ONLY_NUMPY_AND_LITERT)
    assert done.returncode == 1
    assert "pip install ai-edge-litert" in done.stderr


def test_dtypes_are_the_runtimes(tmp_path):
    space = spaces.get("mnasnet")
    with pytest.raises(ValueError, match="dtype=fp16: runtime onnxruntime computes in fp32 or int8"):
        bundle.bundle("phone", space, tmp_path / "x.zip", threads=1, batch=1, dtype="fp16")
