"""The Python in the README runs as it stands there."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def printed_by(program: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README", "exec"), {})
    return printed.getvalue()


def test_there_are_programs():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_readmes_python_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert printed_by(BLOCKS[number])


def test_a_space_of_ones_own_is_short_and_finds_the_best(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (mine,) = (block for block in BLOCKS if 'name="mine"' in block)
    assert len(mine.splitlines()) <= 30
    assert printed_by(mine) == "{'width': 1.0, 'resolution_px': 160}\n"
