"""Searches looked at: trials as a table, and runs side by side."""

import csv

import pytest

from nas import compare
from nas.searched import open_search
from tests.commands.test_commands import command, journal
from tests.nas.test_surrogate import SEARCH


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two searches, of which the second has limits and another reward."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("first", ()), ("second", ("reward=absolute", "limits={params_m: 5}", "rng_seed=1"))):
        done = command("nas.search", *SEARCH, *more, "samples=24", "batch=8", f"run_dir=runs/{name}", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_trials_are_a_table(runs):
    done = command("nas.trials", "run=runs/second", "file=all.csv", "top=3", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert "24 samples of runs/second, the first 3" in done.stdout
    assert "24 rows in all.csv" in done.stdout
    rows, trials = rows_of(runs / "all.csv"), journal(runs / "runs/second")
    best = max(trials, key=lambda trial: trial["reward"])
    assert rows[0]["sample"] == str(best["sample"])
    assert [float(row["reward"]) for row in rows] == sorted((trial["reward"] for trial in trials), reverse=True)
    assert float(rows[0]["params_m"]) == pytest.approx(best["costs"]["params_m"])
    space = open_search(runs / "runs/second").space
    chosen = {name: str(option) for name, option in space.describe(best["indices"]).items()}
    assert {name: rows[0][name] for name in chosen} == chosen


def test_trials_are_chosen_and_sorted(runs):
    words = ("run=runs/first", "where=latency_ms < 55 and status == 'ok'", "sort=-latency_ms", "file=some.parquet")
    done = command("nas.trials", *words, cwd=runs)
    assert done.returncode == 0, done.stderr
    import pandas

    rows = pandas.read_parquet(runs / "some.parquet")
    expected = sorted(trial["latency_ms"] for trial in journal(runs / "runs/first") if trial["latency_ms"] < 55)
    assert 0 < len(expected) < 24
    assert rows["latency_ms"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no run: add run=, the folder of a search"),
        (("run=nowhere",), "nowhere holds no search; give the folder of a run of nas.search"),
        (("run=runs/first", "where=latency < 3"), "where=latency < 3: name 'latency' is not defined; give a condition"),
        (("run=runs/first", "where=latency_ms <"), "where=latency_ms <: "),
        (("run=runs/first", "where=sample"), "where=sample: that is no condition; give a condition on columns"),
        (("run=runs/first", "where=(1)"), "where=(1): that is no condition"),
        (("run=runs/first", "sort=rewards"), "sort=rewards: no such column; did you mean reward?; there are sample"),
        (("run=runs/first", "file=all.txt"), "file=all.txt: it must end in .csv or .parquet"),
        (("run=runs/first", "file=runs/first/journal.jsonl/x.csv"), "cannot be written"),
    ],
)
def test_what_trials_refuse(runs, words, message):
    done = command("nas.trials", *words, cwd=runs)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_runs_side_by_side(runs):
    done = command("nas.compare", "runs/first", "runs/second", "page=both.html", cwd=runs)
    assert done.returncode == 0, done.stderr
    assert "note: rewards are not of one kind: the runs differ in reward" in done.stdout
    assert "latencies are not" not in done.stdout
    page = (runs / "both.html").read_text()
    for run in ("runs/first", "runs/second"):
        best = max(trial["reward"] for trial in journal(runs / run))
        assert f"{best:.4f}" in done.stdout
        assert run in page
        assert f"<td>{best:.4f}</td>" in page
    assert page.count("data:image/png") == 2
    assert "http" not in page


def test_equal_settings_can_be_compared(runs):
    searches = [open_search(runs / "runs/first")] * 2
    assert compare.differences(searches) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("runs/first",), "give the folders of two searches or more"),
        (("runs/first", "./runs/first"), "give the folders of two searches or more"),
        (("runs/first", "nowhere"), "nowhere holds no search"),
        (("runs/first", "runs/second", "pages=x"), "'pages=x' is not known; did you mean page?"),
    ],
)
def test_what_compare_refuses(runs, words, message):
    done = command("nas.compare", *words, cwd=runs)
    assert done.returncode == 1
    assert message in done.stderr
