"""The directory of a run: whose it is, what it keeps, and one writer at a time."""

import json
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from nas_runtime import files, manifest
from nas_runtime.files import FileError
from nas_runtime.run import Run, RunError, look, open_run, open_shared

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


def test_a_run_says_what_it_is(tmp_path, monkeypatch):
    """Kind, format, version of the project, when it began, and by which commands: the first one, and the latest."""
    path = tmp_path / "run"
    monkeypatch.setattr(
        "sys.orig_argv", ["/usr/bin/python3", "-m", "nas.search", "+target=pixel1_small", "run_dir=a b"]
    )
    with opened(path):
        pass
    about = json.loads((path / "run.json").read_text())
    assert datetime.now(UTC) - datetime.fromisoformat(about.pop("created")) < timedelta(hours=1)
    first = {
        "kind": "search",
        "format": 1,
        "version": metadata.version("platform-aware-nas"),
        "command": "python -m nas.search +target=pixel1_small 'run_dir=a b'",
    }
    assert about == {**first, "latest_command": first["command"]}
    before = (path / "run.json").read_bytes()
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "nas.search", "samples=9"])
    look(path, {**CONFIG, "samples": 9}, kind="search", may_differ=MAY_DIFFER)
    assert (path / "run.json").read_bytes() == before  # who does not write is no command of the run
    with opened(path, {**CONFIG, "samples": 9}):
        pass
    about = json.loads((path / "run.json").read_text())
    assert about.pop("created") == json.loads(before)["created"]
    assert about == {**first, "latest_command": "python -m nas.search samples=9"}


def test_a_run_of_a_version_that_kept_one_command_gets_the_latest(tmp_path, monkeypatch):
    with opened(tmp_path):
        pass
    before = json.loads((tmp_path / "run.json").read_text())
    del before["latest_command"]
    (tmp_path / "run.json").write_text(json.dumps(before))
    assert manifest.read(tmp_path).latest_command is None
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "nas.search"])
    with opened(tmp_path):
        pass
    assert json.loads((tmp_path / "run.json").read_text()) == {**before, "latest_command": "python -m nas.search"}


def test_a_run_of_another_kind_is_refused_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "netadapt.run", "seed=mnasnet_a1"])
    with open_run(tmp_path, CONFIG, kind="netadapt", may_differ=(), environment=dict):
        pass
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    said = (
        "holds a run of netadapt, not of search; use another run_dir, or continue it with its own command: "
        "python -m netadapt.run seed=mnasnet_a1$"
    )
    with pytest.raises(RunError, match=said):
        look(tmp_path, CONFIG, kind="search", may_differ=())
    with pytest.raises(RunError, match=said):
        opened(tmp_path).__enter__()
    with pytest.raises(RunError, match="holds a run of netadapt, not of equal_time"):
        open_shared(tmp_path, kind="equal_time").__enter__()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_of_a_newer_version_is_refused_to_readers_and_writers(tmp_path):
    with opened(tmp_path):
        pass
    newer = {"format": 2, "version": "9.1", "whatever": 1}
    (tmp_path / "run.json").write_text(json.dumps(newer))
    said = r"of a newer version of this program \(format 2 of 9.1; this one reads up to 1\); update the program, or use"
    with pytest.raises(RunError, match=said):
        look(tmp_path, CONFIG, kind="search", may_differ=MAY_DIFFER)
    with pytest.raises(RunError, match=said):
        opened(tmp_path).__enter__()
    with pytest.raises(RunError, match=said):
        open_shared(tmp_path, kind="search").__enter__()
    with pytest.raises(RunError, match=said):
        Run(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == newer


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": "1"}', '{"format": 1, "kind": "search"}'])
def test_a_damaged_run_file_is_named(tmp_path, content):
    with opened(tmp_path):
        pass
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run.json (is|does) .*; restore it, or use another folder$"):
        look(tmp_path, CONFIG, kind="search", may_differ=MAY_DIFFER)


def test_a_run_of_an_earlier_version_is_read_and_continued(tmp_path):
    """It has no run.json; from then on it has one."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    assert look(tmp_path, CONFIG, kind="search", may_differ=MAY_DIFFER)
    assert Run(tmp_path).config == CONFIG
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    with opened(tmp_path) as run:
        assert run.resumed
    about = json.loads((tmp_path / "run.json").read_text())
    assert (about["kind"], about["created"]) == ("search", None)


def test_a_beginning_that_was_killed_in_its_first_write_is_no_other_directory(tmp_path):
    (tmp_path / "config.yaml.1.partial").write_text("a: [")
    with opened(tmp_path) as run:
        assert not run.resumed


def test_a_directory_that_many_settings_share(tmp_path):
    path = tmp_path / "equal_time"
    with open_shared(path, kind="equal_time") as run:
        assert not run.resumed
        run.records("a.jsonl", "trainings").append({"seed": 1})
        with pytest.raises(FileError, match="in use by another equal_time that is still running; wait for it"):
            open_shared(path, kind="equal_time").__enter__()
    with open_shared(path, kind="equal_time") as run:
        assert run.resumed
        assert run.records("a.jsonl", "trainings").records == [{"seed": 1}]
        assert run.config is None


def test_looking_writes_nothing_and_refuses_what_is_anothers(tmp_path):
    path = tmp_path / "run"
    assert look(None, CONFIG, kind="search", may_differ=MAY_DIFFER) is False
    assert look(path, CONFIG, kind="search", may_differ=MAY_DIFFER) is False
    assert not path.exists()
    with opened(path):
        pass
    other = {**CONFIG, "target": {"name": "host_small"}}
    with pytest.raises(RunError, match=r"run holds a run with target.name=pixel1_small, not target.name=host_small"):
        look(path, other, kind="search", may_differ=MAY_DIFFER)
    for damaged in ("a: [", "a: 2026-13-45", "[" * 20_000):
        (path / "config.yaml").write_text(damaged)
        with pytest.raises(RunError, match=r"config.yaml cannot be read .*; restore it, or use another folder"):
            look(path, CONFIG, kind="search", may_differ=MAY_DIFFER)
    (path / "config.yaml").write_text("[]")
    with pytest.raises(RunError, match=r"config.yaml is not a run's; restore it, or use another folder"):
        look(path, CONFIG, kind="search", may_differ=MAY_DIFFER)
    (path / "config.yaml").unlink()
    with pytest.raises(RunError, match="run exists and is not a run's directory"):
        look(path, CONFIG, kind="search", may_differ=MAY_DIFFER)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file exists and is not a run's directory"):
        look(tmp_path / "file", CONFIG, kind="search", may_differ=MAY_DIFFER)


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


@pytest.mark.parametrize("missing", ["config.yaml", "run.json", "environment.json"])
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
    assert {path.name for path in own.iterdir()} == {"run.json", "config.yaml", "environment.json", "journal.jsonl"}
    with pytest.raises(KeyboardInterrupt):
        ended(Path("stopped"), "table.json", KeyboardInterrupt())
    assert (tmp_path / "stopped" / "config.yaml").exists()
