"""A cluster of several nodes: one is killed in the middle of a search, others join."""

import json

from tests.dying_cluster import SAMPLES
from tests.test_commands import command


def test_a_node_dies_and_two_join(tmp_path):
    settings = {"RAY_USAGE_STATS_ENABLED": "0"}
    done = command("tests.dying_cluster", str(tmp_path), cwd=tmp_path, timeout=500, **settings)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rc"] == 0
    assert result["workers"] == 3  # more than it began with
    records = [json.loads(line)["record"] for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert sorted(record["sample"] for record in records) == list(range(SAMPLES))
    assert all(record["status"] == "ok" for record in records)
    assert {record["note"] for record in records} == set(result["nodes"])
