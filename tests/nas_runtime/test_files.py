"""Files: complete or unchanged, read within bounds, named by one rule, one writer at a time."""

import ast
import contextlib
import subprocess
import sys

import pytest

from nas_runtime.files import FileError, check_name, complete, only_writer, read_json, read_text, write_json, write_text
from tests.commands.test_commands import ROOT


def test_a_file_is_complete_or_unchanged(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with contextlib.suppress(RuntimeError), complete(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_an_error_names_the_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        write_text(tmp_path / "folder", "text")
    assert caught.value.filename == str(tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    path = tmp_path / "a.txt"
    code = f"""
import os, signal
from pathlib import Path
from nas_runtime.files import complete
with complete(Path({str(path)!r})) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.glob("*.partial"))) == 1
    write_text(path, "whole")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_read_is_bounded(tmp_path):
    large, nested, binary = tmp_path / "large", tmp_path / "nested", tmp_path / "binary"
    large.write_text("x" * 100)
    nested.write_text("[" * 100_000)
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="large is larger than"):
        read_text(large, most_bytes=99)
    with pytest.raises(FileError, match="nested is damaged"):
        read_json(nested)
    with pytest.raises(FileError, match="binary is not a text file"):
        read_json(binary)
    with pytest.raises(FileError, match="cannot be read"):
        read_json(tmp_path)
    assert read_json(tmp_path / "absent") is None


@pytest.mark.parametrize(
    "name", ["", "../../evil", "a/b", "d.json", ".hidden", "-x", "a b", "$d", "a\x1b[2J", "a" * 65, "a\n"]
)
def test_names_that_are_no_names(name):
    with pytest.raises(ValueError, match="device=.* cannot be a name"):
        check_name(name, "device")


@pytest.mark.parametrize("name", ["host", "rpi4", "i7-8700k", "host_int8", "5700X", "a" * 64])
def test_names(name):
    assert check_name(name, "device") == name


def test_one_writer_at_a_time(tmp_path):
    code = f"""
from pathlib import Path
from nas_runtime.files import only_writer
with only_writer(Path({str(tmp_path)!r}), "a search"):
    pass
"""
    command = [sys.executable, "-c", code]
    with only_writer(tmp_path, "a search"):
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "is in use by a search that is still running" in second.stderr
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert list(tmp_path.iterdir()) == []


BY_HAND = {
    "latency_luts/measure.py": "graphs in a folder that ends with the process",
    "nas/training/together.py": "a checkpoint in a folder that ends with the process",
    "experiments/netadapt_parallel.py": "networks in a folder that ends with the process",
    "experiments/equal_time_searches.py": "what a training says, line by line",
    "experiments/joint_mode.py": "what a training says, line by line",
    "experiments/make_fashion_mnist_mini.py": "run once, and its result is checked",
}


def by_hand(source: str) -> list[str]:
    """What a piece of source writes itself: not with the functions of `files`, nor to what `complete` gave."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = {each.id for each in (getattr(call.func, "value", None), *call.args) if isinstance(each, ast.Name)}
        modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        writes = name in {"savefig", "savez", "savez_compressed", "save_file"} or (
            name in {"write_text", "write_bytes"} and isinstance(call.func, ast.Attribute)
        )
        if name == "open" and modes and set(modes[-1]) & set("wax+") and not set(modes[-1]) - set("wraxbt+"):
            writes = True
        if writes and not given & ({"partial", "file"} if name == "savez" else {"partial"}):
            found.append(name)
    return found


def test_files_are_written_by_one_function():
    packages = ("nas_runtime", "search_spaces", "latency_luts", "nas", "netadapt", "experiments")
    found = {
        path.relative_to(ROOT).as_posix(): names
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if (names := by_hand(path.read_text()))
    }
    assert found.keys() == BY_HAND.keys()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("path.write_text(x)", ["write_text"]),
        ("write_text(path, x)", []),
        ("(folder / 'a').open('wb')", ["open"]),
        ("open(path, 'a')", ["open"]),
        ("open(path)", []),
        ("with complete(path) as partial:\n    figure.savefig(partial)", []),
        ("figure.savefig(path)", ["savefig"]),
    ],
)
def test_the_search_for_others_can_fail(source, expected):
    assert by_hand(source) == expected
