"""Which method finds the best network, how soon? `python -m experiments.search_quality`

Every method of `experiments.search_methods` searches every benchmark of `experiments.search_benchmarks`, with `seeds`
seeds from `first_seed` on; the controllers were made with the seeds 0 to 23. All take 250 samples; the first
`long_seeds` go on to 1,000, and only these are given to `gp`, which takes 100 samples, for its time.

    python -m experiments.search_quality [benchmarks=soft,small,absolute,noisy] [methods=...] [seeds=12] [long_seeds=6]
                                         [first_seed=100] [workers=2] [path=FILE benchmarks=cells_soft,cells_absolute]

Regret is how far the true reward of the network that a method would return (the best by what it was told) is below that
of the best known network, in percent. Of a table's rows:

    +-              half the 95 % interval of the mean, by Student's t
    best            yes, if no other method with as many samples is better by more than the interval of the difference
    above error     no, if the mean regret is within the error of the surrogate that the accuracies are from: such a
                    network and the best one cannot be told apart, nor can two such methods (both count as best)
    s               seconds that a run took, beside whatever else ran

A run is recorded in runs/search_quality/ when it is done; the same command continues. Set OMP_NUM_THREADS=1 if other
programs run. Prints tables, and which methods are ahead in them; search_quality_<benchmark>.csv and .png go to
experiments/results. Methods that are not asked for keep the rows that the file has of them (Optuna's need not be run
again when only ours have changed), and its line `kept` says of which commit they are.
"""

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from experiments import options, provenance, search_benchmarks, tables
from experiments.intervals import half_width
from experiments.search_benchmarks import Benchmark
from experiments.search_methods import METHODS, Step, has_optuna
from nas import pareto
from nas.report import plots
from nas_runtime.console import new_console
from nas_runtime.files import read_json, write_json

