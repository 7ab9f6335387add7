"""Files of records: reading changes nothing, damage is named, a full disk and a second writer spoil nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nas_runtime.files import FileError
from nas_runtime.lines import LineFile
from nas_runtime.records import JournalError, Records

RECORDS = [{"sample": 0, "note": ""}, {"sample": 1, "note": "é\r\u2028"}, {"sample": 2, "top1": 0.25}]


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "journal.jsonl"
    records = Records(path, "journal")
    for record in RECORDS:
        records.append(record)
    return path


def python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_records_come_back(path):
    assert Records(str(path), "journal").records == RECORDS


def test_a_file_of_an_earlier_version_is_read(path):
    path.write_text(
        '{"crc32": "0b175e42", "record": {"journal": 1}}\n'
        '{"crc32": "b851193a", "record": {"step": 1, "top1": NaN, "note": "\\u00e9"}}\n'
    )
    (record,) = Records(path, "journal").records
    assert (record["step"], record["note"]) == (1, "é")


def test_any_byte_that_changes_is_noticed(path):
    """All records come back up to an incomplete last line, or an error names the line; the file stays as it is."""
    whole = path.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
    came_back = 0
    for i in range(len(whole) + 1):
        edits = [whole[:i] + bytes([byte]) + whole[i:] for byte in b"\n\r \x000\xff"]
        if i < len(whole):
            edits.append(whole[:i] + whole[i + 1 :])
            edits += [whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :] for bit in range(8)]
        line = sum(start <= i for start in starts)
        for edited in edits:
            path.unlink()  # a new file is written faster than one that is there
            path.write_bytes(edited)
            try:
                found = Records(path, "journal").records
            except JournalError as e:
                assert any(f"{path}:{n} is damaged" in str(e) for n in (line - 1, line, line + 1)), (i, e)  # noqa: PT017
            else:
                came_back += 1
                assert found == RECORDS[: len(found)]
                assert len(found) == len(RECORDS) or not edited.endswith(b"\n")
            assert path.read_bytes() == edited
    assert came_back < len(whole)  # blanks between two words, and what ends the last line


@pytest.mark.parametrize("rest", [b"{", b'{"crc32": "12', b'{"crc32": "12345678", "record": {"sam', b"\0\0\0"])
def test_a_line_cut_short_is_cut_off_when_the_next_is_written(path, rest):
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    records = Records(path, "journal")
    assert records.records == RECORDS
    assert path.read_bytes() == whole + rest
    records.append({"sample": 3})
    assert path.read_bytes().startswith(whole)
    assert Records(path, "journal").records == [*RECORDS, {"sample": 3}]


def test_a_file_of_something_else_stays_as_it_is(tmp_path):
    path = tmp_path / "arch.json"
    path.write_text('{"name": "mine"}')
    with pytest.raises(JournalError, match=r"arch\.json:1 is damaged"):
        Records(path, "journal")
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        Records(tmp_path, "journal")
    Records(path.with_name("journal.jsonl"), "journal").append({})
    with pytest.raises(JournalError, match="is not a final of format 1"):
        Records(path.with_name("journal.jsonl"), "final")
    assert path.read_text() == '{"name": "mine"}'


FILL = """
import signal, sys
from nas_runtime.records import Records
if limit := int(sys.argv[2]):
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
records = Records(sys.argv[1], "journal")
try:
    for sample in range(2000):
        records.append({"sample": sample, "note": "x" * 100})
except OSError as e:
    print(e.filename, len(records.records) + sample)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        records.append({"sample": sample, "note": "goes on"})
