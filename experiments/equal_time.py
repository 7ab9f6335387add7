"""Which way of evaluating finds the better network in the same time? `python -m experiments.equal_time`

Searches the default space, or another, for 15.8 ms on a Pixel 1 with the reward ACC - 0.2 x |LAT/TAR - 1|, which lands
on the target, in several ways for 5 and 15 minutes of 2 cores (10 and 30 of one core, on which each of them runs here):

    rnn_ppo         MnasNet's way: each sample is trained for 4 epochs of 5,000 images
    random          the same with random networks
    bayesian_4      the same with a Gaussian process, which knows the latencies beforehand
    random_short    each sample is trained for 2 epochs of 2,500 images only; the best 4 for 4 of 5,000
    bayesian        as random_short, with a Gaussian process
    shared          one training for all networks, then samples by RNN and PPO; the best 4 are trained on for 4 epochs
    joint           as shared, weights and policy trained together

The network that each returns is then trained for long with `final_seeds` seeds, and measured on the test images; beside
them stand published networks after the same training. With shared weights a search returns weights, too, and the
training begins with them; it is done from scratch as well. Against those weights' longer training stands
MobileNetV3-Small, trained once for as many images as they and the network together.

    python -m experiments.equal_time [methods=rnn_ppo,...] [minutes=5,15] [seeds=2] [final_seeds=2]
                                     [space=mobilenet_v3] [dataset=cifar10 path=FOLDER]

Searches and trainings are recorded in runs/equal_time/; the same command continues. Time is what evaluations, trainings
of shared weights and finalists took of the processor, so that other programs take none of it; the controllers' own is
left out (`experiments.search_quality` has it). Prints a table, with all searches of these minutes that are recorded;
equal_time_<dataset>_<minutes>min.csv and .png (with the space in their names, if it is not the default one) go to
experiments/results.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from rich.console import Console

import latency_luts
from experiments import options, tables
from experiments.proxy_validation import WIDTHS, Where
from experiments.shared_weights_ranking import VARIANTS
from nas import controllers, finish, plan
from nas.evaluators.proxy_training import ProxyTraining
from nas.evaluators.shared_weights import SharedWeights
from nas.executor import Evaluate, SerialExecutor
from nas.journal import Journal
from nas.loop import best, search
from nas.records import Records
from nas.report import plots
from nas.reward import Reward
from nas.run_dir import read_json, write_json
from nas.supernet import prepare
from nas.training import sources
from nas.training.datasets import Dataset
from nas.training.recipe import Recipe
from nas.trial import Evaluation, Trial
from search_spaces import text
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs/equal_time")
DEFAULTS = {
    "methods": ("rnn_ppo", "random", "bayesian_4", "random_short", "bayesian", "shared", "joint"),
    "minutes": (5, 15),
    "seeds": 2,
    "final_seeds": 2,
    "space": "mnasnet",
    "dataset": "fashion_mnist_mini",
    "path": "",
}
TARGET_MS = 15.8
REWARD = Reward(name="absolute", target_ms=TARGET_MS, beta=-0.2)
CORES = 2  # of the machine whose minutes are meant
_MOST_SEEDS = 20  # of recorded searches
REPEATS = 300  # samples in a row that cost nothing, since they were evaluated before: the policy has settled
FINALISTS = 4
BATCH = 6
ORDINARY = (4, 5000)  # epochs and images of the ordinary training, also of the finalists
FINAL = {"fashion_mnist_mini": (30, 5000), "cifar10": (10, 20000)}  # epochs and images of the last training
REFERENCES = {name: make() for name, make in plan.REFERENCES.items()}
CONTROL = "mobilenet_v3_small"  # which is also trained for as long as shared weights


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to search.

    Attributes:
        training: epochs and images of each sample; None with shared weights.
        finalists: so many of the best are trained in the ordinary way, and the best of those is returned.
    """

    controller: str
    training: tuple[int, int] | None = ORDINARY
    finalists: int = 0
    mode: str = "two_stage"  # of shared weights


