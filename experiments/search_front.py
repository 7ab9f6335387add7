"""Which method finds good networks for several targets, how soon? `python -m experiments.search_front`

In the space accel_nasbench with the latencies of the pixel1 table: the most accurate network within each of five
latencies. Accuracies are those of `nas.surrogate`, which stand for short trainings on ImageNet.

    targets      `targets=` of a search: rnn_ppo for each target, and all learn from every network
    front        `front=true` of a search: the same for eight targets of its own, over all latencies of the space
    apart        a search with rnn_ppo for each target, which shares the samples evenly and knows its own only
    gp_two, tpe_two, nsga2_two  Optuna's GPSampler, TPESampler and NSGAIISampler with two objectives, accuracy and
                 latency; that latencies are known beforehand they cannot be told
    random

The settings of the model that ours share were chosen in this space, with other targets and one at a time
(`experiments.search_benchmarks`). Optuna's samplers look for the whole front, of which five points count here.

    python -m experiments.search_front [methods=...] [seeds=10] [slow_seeds=5] [first_seed=100] [workers=2]

Ours propose batches of 10, Optuna's learn after every sample. `regret %` is how far the most accurate network within a
target is below the best known one in percent, the mean of the targets; `worst %` is that of the worst target.
`hypervolume` is the share of the rectangle up to 100 ms and a top-1 of 1 that the networks dominate. +- is half the
95 % interval of the mean, by Student's t. A run is recorded in runs/search_front/ when it is done; the same command
goes on. Writes experiments/results/search_front.csv.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import latency_luts
from experiments import options, provenance, search_benchmarks, tables
from experiments.intervals import half_width
from experiments.search_benchmarks import Benchmark
from experiments.search_methods import Step, has_optuna, optuna_steps, steps_of
from experiments.search_quality import run_all
from nas import controllers, pareto
from nas.controllers import Controller
from nas.controllers.several import Several
from nas.goals import Nearest
from nas.job import by_target
from nas.plan import spread
from nas.reach import reach
from nas.reward import Reward
from nas.seeds import controller_seed
from nas_runtime.files import read_json, write_json

RUNS = Path("runs/search_front")
REWARDS = tuple(Reward(name="hard", target_ms=ms) for ms in (24.0, 32.0, 40.0, 56.0, 80.0))
BUDGETS = (50, 100, 250)
REFERENCE_MS = 100.0
_BATCH = 10


@dataclass(frozen=True, kw_only=True)
class Method:
    """One of the methods: (benchmark, rng_seed) to its endless samples, and how many it is given at most."""

    start: Callable[[Benchmark, int], Iterator[Step]]
    most: int = BUDGETS[-1]
    slow: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run of a method."""

    method: str
    seed: int

    @property
    def file(self) -> Path:
        return RUNS / f"{self.method}-{self.seed}.json"


def _made(benchmark: Benchmark, rng_seed: int) -> Controller:
    import torch

    torch.set_num_threads(1)
    return controllers.make("rnn_ppo", benchmark.space, rng_seed=rng_seed)


def _targets(benchmark: Benchmark, rng_seed: int) -> Iterator[Step]:
    return _several(benchmark, REWARDS, rng_seed)


def _front(benchmark: Benchmark, rng_seed: int) -> Iterator[Step]:
    low_ms, high_ms = reach(benchmark.space, latency_luts.load("pixel1"))
    return _several(benchmark, by_target(REWARDS[0], spread(low_ms, high_ms)), rng_seed)


def _several(benchmark: Benchmark, rewards: Sequence[Reward], rng_seed: int) -> Iterator[Step]:
    controller = Several(benchmark.space, partial(_made, benchmark), len(rewards), rng_seed=rng_seed)
    controllers.inform(controller, benchmark.cost, Nearest(rewards))
    while True:
        indices = controller.propose(_BATCH)
        steps = steps_of(benchmark, indices, rng_seed)
        controller.observe(indices, np.array([[reward(s.top1, s.cost) for reward in rewards] for s in steps]))
        yield from steps


