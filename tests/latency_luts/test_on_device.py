"""The program of a bundle: what it does when something is wrong, and how it continues."""

import ast
import errno
import fcntl
import json
import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from latency_luts import bundle, on_device
from latency_luts.table import TableError
from search_spaces import spaces, zoo
from search_spaces.lower import lower


def tiny_units_and_samples(space):
    archs = [zoo.get("mobilenet_v3_small", width=w, resolution_px=32) for w in (0.35, 0.5, 0.75, 1.0)]
    return set(lower(archs[0])), {f"n{i}": arch for i, arch in enumerate(archs)}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    """The folder of a bundle, with what was measured in it."""
    folder = tmp_path_factory.mktemp("device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "units_and_samples", tiny_units_and_samples)
        patch.setattr(bundle, "REFERENCES", ("mobilenet_v3_small",))
        for name in ("BURSTS", "NETWORK_BURSTS", "NETWORK_TURNS", "CONTEXTS"):
            patch.setattr(bundle, name, 2)
        bundle.bundle("board", spaces.get("mnasnet"), folder / "board.zip", threads=1, batch=1, dtype="fp32")
        with zipfile.ZipFile(folder / "board.zip") as file:
            file.extractall(folder)
        assert start(folder / "board_bundle", patch) is None
    return folder / "board_bundle"


def start(folder, patch, *arguments):
    """Starts the program there as a user does, but in this process; gives what it ended with."""
    program = folder / "on_device.py"
    with patch.context() as started:
        started.setattr(os, "sched_setaffinity", lambda pid, cores: None)
        started.chdir(folder)
        started.setattr(sys, "argv", [str(program), *arguments])
        started.setattr(sys, "path", sys.path[:])
        try:
            runpy.run_path(str(program), run_name="__main__")
        except SystemExit as e:
            return e.code
        finally:
            for name in [name for name in sys.modules if name.partition(".")[0] == "on_device"]:
                del sys.modules[name]
    return None


@pytest.fixture
def device(unpacked, tmp_path, monkeypatch):
    """A copy of that folder, and a function that starts the program in it."""
    folder = tmp_path / "bundle"
    shutil.copytree(unpacked, folder)
    return folder, lambda *arguments: start(folder, monkeypatch, *arguments)


def test_its_file_of_weights_is_as_large_as_its_graphs_need(unpacked):
    manifest = json.loads((unpacked / "manifest.json").read_text())
    size_bytes = (unpacked / on_device.WEIGHTS).stat().st_size
    assert size_bytes <= on_device.SECTIONS * manifest["section_bytes"] < 100e6
    assert manifest["section_bytes"] % 4096 == 0


def test_what_is_wrong_is_one_line_and_nothing_is_lost(device, monkeypatch):
    folder, run = device
    measured = folder / "measured.jsonl"
    lines = measured.read_bytes().splitlines(keepends=True)
    chain = next(folder.glob("chain*.onnx"))

    def ends(message, *arguments):
        measured.write_bytes(lines[0])  # everything is to be measured
        said = run(*arguments)
        assert message in str(said)
        assert str(said).startswith("error: ")
        assert "\n" not in str(said)
        assert measured.read_bytes().startswith(lines[0])

    graph = chain.read_bytes()
    chain.write_bytes(graph[:100])
    ends(f"error: {chain}: the runtime cannot load it (")
    chain.unlink()
    ends(f"error: there is no {chain}; unzip the bundle again: it continues then")
    chain.write_bytes(graph)
    ends("core=1000: it must be one of ", "core=1000")
    ends("core=x: it must be one of ", "core=x")
    ends("error: again=all: it must be again=busy", "again=all")
    ends("out=. cannot be written: Is a directory; give another name", "out=.")
    ends("out=nowhere/m.jsonl cannot be written: No such file or directory; give another name", "out=nowhere/m.jsonl")
    weights = folder / on_device.WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    ends("; unzip the bundle again, and remove weights.bin")
    weights.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        ends("-m pip install onnxruntime")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "numpy", None)
        ends("-m pip install numpy")
    (folder / "on_device").rename(folder / "elsewhere")
    ends("; unzip the bundle again")
    (folder / "elsewhere").rename(folder / "on_device")
    manifest = folder / "manifest.json"
    whole = manifest.read_text()
    manifest.write_text(whole[:-20])
    ends("is no bundle of this program")
    manifest.write_text("{}")
    ends("is no bundle of this program")
    manifest.unlink()
    ends("there is no ")
    assert "usage: " in str(run("nonsense"))
    manifest.write_text(whole)
    assert run() is None
    assert len(measured.read_bytes().splitlines()) == len(lines)


