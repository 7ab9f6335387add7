"""A network for each device of a fleet, and one for all, on a made-up table."""

import csv
import sys

import numpy as np
import pytest

from experiments import fleet, tables
from nas.surrogate import Surrogate
from search_spaces import spaces

SPACE = spaces.get("accel_nasbench")


@pytest.fixture
def files(tmp_path):
    """500 networks whose latency is a sum over blocks on each device, and the surrogate's accuracies."""
    rng = np.random.default_rng(0)
    points = np.unique(SPACE.canonical(SPACE.sample(rng, 500)), axis=0)
    top1 = Surrogate.load().top1(points)
    costs = {device: rng.uniform(0.1, 1.0, (28, 4)) for device in fleet.DEVICES}
    names = ("expand", "kernel", "layers", "se")
    latencies, accuracies = tmp_path / "latencies.csv", tmp_path / "accuracies.csv"
    with latencies.open("w", newline="") as one, accuracies.open("w", newline="") as other:
        first, second = csv.writer(one), csv.writer(other)
        first.writerow((*names, *fleet.DEVICES.values()))
        second.writerow((*names, "top1_percent"))
        for point, accuracy in zip(points, top1, strict=True):
            its = SPACE.describe(point)
            options = zip(("expansion", "kernel", "layers", "se"), (1, 1, 1, 4), strict=True)
            digits = ["".join(str(int(its[f"block{b}.{o}"] * n)) for b in range(1, 8)) for o, n in options]
            ms = {device: sum(cost[i, option] for i, option in enumerate(point)) for device, cost in costs.items()}
            first.writerow((*digits, *(ms[d] if c.endswith("_ms") else 1000 / ms[d] for d, c in fleet.DEVICES.items())))
            second.writerow((*digits, 100 * accuracy))
    return latencies, accuracies


def run(monkeypatch, tmp_path, *words):
    monkeypatch.setattr(sys, "argv", ["fleet", *words])
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    fleet.main()
    return tables.read(tmp_path / "fleet.csv")[1]


def test_the_best_listed_networks_are_found(monkeypatch, tmp_path, files):
    latencies, accuracies = files
    rows = run(
        monkeypatch,
        tmp_path,
        f"path={latencies}",
        f"accuracies_path={accuracies}",
        "samples=120",
        "timed=440",
        "seeds=1",
    )
    assert [row["for"] for row in rows] == [*fleet.DEVICES, fleet.TOGETHER]
    for row in rows:
        assert float(row["table's error %"]) < 0.5  # the sums are exact, but for options that few networks have
        assert -0.05 <= float(row["regret %"]) < 1.5
        assert float(row["LAT/TAR"]) < 1.02
    *each, together = rows
    assert all(float(row["costs points"]) >= -0.05 for row in each)  # none is better off with the one for all
    assert float(together["costs points"]) == 0
    assert together["regret %"] == together["its regret %"]
    assert {row["one for all %"] for row in rows} == {together["top-1 %"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("samples=5",), "samples= must be 17 to "),
        (("timed=100000",), "timed= 400 to "),
        (("accuracies_path=nothing.csv",), "path= or accuracies_path= is no table of Accel-NASBench"),
    ],
)
def test_bad_words(monkeypatch, tmp_path, files, words, message):
    latencies, accuracies = files
    with pytest.raises(ValueError, match=message):
        run(monkeypatch, tmp_path, f"path={latencies}", f"accuracies_path={accuracies}", *words)
