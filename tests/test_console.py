"""What is printed is what was meant: no markup in names, no escape sequence that reaches a terminal."""

import io
import subprocess
import sys

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table

from nas_runtime.console import new_console, shown


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
