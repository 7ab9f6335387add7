"""A search with the surrogate, from its command line to its report."""

import json

import pytest

from tests.commands.test_commands import command, journal
from tests.nas.test_surrogate import SEARCH

RUN = r"[v2] $x$ %41 \b"  # what a folder may be called


def test_a_search_with_the_surrogate(tmp_path):
    """Lands on its target with the absolute reward, and needs no data; in a folder with an unusual name."""
    settings = ("reward=absolute", "controller=bayesian", "samples=200", "batch=8", "tensorboard=true")
    done = command("nas.search", *SEARCH, *settings, f"run_dir='{RUN}'", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / RUN / "result.json").read_text())
    assert result["best"]["top1"] > 0.63
    assert result["median_ms_of_last_tenth"] == pytest.approx(51, rel=0.03)
    assert result["mean_rewards"]["samples"] == 10
    assert result["mean_rewards"]["last"] > result["mean_rewards"]["first"] + 0.05
    assert f"{result['mean_rewards']['last']:.4f} of the last" in done.stdout
    assert "final_test_top1" not in result["best"]
    assert not (tmp_path / RUN / "best.safetensors").exists()
    assert len(journal(tmp_path / RUN)) == 200
    events = list((tmp_path / RUN / "tensorboard").iterdir())
    assert len(events) == 1
    assert events[0].read_bytes().count(b"best_reward") == 200
    page = (tmp_path / RUN / "report.html").read_text()
    assert page.count('data-tip="sample ') >= 200  # a dot a sample
    assert page.count('data-tip="found, block ') == len(result["best"]["arch"]["blocks"])
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is loaded from anywhere
    assert "Top-1 after a short training on ImageNet, as predicted; latency on pixel1" in done.stdout
    assert "4117 trained networks" in done.stdout
    assert "note: The top-1 is after one short training on ImageNet, not a full one" in done.stdout
    assert "smaller differences say nothing" in page
    assert f"writing to {RUN}\n" in done.stdout
    assert f"everything is in {RUN}: report.html" in done.stdout
    assert all((tmp_path / RUN / f"{name}.png").stat().st_size > 5000 for name in ("pareto", "rewards", "latencies"))
