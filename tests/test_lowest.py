"""The lower bounds of what is depended on are those that are tested."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_lowest_versions_that_are_allowed_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = [re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", text) for text in project["dependencies"]]
    lowest = {match[1]: match[2] for match in found if match}
    assert len(lowest) == len(project["dependencies"])
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert tested.keys() == lowest.keys()
    for name, version in lowest.items():
        assert tested[name] in (version, f"{version}.0"), name
