"""The comparison of search methods: its statistics, its benchmarks, and what the methods are told."""

import itertools
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from experiments import intervals, search_benchmarks, search_quality, tables
from experiments.search_methods import METHODS, Step
from nas import controllers
from nas.reward import Reward
from nas.testing.controllers import small_space


@pytest.mark.parametrize(
    ("p", "degrees", "expected"),  # of any table of the distribution
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 3, 3.18245),
        (0.975, 4, 2.77645),
        (0.975, 11, 2.20099),
        (0.975, 19, 2.09302),
        (0.95, 10, 1.81246),
        (0.995, 7, 3.49948),
        (0.975, 1000, 1.96234),
    ],
)
def test_quantiles_of_students_t(p, degrees, expected):
    assert intervals.t_quantile(p, degrees) == pytest.approx(expected, rel=3e-6)


def test_the_interval_of_a_mean():
    assert intervals.half_width([1, 2, 3, 4, 5]) == pytest.approx(2.77645 * math.sqrt(2.5) / math.sqrt(5), rel=2e-6)
    assert intervals.half_width([3.0]) == math.inf
    with pytest.raises(ValueError, match="allowed: 0.5 to below 1, and 1 or more"):
        intervals.t_quantile(0.975, 0)


def test_the_interval_holds_the_mean_19_times_of_20():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((4000, 5))
    held = np.mean([abs(row.mean()) <= intervals.half_width(row) for row in samples])
    assert held == pytest.approx(0.95, abs=0.01)  # 0.88 with 1.96


def row(method: str, regret: float, width: float, samples: int = 42, above: str = "yes") -> dict:
    return {"method": method, "samples": samples, "regret %": str(regret), "+-": str(width), "above error": above}


def test_a_method_is_the_best_if_none_is_better_by_more_than_the_interval():
    rows = [row("a", 1.0, 0.3), row("b", 1.4, 0.4), row("c", 1.6, 0.4), row("d", 0.1, 0.1, samples=100)]
    assert search_quality.best_rows(rows) == [True, True, False, True]  # 0.4 < 0.5 < 0.6
    tied = [row("a", 0.05, 0.01, above="no"), row("b", 0.3, 0.01, above="no"), row("c", 0.5, 0.01)]
    assert search_quality.best_rows(tied) == [True, True, False]


def test_which_methods_are_ahead_is_said_of_the_rows():
    rows = [row("a", 1.0, 0.1), row("b", 1.4, 0.1), row("a", 0.6, 0.1, samples=100), row("b", 0.65, 0.1, samples=100)]
    for line, best in zip(rows, search_quality.best_rows(rows), strict=True):
        line["best"] = "yes" if best else "no"
    assert search_quality.ahead(rows) == [
        "42 samples, 2 methods: a is ahead",
        "100 samples, 2 methods: no difference between a, b",
    ]


def test_methods_that_are_not_run_again_keep_their_rows_and_their_commit(tmp_path):
    file, where = tmp_path / "rows.csv", {"commit": "old", "seeds": "100 to 109", "versions": "optuna 5.0.0"}
    assert search_quality.keep(file, {"tpe"}) == ([], {})
    both = [row("gp", 1.5, 0.1), row("bayesian", 1.0, 0.1)]
    tables.write(both, file, origin={"command": "all", "machine": "one", **where})
    rows, kept = search_quality.keep(file, {"bayesian"})
    assert [(row["method"], row["samples"], row["regret %"]) for row in rows] == [("gp", 42, "1.5")]
    assert kept == {"kept": "gp of commit old, seeds 100 to 109, optuna 5.0.0"}
    tables.write(both, file, origin={"command": "some", "machine": "one", **where, "commit": "new", **kept})
    assert search_quality.keep(file, {"bayesian"})[1] == kept  # of the commit that ran it
    assert search_quality.keep(file, {"bayesian", "gp"}) == ([], {})


def test_a_run_returns_the_network_that_seemed_best():
    told = [0.5, 0.7, 0.6, 0.9, *[0.1] * 38]
    steps = (Step(reward=r, true=1 - r, top1=r, cost=n) for n, r in enumerate(told, 1))
    run = search_quality._run(steps, 42, reference=100.0)
    assert run["best"]["42"] == pytest.approx(0.1)
    assert next(iter(run["best"])) == "8"
    assert run["median_cost"]["42"] == 40.5  # of the last 4


def test_few_seeds_are_for_what_takes_long():
    given = {
        "benchmarks": ("soft",),
        "methods": ("gp", "tpe"),
        "path": "",
        "seeds": 3,
        "long_seeds": 2,
        "first_seed": 7,
    }
    jobs = [(job.method, job.seed, job.samples) for job in search_quality._jobs(given)]
    assert jobs == [("tpe", 9, 250), ("tpe", 7, 1000), ("tpe", 8, 1000), ("gp", 7, 100), ("gp", 8, 100)]


