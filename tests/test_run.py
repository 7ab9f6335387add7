"""The directory of a run: whose it is, what it keeps, and one writer at a time."""

import json
from pathlib import Path

import pytest
import yaml

from nas_runtime import files
from nas_runtime.files import FileError
from nas_runtime.run import Run, RunError, look, open_run

MAY_DIFFER = ("samples", "final")
CONFIG = {"target": {"name": "pixel1_small"}, "samples": 4, "final": {"epochs": 1}}


def opened(path, config=CONFIG):
    return open_run(path, config, kind="search", may_differ=MAY_DIFFER, environment=lambda: {"cpu": "x"})


def test_a_run_is_continued_and_its_config_is_the_latest(tmp_path):
    path = tmp_path / "run"
    with opened(path) as run:
        assert not run.resumed
    more = {**CONFIG, "samples": 9, "final": {"epochs": 60}}
    with opened(path, more) as run:
        assert run.resumed
    kept = yaml.safe_load((path / "config.yaml").read_text())
    assert (kept["samples"], kept["final"]["epochs"], kept["run_dir"]) == (9, 60, str(path))
    assert json.loads((path / "environment.json").read_text()) == {"cpu": "x"}


def test_looking_writes_nothing_and_refuses_what_is_anothers(tmp_path):
    path = tmp_path / "run"
    assert look(None, CONFIG, may_differ=MAY_DIFFER) is False
    assert look(path, CONFIG, may_differ=MAY_DIFFER) is False
    assert not path.exists()
    with opened(path):
        pass
    other = {**CONFIG, "target": {"name": "host_small"}}
    with pytest.raises(RunError, match=r"run holds a run with target.name=pixel1_small, not target.name=host_small"):
        look(path, other, may_differ=MAY_DIFFER)
    for damaged in ("a: [", "a: 2026-13-45", "[" * 20_000):
        (path / "config.yaml").write_text(damaged)
        with pytest.raises(RunError, match=r"config.yaml cannot be read .*; restore it, or use another folder"):
            look(path, CONFIG, may_differ=MAY_DIFFER)
    (path / "config.yaml").write_text("[]")
    with pytest.raises(RunError, match=r"config.yaml is not a run's; restore it, or use another folder"):
        look(path, CONFIG, may_differ=MAY_DIFFER)
    (path / "config.yaml").unlink()
    with pytest.raises(RunError, match="run exists and is not a run's directory"):
        look(path, CONFIG, may_differ=MAY_DIFFER)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file exists and is not a run's directory"):
        look(tmp_path / "file", CONFIG, may_differ=MAY_DIFFER)


def test_two_searches_do_not_write_to_one_run(tmp_path):
    with opened(tmp_path / "run"), pytest.raises(FileError, match="in use by a search that is still running"):
        opened(tmp_path / "run").__enter__()


def test_runs_that_begin_together_have_directories_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with opened(None) as first, opened(None) as second:
        assert first.path != second.path
        assert first.path.parent == second.path.parent


def test_a_stage_keeps_what_it_came_to_by_its_identity(tmp_path):
    run = Run(tmp_path, resumed=False)
    stage = run.stage("finals", {"epochs": 12, "start": ("a", "b")})
    stage.keep("one", 0.5)
    assert run.stage("finals", {"epochs": 60}).values == {}
    run.stage("finals", {"epochs": 60}).keep("one", 0.7)
    assert run.stage("finals", {"epochs": 12, "start": ("a", "b")}).values == {"one": 0.5}  # back again
    assert run.stage("finals", {"epochs": 60}).values == {"one": 0.7}
    (tmp_path / "old.json").write_text('{"12 epochs": {}}')
    with pytest.raises(FileError, match=r"old.json is of an earlier version; start again in another run_dir"):
        run.stage("old", {})
    (tmp_path / "cut.json").write_text('{"stages": [')
    with pytest.raises(FileError, match=r"cut.json is damaged; remove it and run again"):
        run.stage("cut", {})


@pytest.mark.parametrize("missing", ["config.yaml", "environment.json"])
def test_a_directory_on_a_full_disk_can_be_used_later(missing, tmp_path, monkeypatch):
    def full(path, content):
        if path.name == missing:
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(RunError, match=r"run cannot be written \(No space left on device\); choose another run_dir"):
        opened(tmp_path / "run").__enter__()
    monkeypatch.undo()
    assert not (tmp_path / "run").exists()


def test_a_beginning_that_was_killed_is_made_up_for(tmp_path):
    with opened(tmp_path):
        pass
    (tmp_path / "environment.json").unlink()
    with opened(tmp_path) as run:
        assert run.resumed
    assert json.loads((tmp_path / "environment.json").read_text()) == {"cpu": "x"}


def ended(path: Path | None, file: str, error: BaseException, content: str = "x") -> None:
    """A run that writes `file` and ends by `error`."""
    with opened(path) as run:
        (run.path / file).write_text(content)
        raise error


def test_nothing_is_left_of_a_run_that_was_refused(tmp_path, monkeypatch):
    """As where no Ray cluster answers; but all of one that has come to something, and folders that were there."""
    monkeypatch.chdir(tmp_path)
    for path in (None, Path("a/b/run")):
        with pytest.raises(ValueError, match="refused"):
            ended(path, "table.json", ValueError("refused"))
        assert list(tmp_path.iterdir()) == []
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(OSError, match="refused"):
        ended(own, "table.json", OSError("refused"))
    assert list(own.iterdir()) == []
    with pytest.raises(ValueError, match="refused"):  # a file that was opened, and not written to
        ended(own, "journal.jsonl", ValueError("refused"), content="")
    assert list(own.iterdir()) == []
    for word in ("late", "again"):
        with pytest.raises(ValueError, match=word):
            ended(own, "journal.jsonl", ValueError(word))
    assert {path.name for path in own.iterdir()} == {"config.yaml", "environment.json", "journal.jsonl"}
    with pytest.raises(KeyboardInterrupt):
        ended(Path("stopped"), "table.json", KeyboardInterrupt())
    assert (tmp_path / "stopped" / "config.yaml").exists()
