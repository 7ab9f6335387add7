"""Which way of evaluating finds the better network in the same time? `python -m experiments.equal_time`

Searches the default space, or another, for 15.8 ms on a Pixel 1 with the reward ACC - 0.2 x |LAT/TAR - 1|, which lands
on the target, in several ways for 5 and 15 minutes of 2 cores (10 and 30 of one core, on which each of them runs here):

    rnn_ppo         MnasNet's controller with a model, the default: each sample is trained for 4 epochs of 5,000 images
    random          the same with random networks
    bayesian_4      the same with a Gaussian process, which knows the latencies beforehand
    random_short    each sample is trained for 2 epochs of 2,500 images only; the best 4 for 4 of 5,000
    bayesian        as random_short, with a Gaussian process
    rnn_ppo_short   as random_short, with MnasNet's controller
    shared          one training for all networks, then samples by RNN and PPO; the best 4 are trained on for 4 epochs
    joint           as shared, weights and policy trained together

The network that each returns is then trained for long with `final_seeds` seeds that no search has, and measured on the
test images; beside them stand published networks after the same training. With shared weights a search returns weights,
too, and the training begins with them; it is done from scratch as well. Against those weights' longer training stands
MobileNetV3-Small, trained once for as many images as they and the network together.

    python -m experiments.equal_time [methods=rnn_ppo,...] [minutes=5,15] [seeds=2] [final_seeds=2]
                                     [space=mobilenet_v3] [dataset=cifar10 path=FOLDER]

Searches and trainings are recorded in runs/equal_time/; the same command continues. Time is what evaluations, trainings
of shared weights and finalists took of the processor, so that other programs take none of it; the controllers' own is
left out (`experiments.search_quality` has it). Prints a table, with all searches of these minutes that are recorded;
equal_time_<dataset>_<minutes>min.csv and .png (with the space in their names, if it is not the default one) go to
experiments/results.
"""

from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass

import numpy as np

from experiments import options, provenance, tables
from experiments.equal_time_searches import (
    METHODS,
    ORDINARY,
    REFERENCES,
    REWARD,
    RUNS,
    TARGET_MS,
    Job,
    Outcome,
    latency,
    searched,
    shared_epochs,
    trainer_for,
    with_shared_weights,
)
from experiments.proxy_validation import WIDTHS, Where, pool
from nas.report import plots
from nas_runtime.run import Run
from search_spaces import text
from search_spaces.arch import Arch

DEFAULTS = {
    "methods": ("rnn_ppo", "random", "bayesian_4", "random_short", "bayesian", "rnn_ppo_short", "shared", "joint"),
    "minutes": (5, 15),
    "seeds": 2,
    "final_seeds": 2,
    "space": "mnasnet",
    "dataset": "fashion_mnist_mini",
    "path": "",
}
_MOST_SEEDS = 20  # of recorded searches
_FINAL_SEED = 2000  # and on: samples are trained with the seeds 0, 1, ..., finalists with 1000, 1001, ...
FINAL = {"fashion_mnist_mini": (30, 5000), "cifar10": (10, 20000)}  # epochs and images of the last training
CONTROL = "mobilenet_v3_small"  # which is also trained for as long as shared weights


