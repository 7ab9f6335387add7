"""`python -m search_spaces.show` and `latency_luts.compare`: networks and tables for people."""

import sys
from pathlib import Path

import pytest

from latency_luts import compare
from nas_runtime.command import run_plain
from search_spaces import show, text, zoo


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """``run(main, *arguments)`` in an empty folder, as on a command line: what it prints, errors, and its exit code."""
    monkeypatch.chdir(tmp_path)

    def call(main, *arguments: str) -> tuple[str, str, int]:
        monkeypatch.setattr(sys, "argv", ["show", *arguments])
        try:
            run_plain(main)
            code = 0
        except SystemExit as e:
            code = int(e.code or 0)
        out, err = capfd.readouterr()
        return out, err, code

    return call


def test_show(run):
    out, err, code = run(show.main, "mobilenet_v3_small")
    assert (err, code) == ("", 0)
    for figure in ("56,510,400", "2,542,856", "224x224x3", "pixel1 ms", "pixel3 ms", "not measured"):
        assert figure in out
    Path("net.json").write_text(text.to_json(zoo.get("mnasnet_small")))
    assert "2,030,264" in run(show.main, "net.json")[0]
    assert "2,041,872" in run(show.main, "mobilenet_v3_small", "width=0.75")[0]


def test_show_all(run, tmp_path):
    out, err, code = run(show.main, "--all", "measure=false", "sort=madds", "picture=all.png")
    assert (err, code) == ("", 0)
    names = [line.split()[1] for line in out.splitlines() if line.startswith("│")]
    assert sorted(names) == sorted(zoo.names())
    assert names[0] == "mobilenet_v3_small_minimalistic"
    assert names[-1] == "vgg16"
    assert (tmp_path / "all.png").stat().st_size > 20_000


def test_help(run):
    assert "python -m search_spaces.show --all" in run(show.main, "--help")[0]
    assert "python -m latency_luts.compare pixel1 host" in run(compare.main, "-h")[0]


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (show.main, ["--all", "sort=year"], "sort=year; allowed: network, madds, params, top1, pixel1, host"),
        (
            show.main,
            ["--all", "picture=nowhere/zoo.png"],
            "picture=nowhere/zoo.png; allowed: a .png, .svg or .pdf file",
        ),
        (show.main, ["--all", "measure=yes"], "measure=yes: it must be true or false"),
        (show.main, ["--all", "all"], "'all' is not known; allowed: sort=, measure=, picture="),
        (show.main, ["--all", "sort=madd"], "sort=madd; did you mean madds?; allowed: network"),
        (show.main, [], "name a network: mobilenet_v1, mobilenet_v2"),
        (show.main, ["mobilenet_v9"], "no network 'mobilenet_v9'"),
        (show.main, ["."], ". is a folder; give the network's file: best.json in a run's folder"),
        (show.main, ["mobilenet_v2", "layers=3"], "'layers=3' is not known; allowed: width="),
        (show.main, ["mobilenet_v2", "widht=3"], "'widht=3' is not known; did you mean width?; allowed: width="),
        (show.main, ["mobilenet_v2", "width=wide"], "width=wide: it must be a number"),
        (show.main, ["nowhere.json"], "nowhere.json"),
        (compare.main, ["pixel1"], "give two tables: python -m latency_luts.compare A B (there are: "),
        (compare.main, ["pixel1", "pixel9"], "no latency table for device 'pixel9'; did you mean pixel"),
    ],
)
def test_wrong_command_lines(run, tmp_path, main, arguments, message):
    out, err, code = run(main, *arguments)
    assert (out, code) == ("", 1)
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
