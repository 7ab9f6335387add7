"""Which controller finds the best network, how soon? `python -m experiments.search_quality`

On the accel_nasbench space, whose ImageNet accuracies are known (nas.evaluators.surrogate), with latencies of the
pixel1 table: every controller of ours, and what one would pick instead from Optuna (TPE; NSGA-II on the reward, and on
accuracy and latency as two objectives). Benchmarks:

    soft        ACC x (LAT/51 ms)^-0.07, MobileNetV3-Large's place
    small       ACC x (LAT/30 ms)^-0.15, a small network
    absolute    ACC - 0.2 x |LAT/51 ms - 1|, TuNAS's reward
    noisy       soft, but every evaluation is off at random by 0.5 points (deviation): what short trainings give

`bayesian` uses that latencies are known before a network is evaluated; the others, Optuna's too, are told rewards only
(NSGA-II on two objectives: accuracies and latencies).

    python -m experiments.search_quality [benchmarks=soft,small,absolute,noisy] [methods=...] [seeds=20] [long_seeds=5]

All seeds take 1,000 samples, the first `long_seeds` go on to 8,000.

Regret is how far the true reward of the network that a method would return (the best by what it saw) is below that of
the best known network, in percent. The best known network is the best of 200 local searches that change one choice or
two at a time. TPE's time grows with the square of the samples: it stops at 1,000. A run is recorded in
runs/search_quality/ when it is done; the same command continues. Prints a table;
search_quality_<benchmark>.csv and .png go to experiments/results.
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from rich.table import Table

import latency_luts
from experiments import options, provenance, tables
from nas import controllers, pareto
from nas.evaluators.surrogate import Surrogate
from nas.report import plots
from nas.reward import Reward
from nas_runtime.console import new_console
from nas_runtime.files import read_json, write_json
from search_spaces import spaces

RUNS = Path("runs/search_quality")
BUDGETS = (42, 100, 250, 1000, 8000)
BATCH = 8
OURS = ("bayesian", "evolution", "rnn_ppo", "reinforce", "random")
OTHERS = {"tpe": 1000, "nsga2": 8000, "nsga2 (two objectives)": 8000}  # with their largest budgets
BENCHMARKS = {
    "soft": (Reward(name="soft", target_ms=51, w=-0.07), 0.0),
    "small": (Reward(name="soft", target_ms=30, w=-0.15), 0.0),
    "absolute": (Reward(name="absolute", target_ms=51, beta=-0.2), 0.0),
    "noisy": (Reward(name="soft", target_ms=51, w=-0.07), 0.005),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a benchmark answers: for points (n, C) their top-1 as seen, their true reward and their latency (n,)."""

    name: str
    rng_seed: int

    def __call__(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        reward, noise = BENCHMARKS[self.name]
        top1, latency_ms = _known(indices)
        draws = [np.random.default_rng([self.rng_seed, *row]).standard_normal() for row in indices] if noise else 0.0
        seen = top1 + noise * np.array(draws)  # a network always has the same answer, whoever asks
        true = np.array([reward(a, ms) for a, ms in zip(top1, latency_ms, strict=True)])
        return seen, true, latency_ms


def main() -> None:
    every = {"benchmarks": tuple(BENCHMARKS), "methods": (*OURS, *OTHERS)}
    given = options.read({**every, "seeds": 20, "long_seeds": 5}, every)
    methods = given["methods"]
    if set(methods) & set(OTHERS) and find_spec("optuna") is None:
        sys.exit("error: methods tpe and nsga2 need Optuna: pip install optuna; or leave them out of methods=")
    todo = [
        (benchmark, method, seed, min(8000 if seed < given["long_seeds"] else 1000, OTHERS.get(method, 8000)))
        for seed in range(given["seeds"])
        for benchmark in given["benchmarks"]
        for method in methods
    ]
    provenance.note(RUNS)
    with ProcessPoolExecutor() as pool:
        runs = [pool.submit(_recorded, *item) for item in todo]
        for i, run in enumerate(as_completed(runs), 1):
            run.result()
            if i % 50 == 0:
                print(f"{i} of {len(runs)} runs", flush=True)
    seeds = f"0 to {given['seeds'] - 1}, of these {given['long_seeds']} with 8,000 samples"
    origin = provenance.of(seeds, packages=("torch", "optuna"), runs=(RUNS,))
    for benchmark in given["benchmarks"]:
        best = _best_known(benchmark)
        rows, curves = [], {}
        for method in methods:
            found = [_recorded(*item) for item in todo if item[:2] == (benchmark, method)]
            curves[method] = {
                int(n): np.array([100 * (1 - run["best"][n] / best) for run in found if n in run["best"]])
                for n in found[0]["best"]
            }
            for budget in BUDGETS:
                if str(budget) in found[0]["best"]:
                    own = [run for run in found if str(budget) in run["best"]]
                    rows.append(_row(method, budget, curves[method][budget], own))
        _plot(tables.RESULTS / f"search_quality_{benchmark}.png", benchmark, curves)
        _print(benchmark, best, rows)
        tables.write(rows, tables.RESULTS / f"search_quality_{benchmark}.csv", origin=origin)


def _row(method: str, budget: int, regret: np.ndarray, runs: list[dict]) -> dict:
    return {
        "method": method,
        "samples": budget,
        "regret %": f"{regret.mean():.4f}",
        "+- (95 %)": f"{_half_width(regret):.4f}",
        "worst": f"{regret.max():.4f}",
        "hypervolume": f"{np.mean([run['hypervolume'][str(budget)] for run in runs]):.5f}",
        "median ms, last tenth": f"{np.mean([run['median_ms'][str(budget)] for run in runs]):.1f}",
        "s": f"{np.mean([run['seconds'][str(budget)] for run in runs]):.2f}",
        "seeds": len(regret),
    }


def _half_width(regret: np.ndarray) -> float:
    """Of the 95 % confidence interval of the mean."""
    return float(1.96 * regret.std(ddof=1) / np.sqrt(len(regret))) if len(regret) > 1 else 0.0


def _print(benchmark: str, best: float, rows: list[dict]) -> None:
    title = f"{benchmark}: {BENCHMARKS[benchmark][0].describe()}; best known reward {best:.5f}; * best at this budget"
    table = Table(title=title, title_justify="left")
    columns = list(rows[0])
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for budget in BUDGETS:
        own = [row for row in rows if row["samples"] == budget]
        least = min((float(row["regret %"]) for row in own), default=0)
        for row in sorted(own, key=lambda row: float(row["regret %"])):
            mark = "*" if float(row["regret %"]) == least else ""
            table.add_row(*(f"{mark}{row[c]}" if c == "regret %" else str(row[c]) for c in columns))
        table.add_section()
    new_console(width=140).print(table)


def _plot(path: Path, benchmark: str, curves: dict[str, dict[int, np.ndarray]]) -> None:
    figure, axes = plots.new_figure()
    for i, (method, curve) in enumerate(curves.items()):
        samples = np.array(list(curve))
        mean = np.array([max(regret.mean(), 1e-4) for regret in curve.values()])
        error = np.array([_half_width(regret) for regret in curve.values()])
        color = f"C{i}"
        axes.plot(samples, mean, color=color, lw=1.6, ls="-" if method in OURS else "--", label=method)
        axes.fill_between(samples, np.maximum(mean - error, 1e-4), mean + error, color=color, alpha=0.15, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("samples")
    axes.set_ylabel("regret to the best known network (%)")
    axes.set_title(f"{benchmark}: {BENCHMARKS[benchmark][0].describe()}", loc="left", fontsize=10)
    axes.legend(fontsize=8)
    plots.save(figure, path)


# ---- one run


def _recorded(benchmark: str, method: str, seed: int, samples: int) -> dict:
    """The run, from its file if it was done before."""
    path = RUNS / f"{benchmark}-{method.split()[0]}{'2' * ('two' in method)}-{samples}-{seed}.json"
    run = read_json(path)
    if run is None:
        run = _run(benchmark, method, seed, samples)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, run)
    return run


def _run(benchmark: str, method: str, seed: int, samples: int) -> dict:
    reward = BENCHMARKS[benchmark][0]
    ask = Asked(name=benchmark, rng_seed=seed)
    seen: list[float] = []  # reward as seen, and the true one, of every sample
    true: list[float] = []
    points: list[tuple[float, float]] = []
    run: dict[str, dict[str, float]] = {"best": {}, "hypervolume": {}, "median_ms": {}, "seconds": {}}
    marks = [n for n in sorted({*np.geomspace(8, 8000, 60).astype(int).tolist(), *BUDGETS}) if n <= samples]
    steps = _ours(method, seed, ask, reward) if method in OURS else _optuna(method, seed, ask, reward)
    started = time.perf_counter()
    best_seen = best_true = -np.inf
    for seen_reward, true_reward, top1, ms in steps:
        seen.append(seen_reward)
        true.append(true_reward)
        points.append((top1, ms))
        if seen_reward > best_seen:
            best_seen, best_true = seen_reward, true_reward
        n = len(seen)
        if marks and n == marks[0]:
            name = str(marks.pop(0))
            run["best"][name] = float(best_true)
            if n in BUDGETS:
                top1s, latencies_ms = np.array(points).T
                run["hypervolume"][name] = pareto.hypervolume(top1s, latencies_ms, reference_ms=2 * reward.target_ms)
                run["median_ms"][name] = float(np.median(latencies_ms[-max(1, n // 10) :]))
                run["seconds"][name] = round(time.perf_counter() - started, 3)
        if n == samples:
            break
    return run


Step = tuple[float, float, float, float]  # reward as seen, true reward, top-1 as seen, ms


def _ours(method: str, seed: int, ask: Asked, reward: Reward) -> Iterator[Step]:
    import torch

    torch.set_num_threads(1)
    controller = controllers.make(method, _space(), rng_seed=seed)
    controllers.inform(controller, partial(_model()[0].latency_ms_batch, _space()), reward)
    while True:
        indices = controller.propose(BATCH)
        top1, true, latency_ms = ask(indices)
        rewards = np.array([reward(a, ms) for a, ms in zip(top1, latency_ms, strict=True)])
        controller.observe(indices, rewards)
        yield from zip(rewards, true, top1, latency_ms, strict=True)


def _optuna(method: str, seed: int, ask: Asked, reward: Reward) -> Iterator[Step]:
    import optuna  # type: ignore[import-not-found]  # a yardstick, not a dependency

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers: dict[str, Callable] = {"tpe": optuna.samplers.TPESampler, "nsga2": optuna.samplers.NSGAIISampler}
    two = method.endswith("(two objectives)")
    sampler = samplers[method.split()[0]](seed=seed)
    both: list[Literal["maximize", "minimize"]] = ["maximize", "minimize"]
    study = optuna.create_study(directions=both[: 1 + two], sampler=sampler)
    while True:
        trial = study.ask()
        point = [trial.suggest_categorical(c.name, list(range(len(c.options)))) for c in _space().choices]
        (top1,), (true,), (ms,) = ask(np.array([point]))
        value = reward(top1, ms)
        study.tell(trial, [top1, ms] if two else value)
        yield value, true, top1, ms


# ---- the benchmark


@cache
def _space():
    return spaces.get("accel_nasbench")


@cache
def _model():
    return latency_luts.load("pixel1"), Surrogate.load()


def _known(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    latency, surrogate = _model()
    return surrogate.top1(indices), latency.latency_ms_batch(_space(), indices)


def _best_known(benchmark: str) -> float:
    """The best reward of 200 local searches, recorded."""
    path = RUNS / f"best-{benchmark}.json"
    if (known := read_json(path)) is None:
        rng = np.random.default_rng(0)
        known = max(_local_search(benchmark, start) for start in _space().sample(rng, 200))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    return float(known)


def _local_search(benchmark: str, point: np.ndarray) -> float:
    def rewards(points: np.ndarray) -> np.ndarray:
        return Asked(name=benchmark, rng_seed=0)(points)[1]

    best = float(rewards(point[None])[0])
    for changes in (1, 2, 1, 2):
        while True:
            near = _neighbours(point, changes)
            values = rewards(near)
            if values.max() <= best:
                break
            best, point = float(values.max()), near[values.argmax()]
    return best


def _neighbours(point: np.ndarray, changes: int) -> np.ndarray:
    """(n, C) all points that differ in exactly so many choices."""
    sizes = [len(choice.options) for choice in _space().choices]
    single = [((c, option),) for c, size in enumerate(sizes) for option in range(size) if option != point[c]]
    both = [(*a, *b) for a in single for b in single if a[0][0] < b[0][0]]
    near = np.repeat(point[None], len(single if changes == 1 else both), axis=0)
    for row, change in zip(near, single if changes == 1 else both, strict=True):
        for c, option in change:
            row[c] = option
    return near


if __name__ == "__main__":
    options.run(main)
