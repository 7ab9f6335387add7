"""The log of a build."""

import errno
import os

import pytest

from latency_luts.key import key
from latency_luts.log import Log
from latency_luts.table import Identity, TableError
from search_spaces import zoo
from search_spaces.lower import lower
from tests.fake_machine import HERE, FakeMachine


def begun(path, how=HERE):
    """A log with a chain of two units in the file `path`."""
    log = Log(path, how)
    with log.open():
        log.want(map(key, lower(zoo.get("mobilenet_v2"))))
        log.add_chains(FakeMachine().time_chains([zoo.get("mobilenet_v2")], bursts=1))
    return log


def test_a_log_holds_what_was_measured(tmp_path):
    log = begun(tmp_path / "host.json.measured")
    again = Log(tmp_path / "host.json.measured", HERE)
    assert (again.id, again.chains, again.wanted) == (log.id, log.chains, log.wanted)
    with pytest.raises(TableError, match="was begun on another machine or runtime, or in another way"):
        Log(tmp_path / "host.json.measured", Identity(**{**vars(HERE), "threads": 2}))


@pytest.mark.parametrize("byte", [b"\r", b"\x0b", b"\x1c", b"\x85", b"\xff", b"0", "\u2028".encode()])
@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_damaged_log_is_named_with_its_line_and_left_as_it_is(tmp_path, line, byte):
    path = tmp_path / "host.json.measured"
    begun(path)
    lines = path.read_bytes().split(b"\n")
    middle = len(lines[line - 1]) // 2
    lines[line - 1] = lines[line - 1][:middle] + byte + lines[line - 1][middle + 1 :]
    path.write_bytes(damaged := b"\n".join(lines))
    with pytest.raises(TableError, match=rf"\.measured:{line} is damaged or was edited; remove the file to measure"):
        Log(path, HERE)
    assert path.read_bytes() == damaged


def test_a_log_s_last_line_without_an_end_is_taken_back_by_the_next_build_alone(tmp_path):
    path = tmp_path / "host.json.measured"
    chains = begun(path).chains
    path.write_bytes(cut := path.read_bytes()[:-3])
    log = Log(path, HERE)
    assert log.chains == []
    assert path.read_bytes() == cut  # reading writes nothing
    with log.open():
        log.add_chains(chains)
    assert Log(path, HERE).chains == chains


def test_a_full_disk_leaves_a_log_with_whole_lines(tmp_path, monkeypatch):
    path = tmp_path / "host.json.measured"
    chains = begun(path).chains
    before, write_some = path.read_bytes(), os.write
    log = Log(path, HERE)

    def full(handle, content):
        if len(content) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_some(handle, bytes(content[:80]))

    with log.open():
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match=r"No space left on device.*host\.json\.measured"):
                log.add_chains(chains)
        assert path.read_bytes() == before
        log.add_chains(chains)
    assert Log(path, HERE).chains == chains * 2