def main() -> None:
    given = options.read(DEFAULTS, {"methods": METHODS, "dataset": FINAL, "space": WIDTHS})
    budgets = sorted(given["minutes"])
    where = Where(**{name: given[name] for name in ("dataset", "path", "space")})
    jobs = [
        Job(where=where, method=method, seed=seed, minutes=minutes)
        for minutes in budgets
        for seed in range(given["seeds"])
        for method in given["methods"]
    ]
    others = (
        Job(where=where, method=method, seed=seed, minutes=minutes)
        for minutes in budgets
        for method in METHODS
        for seed in range(_MOST_SEEDS)
    )
    jobs += [job for job in others if job not in jobs and job.result.exists()]
    with provenance.recording(RUNS) as run:
        outcomes = _searched(jobs, where)
        starts = [Start(arch=outcome.arch) for outcome in outcomes.values()]
        starts += [Start(arch=outcome.arch, weights=job) for job, outcome in outcomes.items() if job.shares]
        starts += [Start(arch=arch) for arch in REFERENCES.values()]
        starts += _longest(list(outcomes), where)
        test_top1 = _finally_trained(run, starts, given["final_seeds"], where)
    last = [str(_FINAL_SEED + n) for n in range(given["final_seeds"])]
    seeds = f"searches {', '.join(map(str, sorted({job.seed for job in outcomes})))}; last trainings {', '.join(last)}"
    _show(where, outcomes, test_top1, provenance.of(seeds, runs=(RUNS,)))


def _searched(jobs: Sequence[Job], where: Where) -> dict[Job, Outcome]:
    """What each search comes to, by method and seed."""
    outcomes: dict[Job, Outcome] = {}
    with pool(where) as processes:
        for minutes in sorted({job.minutes for job in jobs}):  # the longer ones go on from the shorter
            searches = {processes.submit(searched, job): job for job in jobs if job.minutes == minutes}
            for search in as_completed(searches):
                job, outcome = searches[search], search.result()
                outcomes[job] = outcome
                print(f"{job.folder.name}, {minutes} minutes: {outcome.samples} samples", flush=True)
    return {job: outcomes[job] for job in sorted(outcomes, key=lambda job: (list(METHODS).index(job.method), job.seed))}


@dataclass(frozen=True, kw_only=True)
class Start:
    """A last training.

    Attributes:
        weights: of this search, which it begins with; None: from scratch.
        epochs: instead of those of `FINAL`.
    """

    arch: Arch
    weights: Job | None = None
    epochs: int | None = None

    def key(self, seed: int) -> tuple[str, str | None, int | None, int]:
        """What tells its records apart."""
        return text.to_json(self.arch), self.weights.folder.name if self.weights else None, self.epochs, seed


def _longest(jobs: Sequence[Job], where: Where) -> list[Start]:
    """MobileNetV3-Small, trained for as many images as the longest of the shared weights and what inherits them."""
    most = max((shared_epochs(job) for job in jobs if job.shares), default=0)
    epochs, images = FINAL[where.dataset]
    return [Start(arch=REFERENCES[CONTROL], epochs=epochs + round(most * ORDINARY[1] / images))] if most else []


def _finally_trained(run: Run, starts: Sequence[Start], seeds: int, where: Where) -> dict[Start, np.ndarray]:
    """For each network its top-1 on the test images after a long training, by seed; but one seed for the longest."""
    records = run.records(f"{where.dataset}-final.jsonl", "equal_time")
    known = {(r["arch"], r.get("weights"), r.get("epochs"), r["seed"]): r["test_top1"] for r in records.records}
    keys = {start: [start.key(_FINAL_SEED + n) for n in range(1 if start.epochs else seeds)] for start in starts}
    with pool(where) as processes:
        todo = {key: start for start, own in keys.items() for key in own if key not in known}
        trainings = {processes.submit(_final, start, key[-1], where): key for key, start in todo.items()}
        for training in as_completed(trainings):
            arch, weights, epochs, seed = key = trainings[training]
            known[key] = test_top1 = training.result()
            records.append({"arch": arch, "weights": weights, "epochs": epochs, "seed": seed, "test_top1": test_top1})
    return {start: np.array([known[key] for key in own]) for start, own in keys.items()}


def _final(start: Start, seed: int, where: Where) -> float:
    epochs, images = FINAL[where.dataset]
    state = None
    if start.weights:
        state = with_shared_weights(start.weights, trainer_for(where, *ORDINARY))[1].inherited(start.arch)
    trainer = trainer_for(where, start.epochs or epochs, images)
    return trainer.train_fully(start.arch, epochs=trainer.recipe.epochs, threads=1, rng_seed=seed, state=state)[2]