"""


def test_a_full_disk_leaves_a_file_that_goes_on(path):
    """A limit on the size of files cuts a line in its middle, as a full disk does."""
    done = python(FILL, path, 10_000)
    assert done.stdout.split()[0] == str(path), done.stderr
    records = Records(path, "journal").records
    written = int(done.stdout.split()[1])
    assert [r["sample"] for r in records] == [*range(3), *range(written - 3), written - 3]
    assert records[-1]["note"] == "goes on"


def test_a_full_file_system_leaves_a_file_that_goes_on(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes more rights")
    try:
        path = tmp_path / "journal.jsonl"
        done = python(FILL, path, 0)
        written = int(done.stdout.split()[1])
        records = Records(path, "journal")
        assert [r["sample"] for r in records.records] == list(range(written))
        assert 0 < written < 2000
        with pytest.raises(OSError, match="No space left on device"):
            records.append({"sample": written, "note": "x" * 2**17})
        (tmp_path / "journal.jsonl").write_bytes(path.read_bytes()[:1024])
        with pytest.raises(FileError, match="is shorter than when it was read"):
            records.append({})
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_reading_beside_a_writer_loses_nothing(path):
    """A reader sees whole records only, and what is being written stays."""
    writer = subprocess.Popen(
        [sys.executable, "-c", FILL.replace('"x" * 100', '"x" * 3000').replace("2000", "100"), str(path), "0"]
    )
    while writer.poll() is None:
        assert 3 <= len(Records(path, "journal").records) <= 103
    assert len(Records(path, "journal").records) == 103


def test_a_second_writer_is_refused(path):
    code = (
        "import sys; from nas_runtime.records import Records; Records(sys.argv[1], 'journal').append({'by': 'second'})"
    )
    first = Records(path, "journal")
    with first.writing():
        assert len(Records(path, "journal").records) == 3  # reading needs no permission
        second = python(code, path)
        first.append({"by": "first"})
    last = second.stderr.strip().splitlines()[-1]
    assert last.endswith(f"{path} is being written by another process; wait for it, or use another")
    assert python(code, path).returncode == 0
    with pytest.raises(FileError, match="was written by another process since it was read; open it again"):
        first.append({"by": "first"})
    with first.writing():  # reads what was added
        first.append({"by": "first"})
    assert [r.get("by") for r in Records(path, "journal").records[3:]] == ["first", "second", "first"]
    assert [r.get("by") for r in first.records[3:]] == ["second"]


def test_what_cannot_be_written_leaves_nothing(path):
    whole = path.read_bytes()
    with pytest.raises(TypeError, match="not JSON serializable"):
        Records(path, "journal").append({"sample": object()})
    assert path.read_bytes() == whole


def test_lines_that_are_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr("nas_runtime.lines.LONGEST_LINE", 100)
    (tmp_path / "zeros").write_bytes(b"\0" * 1000)
    with pytest.raises(FileError, match="zeros has a line of more than"):
        LineFile(tmp_path / "zeros").read()


def test_every_line_is_plain_json(path):
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert [line["record"] for line in lines] == [{"journal": 1}, *RECORDS]


@pytest.mark.parametrize(
    "line", [b"5", b"[1]", b'"x"', b"{}", b'{"record": {}}', b'{"crc32": "0", "record": 3}', b"\xff"]
)
def test_lines_that_are_no_records_are_damage(path, line):
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"\n")
    with pytest.raises(
        JournalError, match=rf"^{path}:5 is damaged or was edited; restore the file, or start again in an"
    ):
        Records(path, "journal")
    path.write_bytes(line + b"\n" + whole)
    with pytest.raises(JournalError, match=f"^{path}:1 is damaged or was edited"):
        Records(path, "journal")


def test_records_are_counted_whoever_wrote_them(path):
    """The first line is written once, and records that are appended are on the disk, not in the list."""
    records = Records(path, "journal")
    records.append({"sample": 3}, {"sample": 4})
    records.append({"sample": 5})
    assert records.records == RECORDS
    assert [r["sample"] for r in Records(path, "journal").records] == [0, 1, 2, 3, 4, 5]
    new = Records(path.with_name("new.jsonl"), "journal")
    with new.writing():
        new.append({"sample": 0})
        new.append({"sample": 1})
    assert new.path.read_bytes().count(b'{"journal": 1}') == 1
    damaged = Records(path, "journal")
    path.write_bytes(path.read_bytes() + b"garbage\n")
    with pytest.raises(JournalError, match=f"^{path}:8 is damaged"), damaged.writing():
        pass
