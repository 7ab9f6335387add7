"""Figures of the texts come from recorded results, and what does not is found."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from experiments import claims, options, tables

RESULT = """# command: python -m experiments.x
# commit: 4f2a91c 2026-11-30
# seeds: 0
# machine: a machine
"""


@pytest.mark.parametrize("text", claims.TEXTS, ids=lambda path: path.name)
def test_every_figure_is_in_a_result_that_is_linked_beside_it(text):
    assert claims.wrong(text) == []


def test_every_result_is_shown_somewhere():
    linked = {(text.parent / target).resolve() for text in claims.TEXTS for target in claims.links(text.read_text())}
    files = {path for path in tables.RESULTS.iterdir() if path.suffix in (".csv", ".txt", ".png")}
    assert sorted(path.name for path in files - linked) == []


def test_a_changed_figure_is_found_in_every_row_with_a_spread(monkeypatch, tmp_path):
    text = tables.RESULTS.parent / "README.md"
    lines = text.read_text().splitlines(keepends=True)
    changed = tmp_path / "experiments" / "README.md"
    changed.parent.mkdir()
    (changed.parent / "results").symlink_to(tables.RESULTS)
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    rows = [i for i, line in enumerate(lines) if line.startswith("|") and "±" in line]
    for i in rows:
        lines[i] = re.sub(r"± [0-9.]+", "± 98.76", lines[i], count=1)
    changed.write_text("".join(lines))
    found = [re.match(r"experiments/README.md:(\d+): \S+ ± 98.76 is not in ", line) for line in claims.wrong(changed)]
    assert [match and int(match[1]) - 1 for match in found] == rows
    assert len(rows) > 10


COMMANDS = sorted(
    {
        line.strip().partition("  #")[0].removeprefix("python -m ")
        for text in claims.TEXTS
        for line in text.read_text().replace("\\\n", " ").splitlines()
        if line.strip().startswith("python -m experiments.")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood_today(monkeypatch, tmp_path, command):
    name, *arguments = command.split()
    read = options.read

    def understood(*how, **more):
        read(*how, **more)
        raise InterruptedError

    monkeypatch.setattr(options, "read", understood)
    monkeypatch.setattr(sys, "argv", [name, *(f"path={tmp_path}" if a.startswith("path=") else a for a in arguments)])
    with pytest.raises(InterruptedError):
        importlib.import_module(name).main()


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What is wrong with a text beside x.csv and x.txt, with `where` also if it does not say where these are from."""
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    (tmp_path / "x.csv").write_text(f'{RESULT}network,top-1 %,ms\na,81.46,"5.2, 5.3"\nb,-0.25%,1234\n')
    (tmp_path / "x.txt").write_text(f"{RESULT}one line: 7.25ms\nanother\n")

    def wrong(text: str, *, where: bool = False) -> list[str]:
        (tmp_path / "text.md").write_text(text)
        return [line for line in claims.wrong(tmp_path / "text.md") if where or "does not say" not in line]

    claims._rows.cache_clear()
    yield wrong
    claims._rows.cache_clear()


TABLE = "[data](x.csv)\n\n| network | top-1 | ms |\n|---|---|---|\n"


@pytest.mark.parametrize(
    "text",
    [
        "It has 81.5 %, or 81 %, in 5 ms ([data](x.csv)).",
        "It has 81.5 ± 5.3 ms [data](x.csv)",
        "It has 0.3 % less, which is -0.25 % or −0.3 %; [data](x.csv)",
        "[data](x.csv)\n\n| network | ms at 99 px |\n|---|---|\n| a | 5.3 |\n| b | 1,234 |",
        "[data](x.txt)\n\n```text\none line: 7.25ms\n...\nanother\n```\n\n7.3 ms",
        "A setting `99 %`, `lr=0.003` and epochs=0.5; 99 networks of 64 px and MobileNetV2.",
        "Others have [99 %](https://example.org).",
        "[data](x.csv)\n\n| network | ms | top-1 |\n|---|---|---|\n| a | 5.3 | 81.5 % |\n| b | 1,234 | -0.3 |",
        "```\npython -m x lr=0.3  # what it does\n```\n\n    python -m y 9.9\n\n```py\nx = 9.9\n```",
    ],
)
def test_what_is_right(said, text):
    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("It has 81.4 % ([data](x.csv)).", "1: 81.4 is not in x.csv"),
        ("[data](x.csv)\nand 2 to\n5.2 ms", "2: 2 is not in x.csv"),
        ("[data](x.csv) 0.4 ± 5.2", "1: 0.4 ± 5.2 is not in x.csv"),
        ("[data](x.csv)\n\n| a | b |\n|---|---|\n| a | 81.5 ± 0.3 |", "5: 81.5 ± 0.3 is not in x.csv"),
        ("[data](x.csv) 5.3 ± 81.5", "1: 5.3 ± 81.5 is not in x.csv"),
        (f"{TABLE}| a | 5.3 | 5.2 |\n| b | -0.25 | 1234 |", "6: column 2 is of another column than in the rows before"),
        (
            f"{TABLE}| a | 81.5 | 5.2 |\n| a | 81.5 | 5.3 |\n| b | 81.5 | 1,234 |",
            "7: this row is not in x.csv as one row",
        ),
        (
            "[data](x.csv)\n\n    python -m experiments.y",
            "3: experiments.y is the command of no result that is linked here",
        ),
        ("It is +0.25 % ([data](x.csv))", "1: +0.25 is not in x.csv"),
        ("[data](x.csv)\n\n| a | b |\n|---|---|\n| a | 6 |", "5: 6 is not in x.csv"),
        ("[data](x.csv) 5.2\n\n# Next\n\n5.2", "5: 5.2 is in no result that is linked here"),
        ("Tau is 0.62.", "1: 0.62 is in no result that is linked here"),
        ("It takes 8 minutes.", "1: 8 is in no result that is linked here"),
        ("Others have [99 %](https://example.org). We have 98 %.", "1: 98 is in no result that is linked here"),
        ("```\npython -m x  # 10 minutes\n```", "2: 10 is in no result that is linked here"),
        ("[data](x.txt)\n```text\none line: 7.26ms\n```", "3: this line is not in x.txt: one line: 7.26ms"),
        ("[data](y.csv)", "1: y.csv: there is no such file"),
        ("# One's own: 2?\n\n[a](#ones-own-2) [b](#ones-own)", "3: #ones-own: there is no such heading"),
    ],
)
def test_what_is_wrong(said, text, message):
    assert said(text) == [f"text.md:{message}"]


def test_a_result_without_provenance_is_no_result(said):
    (Path(tables.RESULTS) / "x.csv").write_text("a,81.5\n")
    with pytest.raises(ValueError, match="^command is missing"):
        said("81.5 % [data](x.csv)")


def test_a_section_says_which_command_and_version_its_result_is_of(said):
    old = RESULT.replace("experiments.x", "experiments.x path=DIR 'kinds=a,b' n=3; others").replace(
        "commit", "recorded"
    )
    (Path(tables.RESULTS) / "x.csv").write_text(f"{old}a,81.5\n")
    assert (
        said(
            "[data](x.csv) of `4f2a91c`\n\n    python -m experiments.x path=FOLDER \\\n        n=3 kinds=a,b",
            where=True,
        )
        == []
    )
    assert said("[data](x.csv)\n\n    python -m experiments.x n=4", where=True) == [
        "text.md:1: x.csv is of kinds=a,b n=3 4f2a91c, which this section does not say"
    ]