def test_after_a_failure_no_further_run_begins(monkeypatch):
    """One that has begun goes on to its end; here, until the others were taken back."""
    begun, taken_back = [], threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            taken_back.set()
            super().shutdown()

    def fails_at_first(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("it failed")
        taken_back.wait()

    monkeypatch.setattr(search_quality, "ProcessPoolExecutor", lambda workers, context: Pool(workers))
    with pytest.raises(ValueError, match="it failed"):
        search_quality.run_all(fails_at_first, range(100), workers=1)
    assert begun in ([0], [0, 1])


def cells(path, *, leave_out: int = 0):
    """A file of all cells, in which accuracy grows with the 3x3 convolutions."""
    names = ("skip", "none", "conv3x3", "conv1x1", "pool")
    rows = [",".join([*cell, str(50 + 5 * cell.count("conv3x3"))]) for cell in itertools.product(names, repeat=6)]
    path.write_text("\n".join(["edge1,edge2,edge3,edge4,edge5,edge6,top1_percent", *rows[leave_out:]]))
    return str(path)


def test_cells_cost_what_nas_bench_201_says():
    """220.12 M for the largest cell and 7.78 M for the smallest (its table of FLOPs)."""
    costs = search_benchmarks._million_madds(np.array([[2] * 6, [0, 1, 4, 0, 1, 4], [3, 0, 0, 0, 0, 0]]))
    np.testing.assert_allclose(costs, [220.12, 7.783, 7.783 + 3.932], atol=0.005)


def test_the_best_cell_is_the_best_of_all(tmp_path):
    benchmark = search_benchmarks.get("cells_absolute", cells(tmp_path / "cells.csv"))
    best = search_benchmarks.best_known(benchmark)
    assert (best == 2).sum() == 3  # 113.9 M: 2.6 points lost, 5 gained by the third one
    assert benchmark.ask(best[None], 0).true[0] == pytest.approx(0.65 - 0.2 * (113.951 / 100 - 1), abs=1e-4)
    assert benchmark.error_percent(best) == 0


def test_a_file_that_is_no_table_of_cells_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"short.csv: 3 of 15625 cells are missing$"):
        search_benchmarks.get("cells_soft", cells(tmp_path / "short.csv", leave_out=3))
    (tmp_path / "other.csv").write_text("edge1,top1\nskip,3\n")
    with pytest.raises(
        ValueError, match=r"other.csv: no table of cells \('top1_percent'\); see experiments/search_bench"
    ):
        search_benchmarks.get("cells_soft", str(tmp_path / "other.csv"))
    with pytest.raises(ValueError, match="path= is missing: cells_soft and cells_absolute need a file"):
        search_benchmarks.get("cells_soft")


def test_a_local_search_changes_two_choices_at_a_time(monkeypatch):
    """Two choices are worth something only where both have their last option; one of them alone costs."""
    space = small_space(4, 4, 4, 4)

    def top1(points):
        last = points == 3
        return 0.1 * last[:, 0] + 0.1 * last[:, 1] + np.where(last[:, 2] & last[:, 3], 0.5, -0.05 * last[:, 2:].sum(1))

    benchmark = search_benchmarks.Benchmark(
        name="x",
        space=space,
        reward=Reward(name="absolute", target_ms=1.0),
        top1=top1,
        cost=lambda points: np.ones(len(points)),
        unit="ms",
    )
    assert search_benchmarks.best_known(benchmark).tolist() == [3, 3, 3, 3]  # all are looked at
    monkeypatch.setattr(search_benchmarks, "_FEW", 0)
    monkeypatch.setattr(search_benchmarks, "_STARTS", 1)
    assert search_benchmarks.best_known(benchmark).tolist() == [3, 3, 3, 3]


def test_noise_is_of_the_network_and_the_seed_and_not_of_the_truth():
    benchmark, exact = search_benchmarks.get("noisy"), search_benchmarks.get("soft")
    points = benchmark.space.sample(np.random.default_rng(0), 400)
    once = benchmark.ask(points, 1)
    np.testing.assert_array_equal(once.top1[::-1], benchmark.ask(points[::-1], 1).top1)
    np.testing.assert_array_equal(once.true, exact.ask(points, 1).true)
    assert (once.top1 - exact.ask(points, 1).top1).std() == pytest.approx(0.005, rel=0.1)
    assert (once.top1 != benchmark.ask(points, 2).top1).all()


def test_the_surrogates_error_in_percent_of_the_reward():
    benchmark = search_benchmarks.get("soft")
    point = benchmark.space.sample(np.random.default_rng(0), 1)[0]
    assert benchmark.error_percent(point) == pytest.approx(100 * benchmark.error / benchmark.top1(point[None])[0])
    assert search_benchmarks.get("absolute").error_percent(point) > 0.4


def test_only_bayesian_is_told_latencies_beforehand(monkeypatch):
    told = []
    monkeypatch.setattr(controllers, "inform", lambda controller, *known: told.append(type(controller).__name__))
    benchmark = search_benchmarks.get("soft")
    for name in ("bayesian", "bayesian_uninformed"):
        steps = list(itertools.islice(METHODS[name].start(benchmark, 3), 8))
        assert all(step.reward == step.true for step in steps)
        assert told == ["Bayesian"]


def test_a_methods_steps_are_of_its_seed():
    benchmark = search_benchmarks.get("noisy")
    one, again, other = (
        list(itertools.islice(METHODS["evolution"].start(benchmark, seed), 16)) for seed in (100, 100, 101)
    )
    assert one == again
    assert one != other
