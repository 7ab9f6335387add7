"""What is printed is what was meant: no markup in names, no escape sequence that reaches a terminal."""

import io
import subprocess
import sys

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from nas.report import plots
from nas.report.plots import new_figure, save
from nas.trial import Trial
from nas_runtime.console import brief, in_ms, new_console, picture_text, shown
from search_spaces import zoo


def printed(*things) -> str:
    console = new_console(width=100)
    console.file = io.StringIO()
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


@pytest.mark.parametrize("name", ["runs/[/tmp]", "runs/[v2]", "a:smile:b", "[bold]x"])
def test_names_are_printed_as_they_are(name):
    table = Table(name, title=name)
    table.add_row(name)
    assert printed(f"writing to {name}") == f"writing to {name}\n"
    assert printed(table).count(name) == 3


def test_escape_sequences_are_harmless():
    hostile = "a\x1b[2Jb\x07c\x9bd\u202ee\udcfff"
    table = Table(hostile)
    table.add_row(hostile)
    out = printed(hostile, table)
    assert not set("\x1b\x07\x9b\u202e\udcff") & set(out)
    assert shown(hostile) == r"a\x1b[2Jb\x07c\x9bd\u202ee\udcfff"
    assert shown("two\nlines\tand × é 漢") == "two\nlines\tand × é 漢"


def test_a_progress_bar_shows_names_as_they_are():
    console = new_console(width=60)
    console.file = io.StringIO()
    with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
        progress.add_task("[/tmp] units")
    assert "[/tmp] units" in console.file.getvalue()


def test_output_that_is_ascii_only():
    code = "from nas_runtime.console import *; prepare_streams(); new_console().print('3 × 4 µs')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONIOENCODING": "ascii"}, check=True
    )
    assert done.stdout == "3 \\xd7 4 \\xb5s\n"


@pytest.mark.parametrize("name", [r"$\frac{$", "$x$ 5 $", "a_b^c", r"\$ [v2] \x", "漢\x1b[2J\n"])
def test_a_picture_shows_names_as_they_are(name, tmp_path):
    """Also those that Matplotlib would take for formulas, or cannot read as such."""
    from matplotlib.text import Text

    figure, axes = new_figure()
    axes.set_title(picture_text(name))
    axes.annotate(picture_text(name), (0, 0))
    if name.isascii():  # the font has no others
        save(figure, tmp_path / "x.png")
    drawn = Text(0, 0, picture_text(name))
    assert drawn._preprocess_math(drawn.get_text()) == (shown(name), False)
    assert "\x1b" not in drawn.get_text()


def test_pictures_of_a_space_of_any_name(tmp_path):
    trials = [
        Trial(sample=i, indices=(i % 2,), arch=zoo.get("mobilenet_v1"), top1=0.5, latency_ms=9.0 + i, reward=0.1)
        for i in range(4)
    ]
    name = r"$\frac{$ _ [b]"
    labels = {"title": name, "latency_label": name, "top1_label": name}
    plots.plot_pareto(tmp_path / "x.png", trials, trials[:1], {name: (9, 0.5)}, targets_ms=[9], **labels)
    plots.plot_latencies(tmp_path / "y.png", trials, target_ms=9, title=name, latency_label=name)
    plots.plot_rewards(tmp_path / "z.png", trials, title=name)
    plots.plot_entropy(tmp_path / "w.png", trials, title=name)
    assert len(list(tmp_path.iterdir())) == 4


def test_values_in_messages_are_short_and_harmless():
    assert brief("a\nb\x1b[2J") == r"a b\x1b[2J"
    assert brief("x" * 81) == "x" * 60 + "... (81 characters)"
    assert brief("x" * 80) == "x" * 80


def test_milliseconds_have_three_digits():
    assert [in_ms(ms) for ms in (0.826, 1.0, 9.94, 9.96, 15.84, 123.45)] == [
        *("0.83", "1.00", "9.94", "10.0"),
        *("15.8", "123.5"),
    ]