def test_it_needs_nothing_beside_its_folder(device):
    """Also with `python -I`, which leaves out the program's own folder and the user's packages."""
    folder, _ = device
    measured = folder / "measured.jsonl"
    lines = measured.read_bytes().splitlines(keepends=True)
    measured.write_bytes(b"".join(lines[:-1]))
    done = subprocess.run(
        [sys.executable, "-I", str(folder / "on_device.py")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "done: measured.jsonl. Copy it to where latency_luts is" in done.stdout
    assert len(measured.read_bytes().splitlines()) == len(lines)


def test_it_is_written_for_python_3_9(unpacked):
    """As far as its grammar tells; annotations are not evaluated."""
    sources = [unpacked / "on_device.py", *(unpacked / "on_device").glob("*.py")]
    assert len(sources) == len(list(Path(on_device.__file__).parent.glob("*.py")))
    for source in sources:
        tree = ast.parse(source.read_text(), feature_version=(3, 9))
        assert "strict" not in {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}, source
        named = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert "__future__" in named or not any(isinstance(node, ast.FunctionDef) for node in tree.body), source


@pytest.mark.parametrize("byte", [b"\r", b"\x0b", b"\xff", b"\x85", b"7", "\u2028".encode()])
@pytest.mark.parametrize("line", [1, 2])
def test_a_damaged_file_is_named_with_its_line_and_left_as_it_is(device, line, byte):
    folder, run = device
    measured = folder / "measured.jsonl"
    lines = measured.read_bytes().split(b"\n")
    middle = lines[line - 1].rindex(b"s") + 1 if byte != b"7" else lines[line - 1].rindex(b"0") + 1
    lines[line - 1] = lines[line - 1][:middle] + byte + lines[line - 1][middle:]
    measured.write_bytes(damaged := b"\n".join(lines))
    assert f"error: line {line} of measured.jsonl is damaged; remove the file to measure again" in str(run())
    assert measured.read_bytes() == damaged
    with pytest.raises(TableError, match=rf"measured.jsonl: line {line} is damaged; copy the file again"):
        bundle.read_measured(measured)


def test_a_full_disk_leaves_whole_lines(device, monkeypatch):
    folder, run = device
    measured = folder / "measured.jsonl"
    lines, write_some = measured.read_bytes().splitlines(keepends=True), os.write
    measured.write_bytes(b"".join(lines[:2]))

    def full(handle, content):
        if len(content) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_some(handle, bytes(content[:80]))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert run() == "error: measured.jsonl: No space left on device; make room and start again: it continues"
    assert measured.read_bytes() == b"".join(lines[:2])
    assert run() is None
    assert len(measured.read_bytes().splitlines()) == len(lines)


def test_a_core_cannot_be_chosen_where_there_are_too_few():
    usable = len(os.sched_getaffinity(0))
    said = f"error: core=0: here are {usable} cores for {usable + 2} threads; leave it out"
    with pytest.raises(SystemExit, match=f"^{said}$"):
        on_device.pin(usable + 2, "0")


def test_two_programs_do_not_write_one_file(device):
    folder, run = device
    with (folder / "measured.jsonl").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = run()
    assert said == "error: measured.jsonl is being written by another start of this program; wait for it"


def test_what_was_measured_beside_other_programs_is_measured_again(device, capsys):
    folder, run = device
    measured = folder / "measured.jsonl"
    head, *lines = map(on_device.decode, measured.read_bytes().splitlines())
    for i, item in enumerate(lines):
        item.get("chain", item)["reference_ms"] = 9e5 if i < 2 else 1e5  # slower than any run now
    measured.write_text("".join(on_device.encode(line) + "\n" for line in (head, *lines)))
    capsys.readouterr()
    assert run() is None
    printed = capsys.readouterr().out
    assert f"2 of {len(lines)} graphs were timed while other programs slowed the machine down" in printed
    assert "python on_device.py out=measured.jsonl again=busy" in printed
    before = measured.read_bytes()
    assert run() is None
    assert measured.read_bytes() == before  # not unasked
    assert run("again=busy") is None
    assert measured.read_bytes().startswith(before)
    added = [on_device.decode(line) for line in measured.read_bytes()[len(before) :].splitlines()]
    assert [(item["file"], item["turn"]) for item in added] == [(item["file"], item["turn"]) for item in lines[:2]]
    _, _, chains, networks = bundle.read_measured(measured)
    seen = [item.reference_ms for item in (*chains, *(turn for turns in networks.values() for turn in turns))]
    assert len(seen) == len(lines)
    assert max(seen) == 1e5  # the disturbed ones are replaced
    assert min(seen) < 1e3


def test_files_of_the_older_version_are_read(device):
    folder, run = device
    measured = folder / "measured.jsonl"
    records = list(map(on_device.decode, measured.read_bytes().splitlines()))
    text = "".join(json.dumps(record) + "\n" for record in records).replace('"format": 2', '"format": 1', 1)
    measured.write_text(text)
    assert bundle.read_measured(measured)[0] == "board"
    assert "belongs to another bundle" in str(run())
    measured.write_text(text.replace('"format": 1', '"format": 3', 1))
    with pytest.raises(TableError, match="expected format 1 or 2"):
        bundle.read_measured(measured)