METHODS = {
    "rnn_ppo": Method(controller="rnn_ppo"),
    "random": Method(controller="random"),
    "bayesian_4": Method(controller="bayesian"),
    "random_short": Method(controller="random", training=(2, 2500), finalists=FINALISTS),
    "bayesian": Method(controller="bayesian", training=(2, 2500), finalists=FINALISTS),
    "shared": Method(controller="rnn_ppo", training=None, finalists=FINALISTS),
    "joint": Method(controller="reinforce", training=None, finalists=FINALISTS, mode="joint"),
}
VARIANT = {"mnasnet": "phases", "mobilenet_v3": "random_fast"}  # of training shared weights, by the space
SHARED_EPOCHS_A_MINUTE = 9  # takes about 60 % of the time


@dataclass(frozen=True, kw_only=True)
class Job:
    """A search; those that share no weights go on from their shorter ones."""

    where: Where
    method: str
    seed: int
    minutes: int

    @property
    def shares(self) -> bool:
        """Whether it finds weights, too."""
        return METHODS[self.method].training is None

    @property
    def folder(self) -> Path:
        length = f"-{self.minutes}" if self.shares else ""
        return RUNS / f"{self.where}-{self.method}-{self.seed}{length}"

    @property
    def result(self) -> Path:
        return self.folder / f"found-{self.minutes}.json"


@dataclass(frozen=True, kw_only=True)
class Found:
    arch: Arch
    latency_ms: float
    samples: int
    seconds: float


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
    found: dict[Job, Found] = {}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for minutes in budgets:  # the longer ones go on from the shorter
            runs = {pool.submit(_searched, job): job for job in jobs if job.minutes == minutes}
            for run in as_completed(runs):
                found[runs[run]] = run.result()
                print(f"{runs[run].folder.name}, {minutes} minutes: {run.result().samples} samples", flush=True)
    found = {job: found[job] for job in sorted(found, key=lambda job: (list(METHODS).index(job.method), job.seed))}
    starts = [Start(arch=outcome.arch) for outcome in found.values()]
    starts += [Start(arch=outcome.arch, weights=job) for job, outcome in found.items() if job.shares]
    starts += [Start(arch=arch) for arch in REFERENCES.values()]
    starts += _longest(list(found), where)
    test_top1 = _finally_trained(starts, given["final_seeds"], where)
    _show(where, found, test_top1)


# ---- searches


class _TimeIsUpError(Exception):
    """The time is over."""


def _searched(job: Job) -> Found:
    method, space = METHODS[job.method], job.where.search_space
    known = read_json(job.result)
    if known is None:
        data = _data(job.where, ORDINARY[1])
        ordinary = ProxyTraining(data=data, recipe=Recipe(epochs=ORDINARY[0]))
        seconds, evaluate, train = 0.0, _trained_by_itself(job, method), ordinary.evaluate
        controller = controllers.make(method.controller, space, rng_seed=job.seed)
        if job.shares:
            seconds, shared, learned = _shared(job, ordinary)
            evaluate, train = partial(_timed, shared.evaluate), shared.trained_on
            controller = learned or controller
        left = 60 * CORES * job.minutes - seconds
        if method.finalists:
            left -= method.finalists * _seconds_of_a_finalist(job, ordinary)
        if left <= 0:
            raise ValueError(f"{job.folder}: the training took {seconds:.0f} s; lower SHARED_EPOCHS_A_MINUTE")
        trials = _trials_within(job, controller, space, evaluate, left)
        seconds += sum(trial.seconds for trial in trials)
        winner = best(trials)
        if method.finalists:
            winner, spent = _best_finalist(job, trials, method.finalists, partial(train, rng_seed=1000 + job.seed))
            seconds += spent
        known = {"sample": winner.sample, "samples": len(trials), "seconds": seconds, "indices": winner.indices}
        write_json(job.result, known)
    arch = space.decode(np.array(known["indices"]))
    latency_ms = _latency().latency_ms(arch)
    return Found(arch=arch, latency_ms=latency_ms, samples=known["samples"], seconds=known["seconds"])


def _trained_by_itself(job: Job, method: Method) -> Evaluate:
    epochs, images = method.training or ORDINARY
    trainer = ProxyTraining(data=_data(job.where, images), recipe=Recipe(epochs=epochs))
    return partial(_timed, partial(trainer.evaluate, rng_seed=job.seed))


def _timed(evaluate: Evaluate, arch: Arch) -> Evaluation:
    """An evaluation with the processor's seconds."""
    start = time.process_time()
    evaluation = evaluate(arch)
    assert isinstance(evaluation, Evaluation)
    return replace(evaluation, seconds=time.process_time() - start)