def _apart(benchmark: Benchmark, rng_seed: int) -> Iterator[Step]:
    made = [_made(benchmark, controller_seed(rng_seed, i)) for i in range(len(REWARDS))]
    for controller, reward in zip(made, REWARDS, strict=True):
        controllers.inform(controller, benchmark.cost, reward)
    while True:
        for controller, reward in zip(made, REWARDS, strict=True):
            indices = controller.propose(_BATCH // len(REWARDS))
            steps = steps_of(benchmark, indices, rng_seed)
            controller.observe(indices, np.array([reward(step.top1, step.cost) for step in steps]))
            yield from steps


def _random(benchmark: Benchmark, rng_seed: int) -> Iterator[Step]:
    rng = np.random.default_rng(rng_seed)
    while True:
        yield from steps_of(benchmark, benchmark.space.sample(rng, _BATCH), rng_seed)


METHODS = {
    "targets": Method(start=_targets),
    "front": Method(start=_front),
    "apart": Method(start=_apart),
    "gp_two": Method(start=partial(optuna_steps, "GPSampler", told="two"), most=100, slow=True),
    "tpe_two": Method(start=partial(optuna_steps, "TPESampler", told="two")),
    "nsga2_two": Method(start=partial(optuna_steps, "NSGAIISampler", told="two")),
    "random": Method(start=_random),
}


def main() -> None:
    numbers = {"seeds": 10, "slow_seeds": 5, "first_seed": 100, "workers": 2}
    given = options.read({"methods": tuple(METHODS), **numbers}, {"methods": tuple(METHODS)})
    if min(given["seeds"], given["slow_seeds"]) < 2:
        raise ValueError("seeds= and slow_seeds= must be at least 2, or there is no interval")
    if any(name.endswith("_two") for name in given["methods"]) and not has_optuna():
        sys.exit(
            "error: Optuna 5 is not installed: pip install 'optuna>=5' scipy; or methods=targets,front,apart,random"
        )
    jobs = [
        Job(method=name, seed=given["first_seed"] + i)
        for name in given["methods"]
        for i in range(given["slow_seeds"] if METHODS[name].slow else given["seeds"])
    ]
    with provenance.recording(RUNS):
        best = _best()
        run_all(recorded, jobs, given["workers"])
        rows = [
            _row(name, n, [recorded(job) for job in jobs if job.method == name], best)
            for n in BUDGETS
            for name in given["methods"]
            if n <= METHODS[name].most
        ]
        seeds = f"{given['first_seed']} to {given['first_seed'] + given['seeds'] - 1}"
        if any(METHODS[name].slow for name in given["methods"]):
            seeds += f", {given['slow_seeds']} of them for gp_two"
        origin = provenance.of(seeds, packages=("torch", "numpy", "optuna", "scipy"), runs=(RUNS,))
    targets = ", ".join(f"{reward.target_ms:g}" for reward in REWARDS)
    tables.show(f"Within {targets} ms on pixel1", rows, tables.RESULTS / "search_front.csv", origin=origin)


def _benchmark() -> Benchmark:
    return replace(search_benchmarks.get("soft"), name="front", reward=Nearest(REWARDS))


def _best() -> list[float]:
    """The best known top-1 within each target, by local searches; recorded."""
    file = RUNS / "best.json"
    if (known := read_json(file)) is None:
        each = [replace(_benchmark(), reward=reward) for reward in REWARDS]
        points = [search_benchmarks.best_known(benchmark) for benchmark in each]
        known = [float(b.ask(point[None], 0).true[0]) for b, point in zip(each, points, strict=True)]
        write_json(file, known)
    return known


def recorded(job: Job) -> dict[str, Any]:
    """The run, from its file if it was done before: by the number of samples, the best top-1 within each target, the
    hypervolume, and the seconds."""
    if (run := read_json(job.file)) is None:
        method, run, started = METHODS[job.method], {}, time.perf_counter()
        done: list[Step] = []
        for n, step in enumerate(islice(method.start(_benchmark(), job.seed), method.most), 1):
            done.append(step)
            if n in BUDGETS:
                seconds = time.perf_counter() - started
                top1, ms = np.array([(step.top1, step.cost) for step in done]).T
                run[str(n)] = {
                    "within": [max([0.0, *top1[ms <= reward.target_ms]]) for reward in REWARDS],
                    "hypervolume": pareto.hypervolume(top1, ms, reference_ms=REFERENCE_MS),
                    "seconds": round(seconds, 3),
                }
        write_json(job.file, run)
    return run


def _row(method: str, n: int, runs: list[dict[str, Any]], best: list[float]) -> dict[str, str]:
    own = [run[str(n)] for run in runs]
    regrets = 100 * (1 - np.array([run["within"] for run in own]) / best)
    volumes = np.array([run["hypervolume"] for run in own])
    return {
        "samples": str(n),
        "method": method,
        "regret %": f"{regrets.mean():.3f}",
        "+-": f"{half_width(regrets.mean(axis=1)):.3f}",
        "worst %": f"{regrets.max(axis=1).mean():.3f}",
        "hypervolume": f"{volumes.mean():.4f}",
        "its +-": f"{half_width(volumes):.4f}",
        "s": f"{np.median([run['seconds'] for run in own]):.1f}",
        "seeds": str(len(own)),
    }


if __name__ == "__main__":
    options.run(main)
