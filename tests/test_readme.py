"""The Python in the README runs as it stands there."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_readmes_python_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[number], f"README block {number}", "exec"), {})
    assert len(BLOCKS) >= 2
    assert printed.getvalue()
    if 'name="mine"' in BLOCKS[number]:
        assert len(BLOCKS[number].splitlines()) <= 30
        assert printed.getvalue() == "{'width': 1.0, 'resolution_px': 160}\n"