def _trials_within(
    job: Job, controller: controllers.Controller, space: SearchSpace, evaluate: Evaluate, seconds: float
) -> list[Trial]:
    """Samples until their evaluations have taken `seconds`, or nothing new has come for `REPEATS` of them."""
    trials: list[Trial] = []
    spent, repeats = 0.0, 0

    def on_trial(trial: Trial) -> None:
        nonlocal spent, repeats
        trials.append(trial)
        spent += trial.seconds
        repeats = 0 if trial.seconds else repeats + 1
        if spent > seconds or repeats == REPEATS:
            raise _TimeIsUpError

    try:
        search(
            space=space,
            controller=controller,
            evaluate=evaluate,
            latency_ms=_latency().latency_ms,
            latency_ms_batch=partial(_latency().latency_ms_batch, space),
            reward=REWARD,
            samples=100_000,
            batch=BATCH,
            journal=Journal(job.folder / "journal.jsonl", space.decode),
            on_trial=on_trial,
        )
    except _TimeIsUpError:
        trials.pop()  # which ended too late, or is a repeat, as those before it
        while trials and not trials[-1].seconds:
            trials.pop()
    return trials


def _seconds_of_a_finalist(job: Job, ordinary: ProxyTraining) -> float:
    """What one ordinary training takes on this machine: measured once, kept."""
    path = job.folder / "ordinary.json"
    record = read_json(path)
    if record is None:
        evaluate = partial(ordinary.evaluate, rng_seed=0)
        record = {"seconds": _timed(evaluate, REFERENCES["mobilenet_v3_small"]).seconds}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    return float(record["seconds"])


def _best_finalist(job: Job, trials: Sequence[Trial], count: int, train: Evaluate) -> tuple[Trial, float]:
    chosen = finish.top(trials, count)
    how = "_trained_on" if job.shares else ""
    records = Records(job.folder / f"finalists{how}.jsonl", "finalists")
    known = {record["sample"]: record for record in records.records}
    for trial in chosen:
        if trial.sample not in known:
            evaluation = _timed(train, trial.arch)
            known[trial.sample] = {"sample": trial.sample, "top1": evaluation.top1, "seconds": evaluation.seconds}
            records.append(known[trial.sample])
    trained = [replace(t, reward=REWARD(known[t.sample]["top1"], t.latency_ms)) for t in chosen]
    return best(trained), sum(known[t.sample]["seconds"] for t in chosen)