RUNS = Path("runs/search_quality")
BUDGETS = (42, 100, 250, 1000)
SHORT, LONG = 250, 1000
Point = tuple[int, float, float]  # of a curve: samples, mean regret, half the interval


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of a method; `path` is the file that some benchmarks need."""

    benchmark: str
    path: str
    method: str
    seed: int
    samples: int

    @property
    def file(self) -> Path:
        return RUNS / f"{self.benchmark}-{self.method}-{self.samples}-{self.seed}.json"


def main() -> None:
    every = {"benchmarks": search_benchmarks.NAMES, "methods": tuple(METHODS)}
    known = tuple(name for name in search_benchmarks.NAMES if name not in search_benchmarks.CELLS)
    numbers = {"seeds": 12, "long_seeds": 6, "first_seed": 100, "workers": os.cpu_count() or 1}
    given = options.read({"benchmarks": known, "methods": every["methods"], "path": "", **numbers}, every)
    if min(given["seeds"], given["long_seeds"]) < 2:
        raise ValueError("seeds= and long_seeds= must be at least 2, or there is no interval")
    if any(METHODS[name].library for name in given["methods"]) and not has_optuna():
        ours = ",".join(name for name in given["methods"] if not METHODS[name].library)
        sys.exit(f"error: Optuna 5 is not installed: pip install 'optuna>=5' scipy; or methods={ours}")
    for name in given["benchmarks"]:
        search_benchmarks.get(name, given["path"])
    jobs = _jobs(given)
    seeds = f"{given['first_seed']} to {given['first_seed'] + given['seeds'] - 1}, {given['long_seeds']} of them long"
    with provenance.recording(RUNS):
        run_all(recorded, jobs, given["workers"])
        origin = provenance.of(seeds, packages=("torch", "numpy", "optuna", "scipy"), runs=(RUNS,))
        for name in given["benchmarks"]:
            report(search_benchmarks.get(name, given["path"]), [job for job in jobs if job.benchmark == name], origin)


def _jobs(given: dict[str, Any]) -> list[Job]:
    """The runs, the fast ones first."""
    jobs = [
        Job(
            benchmark=benchmark,
            path=given["path"],
            method=method,
            seed=given["first_seed"] + i,
            samples=min(LONG if i < given["long_seeds"] else SHORT, METHODS[method].most),
        )
        for i in range(given["seeds"])
        for benchmark in given["benchmarks"]
        for method in given["methods"]
        if i < given["long_seeds"] or not METHODS[method].slow
    ]
    return sorted(jobs, key=lambda job: (METHODS[job.method].slow, job.samples > SHORT))


def run_all(run: Callable[[Any], object], jobs: Sequence[Any], workers: int) -> None:
    """Calls `run` with each of the jobs, in so many processes; when one fails or is interrupted, no further ones
    begin.

    The processes are new ones: a fork would keep the lock of the folder where this process was killed.
    """
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(run, job) for job in jobs]
        try:
            for i, done in enumerate(as_completed(runs), 1):
                done.result()
                if i % 50 == 0:
                    print(f"{i} of {len(runs)} runs", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def report(benchmark: Benchmark, jobs: Sequence[Job], origin: dict[str, str]) -> None:
    """Prints and writes what the runs `jobs` of a benchmark came to."""
    best, error = _best(benchmark)
    path = tables.RESULTS / f"search_quality_{benchmark.name}.csv"
    rows, kept = keep(path, {job.method for job in jobs})
    curves = {method: _curve_of(rows, method) for method in dict.fromkeys(row["method"] for row in rows)}
    for method in dict.fromkeys(job.method for job in jobs):
        runs = [recorded(job) for job in jobs if job.method == method]
        longest = max((run["best"] for run in runs), key=len)
        of = {int(n): [run for run in runs if n in run["best"]] for n in longest}
        regrets = {n: np.array([_regret(run["best"][str(n)], best) for run in own]) for n, own in of.items()}
        rows += [_row(method, n, regrets[n], of[n], error) for n in BUDGETS if n in of]
        curves[method] = [(n, float(regret.mean()), half_width(regret)) for n, regret in regrets.items()]
    rows.sort(key=lambda row: list(METHODS).index(row["method"]))
    for row, is_best in zip(rows, best_rows(rows), strict=True):
        row["best"] = "yes" if is_best else "no"
    _plot(path.with_suffix(".png"), benchmark, curves, error)
    _print(benchmark, best, error, rows)
    tables.write(rows, path, origin={**origin, **kept})


def keep(path: Path, run: Collection[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The rows that the file `path` has of other methods than `run`, and where they are from."""
    if not path.exists():
        return [], {}
    origin, rows = tables.read(path)
    others: list[dict[str, Any]] = [
        {**row, "samples": int(row["samples"])} for row in rows if row["method"] in METHODS and row["method"] not in run
    ]
    left = dict.fromkeys(row["method"] for row in others)
    parts = []
    for part in filter(None, origin.get("kept", "").split("; ")):  # of earlier commits
        names, of, rest = part.partition(" of commit ")
        if own := [name for name in names.split(", ") if name in left]:
            parts.append(", ".join(own) + of + rest)
            left = dict.fromkeys(name for name in left if name not in own)
    if left:
        then = f"of commit {origin.get('commit')}, seeds {origin['seeds']}, {origin.get('versions')}"
        parts.append(f"{', '.join(left)} {then}")
    return others, {"kept": "; ".join(parts)} if others else {}


def _curve_of(rows: Sequence[dict[str, Any]], method: str) -> list[Point]:
    return [(row["samples"], float(row["regret %"]), float(row["+-"])) for row in rows if row["method"] == method]


def _regret(reward: float, best: float) -> float:
    """In percent; below 0 for a network that is better than the best known one."""
    return round(100 * (1 - reward / best), 9) + 0.0  # no -0


def _row(method: str, budget: int, regret: np.ndarray, runs: Sequence[dict], error: float) -> dict[str, Any]:
    n = str(budget)
    return {
        "method": method,
        "samples": budget,
        "regret %": f"{regret.mean():.4f}",
        "+-": f"{half_width(regret):.4f}",
        "worst": f"{regret.max():.4f}",
        "best": "",
        "above error": "no" if regret.mean() < error else "yes",
        "hypervolume": f"{np.mean([run['hypervolume'][n] for run in runs]):.5f}",
        "median cost, last tenth": f"{np.mean([run['median_cost'][n] for run in runs]):.1f}",
        "s": f"{np.mean([run['seconds'][n] for run in runs]):.2f}",
        "seeds": len(regret),
    }


