"""Results of experiments say where they are from."""

import subprocess
import sys

import pytest

from experiments import options, provenance, record, tables
from nas.environment import code

RESULTS = sorted(path for path in tables.RESULTS.iterdir() if path.suffix in (".csv", ".txt"))
ROWS = [{"network": "a, b", "top-1 %": "81.5"}, {"network": '"c"', "top-1 %": ""}]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_every_recorded_result_says_where_it_is_from(path):
    origin, text = provenance.split(path.read_text())
    assert origin["command"].startswith("python -m ")
    assert text.strip()


def test_every_picture_is_of_a_command_whose_result_has_its_name():
    pictures = sorted(path.stem for path in tables.RESULTS.glob("*.png"))
    results = tuple(path.stem for path in RESULTS)
    assert [name for name in pictures if not name.startswith(results)] == []
    assert len(pictures) > 10


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit of one file, where results go too."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b.example")
        monkeypatch.setenv(f"GIT_{name}_DATE", "2026-11-30T12:00:00Z")
    folder = tmp_path / "checkout"
    for name in ("nas/environment.py", "experiments/results/x.csv"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_the_commit_of_the_code_and_whether_it_was_changed(checkout):
    commit = code(checkout)
    assert commit is not None
    short, date = commit.split()
    assert date == "2026-11-30"
    assert len(short) >= 7
    (checkout / "experiments/results/x.csv").write_text("2")  # a result is no change of the code
    (checkout / "new.py").write_text("")  # nor is a file that git does not know
    assert code(checkout) == commit
    (checkout / "nas/environment.py").write_text("2")
    assert code(checkout) == f"{commit} with changes"


def test_code_that_no_checkout_tracks_has_no_commit(checkout, tmp_path):
    installed = checkout / "site-packages"
    (installed / "nas").mkdir(parents=True)
    (installed / "nas/environment.py").write_text("1")
    assert code(installed) is None
    assert code(tmp_path) is None


def test_what_is_written_is_read_back_with_where_it_is_from(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "seeds=2", "path=/data/cifar 10", "methods=a,b"])
    monkeypatch.setattr(provenance, "began", lambda: "4f2a91c 2026-11-30 with changes")
    tables.write(ROWS, tmp_path / "x.csv", origin=provenance.of("0 to 1", packages=("rich", "no-such-package")))
    origin, rows = tables.read(tmp_path / "x.csv")
    assert rows == ROWS
    assert origin["command"].endswith(" seeds=2 path=DIR methods=a,b")
    assert origin["commit"] == "4f2a91c 2026-11-30 with changes"
    assert origin["seeds"] == "0 to 1"
    assert " cores" in origin["machine"]
    assert origin["versions"].startswith(f"python {sys.version.split()[0]}, ")
    assert "rich " in origin["versions"]
    assert "no-such-package" not in origin["versions"]


def test_a_result_continued_by_another_version_names_both(tmp_path, monkeypatch):
    for commit in ("a 2026-11-01", "b 2026-11-02", "a 2026-11-01"):
        monkeypatch.setattr(provenance, "began", lambda commit=commit: commit)
        with provenance.recording(tmp_path / "runs"):
            pass
    assert provenance.of("0", runs=(tmp_path / "runs",))["commit"] == "a 2026-11-01, b 2026-11-02"
    old = tmp_path / "old"
    old.mkdir()
    (old / "records.jsonl").touch()
    with provenance.recording(old):
        pass
    assert provenance.of("0", runs=(old,))["commit"] == "earlier ones, not noted, a 2026-11-01"


@pytest.mark.parametrize("line", ["command", "commit", "seeds", "machine"])
def test_a_result_that_does_not_say_it_is_refused(tmp_path, line):
    path = tmp_path / "x.csv"
    tables.write(ROWS, path, origin={k: v for k, v in provenance.of("0").items() if k != line})
    with pytest.raises(ValueError, match=f"^x.csv: {line} is missing; a result begins with lines like '# {line}: "):
        tables.read(path)


def test_what_a_command_prints_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    (tmp_path / "made.png").write_bytes(b"picture")
    arguments = ["name=zen", "command=this", f"picture={tmp_path / 'made.png'}", "seeds=none: nothing random"]
    monkeypatch.setattr(sys, "argv", ["record", *arguments])
    options.run(record.main)
    origin, text = provenance.split((tmp_path / "zen.txt").read_text())
    assert (origin["command"], origin["seeds"]) == ("python -m this", "none: nothing random")
    assert text == capsys.readouterr().out
    assert "Explicit is better than implicit." in text
    assert (tmp_path / "zen.png").read_bytes() == b"picture"
    monkeypatch.setattr(sys, "argv", ["record", "name=none", "command=no_such_module"])
    with pytest.raises(SystemExit):
        options.run(record.main)
    assert not (tmp_path / "none.txt").exists()


def test_files_are_named_by_what_is_not_the_default():
    defaults = {"epochs": 4, "lr": 0.1, "path": ""}
    assert tables.named("x", defaults, defaults).name == "x.csv"
    assert tables.named("x", {**defaults, "epochs": 2, "path": "/a"}, defaults).name == "x_epochs=2.csv"