def _shared(job: Job, trainer: ProxyTraining) -> tuple[float, SharedWeights, controllers.Controller | None]:
    """The seconds that the training of the shared weights took, in all calls, what evaluates with them, and the
    controller that was trained with them. Trains nothing and writes nothing where that is done."""
    path, checkpoint = job.folder / "training.json", job.folder / prepare.FILE
    record = read_json(path) or {"seconds": 0.0, "since": None, "ended": False}
    if record["since"] and checkpoint.exists():  # it was killed: what it had saved counts
        record["seconds"] += max(0.0, checkpoint.stat().st_mtime - record["since"])
    how = prepare.SharedPlan(
        recipe=Recipe(epochs=_shared_epochs(job)),
        phases=VARIANTS[VARIANT[job.where.space]].phases,
        kernels="centre",
        band=0.5,
        images=2000,
        bn_images=512,
        mode=METHODS[job.method].mode,
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    if not record["ended"]:
        write_json(path, {**record, "since": time.time()})
    with (job.folder / "training.txt").open("a") as file:
        weights, learned = prepare.prepare(
            job.folder,
            how,
            space=job.where.search_space,
            latency=_latency(),
            target_ms=TARGET_MS,
            trainer=trainer,
            rng_seed=job.seed,
            threads=1,
            console=Console(file=file, width=120),
            reward=REWARD,
        )
    if not record["ended"]:
        record["seconds"] += time.process_time() - start
        write_json(path, {"seconds": record["seconds"], "since": None, "ended": True})
    evaluator = SharedWeights(
        key=str(job.folder),
        space=job.where.search_space,
        weights=SerialExecutor().share(weights),
        trainer=trainer,
        kernels=how.kernels,
        images=how.images,
        bn_images=how.bn_images,
    )
    return record["seconds"], evaluator, learned


@cache
def _latency() -> latency_luts.LatencyModel:
    return latency_luts.load("pixel1")


@cache
def _data(where: Where, images: int) -> Dataset:
    return sources.load(where.dataset, path=Path(where.path) if where.path else None, train_images=images)


# ---- what they are worth


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
    most = max((_shared_epochs(job) for job in jobs if job.shares), default=0)
    epochs, images = FINAL[where.dataset]
    return [Start(arch=REFERENCES[CONTROL], epochs=epochs + round(most * ORDINARY[1] / images))] if most else []


def _shared_epochs(job: Job) -> int:
    return SHARED_EPOCHS_A_MINUTE * job.minutes


def _finally_trained(starts: Sequence[Start], seeds: int, where: Where) -> dict[Start, np.ndarray]:
    """For each network its top-1 on the test images after a long training, by seed; but one seed for the longest."""
    records = Records(RUNS / f"{where.dataset}-final.jsonl", "equal_time")
    known = {(r["arch"], r.get("weights"), r.get("epochs"), r["seed"]): r["test_top1"] for r in records.records}
    keys = {start: [start.key(seed) for seed in range(1 if start.epochs else seeds)] for start in starts}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        todo = {key: start for start, own in keys.items() for key in own if key not in known}
        runs = {pool.submit(_final, start, key[-1], where): key for key, start in todo.items()}
        for run in as_completed(runs):
            arch, weights, epochs, seed = key = runs[run]
            known[key] = run.result()
            record = {"arch": arch, "weights": weights, "epochs": epochs, "seed": seed, "test_top1": run.result()}
            records.append(record)
    return {start: np.array([known[key] for key in own]) for start, own in keys.items()}


def _final(start: Start, seed: int, where: Where) -> float:
    epochs, images = FINAL[where.dataset]
    state = None
    if start.weights:
        ordinary = ProxyTraining(data=_data(where, ORDINARY[1]), recipe=Recipe(epochs=ORDINARY[0]))
        state = _shared(start.weights, ordinary)[1].inherited(start.arch)
    trainer = ProxyTraining(data=_data(where, images), recipe=Recipe())
    return trainer.train_fully(start.arch, epochs=start.epochs or epochs, threads=1, rng_seed=seed, state=state)[2]


def _show(where: Where, found: dict[Job, Found], test_top1: dict[Start, np.ndarray]) -> None:
    rows, points = [], []
    for minutes in sorted({job.minutes for job in found}):
        for method in dict.fromkeys(job.method for job in found):
            own = {job: outcome for job, outcome in found.items() if (job.method, job.minutes) == (method, minutes)}
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
    published |= {f"{CONTROL}, {start.epochs} epochs": start for start in _longest(list(found), where)}
    for name, start in published.items():
        ms, top1 = _latency().latency_ms(start.arch), test_top1[start]
        cells = {"search": name, "ms": f"{ms:.1f}", "mean": f"{100 * top1.mean():.1f}"}
        cells["reward"] = f"{REWARD(top1.mean(), ms):.4f}"
        cells["test top-1 %"] = ", ".join(f"{100 * value:.1f}" for value in top1)
        rows.append({key: cells.get(key, "") for key in rows[0]})
    epochs, images = FINAL[where.dataset]
    what = f"{where.dataset}: networks of {where.space} for {TARGET_MS} ms on a Pixel 1"
    title = f"{what}, after {epochs} epochs of {images} images"
    minutes = "_".join(str(m) for m in sorted({job.minutes for job in found}))
    path = RESULTS / f"equal_time_{where}_{minutes}min.csv"
    tables.show(title, rows, path, width=140)
    figure, axes = plots.new_figure()
    for i, (name, ms, top1) in enumerate(points):
        axes.plot(ms, 100 * top1, "o", color=f"C{i % 10}", label=name)
    for name, start in published.items():
        ms, top1 = _latency().latency_ms(start.arch), 100 * test_top1[start].mean()
        axes.plot([ms], [top1], "s", color=plots.INK)
        axes.annotate(name, (ms, top1), xytext=(5, -3), textcoords="offset points", fontsize=7)
    axes.margins(x=0.2)
    axes.axvline(TARGET_MS, color=plots.INK, lw=0.8, ls=":")
    axes.set_xlabel("latency on pixel1 (calibrated), ms")
    axes.set_ylabel("top-1 on the test images, %")
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend(fontsize=7)
    plots.save(figure, path.with_suffix(".png"))


def _row(name: str, minutes: int, own: Sequence[Found], top1: np.ndarray) -> dict[str, str]:
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
    main()