def best_rows(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Of each row, whether no other with as many samples is better by more than the interval of the difference, or it
    is within the error of the surrogate."""

    def better(a: dict[str, Any], b: dict[str, Any]) -> bool:
        apart = math.hypot(float(a["+-"]), float(b["+-"]))
        return a["samples"] == b["samples"] and float(b["regret %"]) - float(a["regret %"]) > apart

    return [row["above error"] == "no" or not any(better(other, row) for other in rows) for row in rows]


def ahead(rows: Sequence[dict[str, Any]]) -> list[str]:
    """For each number of samples a line: which methods are the best, by `rows`."""
    lines = []
    for budget in BUDGETS:
        own = [row for row in rows if row["samples"] == budget]
        names = [row["method"] for row in own if row["best"] == "yes"]
        if len(own) > 1:
            what = f"{names[0]} is ahead" if len(names) == 1 else f"no difference between {', '.join(names)}"
            lines.append(f"{budget} samples, {len(own)} methods: {what}")
    return lines


def _print(benchmark: Benchmark, best: float, error: float, rows: Sequence[dict[str, Any]]) -> None:
    within = f"; regrets below {error:.2f} % are within the surrogate's error" if error else ""
    table = Table(title=f"{benchmark.describe()}; best known reward {best:.5f}{within}", title_justify="left")
    columns = list(rows[0])
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for budget in BUDGETS:
        own = [row for row in rows if row["samples"] == budget]
        for row in sorted(own, key=lambda row: float(row["regret %"])):
            table.add_row(*(str(row[column]) for column in columns))
        table.add_section()
    console = new_console(width=150)
    console.print(table)
    for line in ahead(rows):
        console.print(line)


def _plot(path: Path, benchmark: Benchmark, curves: Mapping[str, Sequence[Point]], error: float) -> None:
    figure, axes = plots.new_figure()
    least = 1e-3
    for i, method in enumerate(name for name in METHODS if name in curves):
        (samples, mean, width), color = np.array(curves[method]).T, f"C{i % 10}"
        style = "--" if METHODS[method].library else ":" if i >= 10 else "-"
        axes.plot(samples, np.maximum(mean, least), color=color, lw=1.6, ls=style, label=method)
        low, high = np.maximum(mean - width, least), np.maximum(mean + width, least)
        axes.fill_between(samples, low, high, color=color, alpha=0.12, lw=0)
    if error:
        axes.axhspan(least, error, color="0.5", alpha=0.15, lw=0, label="the surrogate's error")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=least)
    axes.set_xlabel("samples")
    axes.set_ylabel("regret to the best known network (%)")
    axes.set_title(benchmark.describe(), loc="left", fontsize=10)
    axes.legend(fontsize=7)
    plots.save(figure, path)


# ---- one run


def recorded(job: Job) -> dict[str, Any]:
    """The run, from its file if it was done before."""
    run = read_json(job.file)
    if run is None:
        benchmark = search_benchmarks.get(job.benchmark, job.path)
        run = _run(METHODS[job.method].start(benchmark, job.seed), job.samples, 2 * benchmark.reward.target_ms)
        write_json(job.file, run)
    return run


def _run(steps: Iterable[Step], samples: int, reference: float) -> dict[str, Any]:
    """What so many of the steps come to, at some numbers of samples.

    Args:
        reference: the cost of the hypervolume's corner.
    """
    marks = {*np.geomspace(8, 8000, 60).astype(int).tolist(), *BUDGETS}
    run: dict[str, dict[str, float]] = {"best": {}, "hypervolume": {}, "median_cost": {}, "seconds": {}}
    started = time.perf_counter()
    done: list[Step] = []
    for n, step in enumerate(islice(steps, samples), 1):
        done.append(step)
        if n not in marks:
            continue
        run["best"][str(n)] = max(done, key=lambda step: step.reward).true
        if n in BUDGETS:
            top1, cost = np.array([(step.top1, step.cost) for step in done]).T
            run["hypervolume"][str(n)] = pareto.hypervolume(top1, cost, reference_ms=reference)
            run["median_cost"][str(n)] = float(np.median(cost[-max(1, n // 10) :]))
            run["seconds"][str(n)] = round(time.perf_counter() - started, 3)
    return run


def _best(benchmark: Benchmark) -> tuple[float, float]:
    """The best known reward, and the surrogate's error in percent of it; the point is recorded."""
    file = RUNS / f"best_point-{benchmark.name}.json"
    if (known := read_json(file)) is None:
        known = search_benchmarks.best_known(benchmark).tolist()
        write_json(file, known)
    point = np.array(known)
    return float(benchmark.ask(point[None], 0).true[0]), benchmark.error_percent(point)


if __name__ == "__main__":
    options.run(main)