def _show(
    where: Where, outcomes: dict[Job, Outcome], test_top1: dict[Start, np.ndarray], origin: dict[str, str]
) -> None:
    rows, points = [], []
    for minutes in sorted({job.minutes for job in outcomes}):
        for method in dict.fromkeys(job.method for job in outcomes):
            own = {job: outcome for job, outcome in outcomes.items() if (job.method, job.minutes) == (method, minutes)}
            kinds: dict[str, list[Start]] = {method: [Start(arch=outcome.arch) for outcome in own.values()]}
            if METHODS[method].training is None:
                kinds = {method: [Start(arch=outcome.arch, weights=job) for job, outcome in own.items()]} | {
                    f"{method}, from scratch": kinds[method]
                }
            for name, starts in kinds.items():
                top1 = np.array([test_top1[start].mean() for start in starts])
                rows.append(_row(name, minutes, list(own.values()), top1))
                points.append((f"{name}, {minutes} min", [outcome.latency_ms for outcome in own.values()], top1))
    published = {name: Start(arch=arch) for name, arch in REFERENCES.items()}
    published |= {f"{CONTROL}, {start.epochs} epochs": start for start in _longest(list(outcomes), where)}
    for name, start in published.items():
        ms, top1 = latency().latency_ms(start.arch), test_top1[start]
        cells = {"search": name, "ms": f"{ms:.1f}", "mean": f"{100 * top1.mean():.1f}"}
        cells["reward"] = f"{REWARD(top1.mean(), ms):.4f}"
        cells["test top-1 %"] = ", ".join(f"{100 * value:.1f}" for value in top1)
        rows.append({key: cells.get(key, "") for key in rows[0]})
    epochs, images = FINAL[where.dataset]
    what = f"{where.dataset}: networks of {where.space} for {TARGET_MS} ms on a Pixel 1"
    title = f"{what}, after {epochs} epochs of {images} images"
    minutes = "_".join(str(m) for m in sorted({job.minutes for job in outcomes}))
    path = tables.RESULTS / f"equal_time_{where}_{minutes}min.csv"
    tables.show(title, rows, path, origin=origin, width=140)
    figure, axes = plots.new_figure()
    for i, (name, ms, top1) in enumerate(points):
        axes.plot(ms, 100 * top1, "o", color=f"C{i % 10}", label=name)
    for name, start in published.items():
        ms, top1 = latency().latency_ms(start.arch), 100 * test_top1[start].mean()
        axes.plot([ms], [top1], "s", color=plots.INK)
        axes.annotate(name, (ms, top1), xytext=(5, -3), textcoords="offset points", fontsize=7)
    axes.margins(x=0.2)
    axes.axvline(TARGET_MS, color=plots.INK, lw=0.8, ls=":")
    axes.set_xlabel("latency on pixel1 (calibrated), ms")
    axes.set_ylabel("top-1 on the test images, %")
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend(fontsize=7)
    plots.save(figure, path.with_suffix(".png"))


def _row(name: str, minutes: int, own: Sequence[Outcome], top1: np.ndarray) -> dict[str, str]:
    return {
        "search": name,
        "minutes of 2 cores": str(minutes),
        "samples": f"{np.mean([outcome.samples for outcome in own]):.0f}",
        "core seconds": f"{np.mean([outcome.seconds for outcome in own]):.0f}",
        "ms": ", ".join(f"{outcome.latency_ms:.1f}" for outcome in own),
        "test top-1 %": ", ".join(f"{100 * value:.1f}" for value in top1),
        "mean": f"{100 * top1.mean():.1f}",
        "reward": f"{np.mean([REWARD(t, o.latency_ms) for t, o in zip(top1, own, strict=True)]):.4f}",
    }


if __name__ == "__main__":
    options.run(main)
