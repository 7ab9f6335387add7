"""The searches of `experiments.equal_time`: each method for some minutes, from where its record ends."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

import latency_luts
from experiments.proxy_validation import Where
from experiments.shared_weights_ranking import VARIANTS
from nas import controllers, finish
from nas.executor import Evaluate, SerialExecutor
from nas.journal import Journal
from nas.loop import best, search
from nas.references import references
from nas.reward import Reward
from nas.supernet import prepare
from nas.supernet.evaluator import SharedWeights
from nas.training import sources
from nas.training.datasets import Dataset
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas.trial import Evaluation, Trial
from nas_runtime.console import new_console
from nas_runtime.files import read_json, write_json
from nas_runtime.records import Records
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

RUNS = Path("runs/equal_time")
TARGET_MS = 15.8
REWARD = Reward(name="absolute", target_ms=TARGET_MS, beta=-0.2)
CORES = 2  # of the machine whose minutes are meant
REPEATS = 300  # samples in a row that cost nothing, since they were evaluated before: the policy has settled
FINALISTS = 4
BATCH = 6
ORDINARY = (4, 5000)  # epochs and images of the ordinary training, also of the finalists
REFERENCES = references(spaces.get("mnasnet"))  # of every job: 224 px, 1000 classes


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
    "rnn_ppo_short": Method(controller="rnn_ppo", training=(2, 2500), finalists=FINALISTS),
    "shared": Method(controller="rnn_ppo", training=None, finalists=FINALISTS),
    "joint": Method(controller="reinforce", training=None, finalists=FINALISTS, mode="joint"),
}
VARIANT = {"mnasnet": "phases", "mobilenet_v3": "random_fast"}  # of training shared weights, by the space
SHARED_EPOCHS_A_MINUTE = {  # takes about 60 % of the time
    ("mnasnet", "two_stage"): 9,
    ("mnasnet", "joint"): 5,
    ("mobilenet_v3", "two_stage"): 9,
    ("mobilenet_v3", "joint"): 2,
}


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
        return RUNS / f"{self.where.records}-{self.method}-{self.seed}{length}"

    @property
    def result(self) -> Path:
        return self.folder / f"found{self.suffix}-{self.minutes}.json"

    @property
    def suffix(self) -> str:
        """Of the names of files that depend on where the trainings of finalists begin."""
        return "_trained_on" if self.shares else ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search came to.

    Attributes:
        latency_ms: on a Pixel 1.
        seconds: of the processor, in all.
    """

    arch: Arch
    latency_ms: float
    samples: int
    seconds: float


class _TimeIsUpError(Exception):
    """The time is over."""


def searched(job: Job) -> Outcome:
    """What the search finds in its minutes; recorded, so that the same job searches once."""
    method, space = METHODS[job.method], job.where.search_space
    known = read_json(job.result)
    if known is None:
        trainer = trainer_for(job.where, *ORDINARY)
        seconds, evaluate, train = 0.0, _trained_by_itself(job, method), trainer.evaluate
        controller = controllers.make(method.controller, space, rng_seed=job.seed)
        if job.shares:
            seconds, shared, learned = with_shared_weights(job, trainer)
            evaluate, train = partial(_timed, shared.evaluate), shared.trained_on
            controller = learned or controller
        left = 60 * CORES * job.minutes - seconds
        if method.finalists:
            left -= method.finalists * _seconds_of_a_finalist(job, trainer)
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
    latency_ms = latency().latency_ms(arch)
    return Outcome(arch=arch, latency_ms=latency_ms, samples=known["samples"], seconds=known["seconds"])


def _trained_by_itself(job: Job, method: Method) -> Evaluate:
    trainer = trainer_for(job.where, *(method.training or ORDINARY))
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
            latency_ms=latency().latency_ms,
            latency_ms_batch=partial(latency().latency_ms_batch, space),
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


def _seconds_of_a_finalist(job: Job, trainer: Trainer) -> float:
    """What one ordinary training takes on this machine: measured once, kept."""
    path = job.folder / "ordinary.json"
    record = read_json(path)
    if record is None:
        evaluate = partial(trainer.evaluate, rng_seed=0)
        record = {"seconds": _timed(evaluate, REFERENCES["mobilenet_v3_small"]).seconds}
        write_json(path, record)
    return float(record["seconds"])


def _best_finalist(job: Job, trials: Sequence[Trial], count: int, train: Evaluate) -> tuple[Trial, float]:
    chosen = finish.top(trials, count)
    records = Records(job.folder / f"finalists{job.suffix}.jsonl", "finalists")
    known = {record["sample"]: record for record in records.records}
    for trial in chosen:
        if trial.sample not in known:
            evaluation = _timed(train, trial.arch)
            known[trial.sample] = {"sample": trial.sample, "top1": evaluation.top1, "seconds": evaluation.seconds}
            records.append(known[trial.sample])
    trained = [replace(t, reward=REWARD(known[t.sample]["top1"], t.latency_ms)) for t in chosen]
    return best(trained), sum(known[t.sample]["seconds"] for t in chosen)


def with_shared_weights(job: Job, trainer: Trainer) -> tuple[float, SharedWeights, controllers.Controller | None]:
    """The seconds that the training of the shared weights took, in all calls, what evaluates with them, and the
    controller that was trained with them. Trains nothing and writes nothing where that is done."""
    path, checkpoint = job.folder / "training.json", job.folder / prepare.FILE
    record = read_json(path) or {"seconds": 0.0, "since": None, "ended": False}
    if record["since"] and checkpoint.exists():  # it was killed: what it had saved counts
        record["seconds"] += max(0.0, checkpoint.stat().st_mtime - record["since"])
    shared = prepare.SharedPlan(
        recipe=Recipe(epochs=shared_epochs(job)),
        phases=VARIANTS[VARIANT[job.where.space]].phases,
        kernels="own" if METHODS[job.method].mode == "joint" else "centre",
        band=0.5,
        images=2000,
        bn_images=512,
        mode=METHODS[job.method].mode,
    )
    start = time.process_time()
    if not record["ended"]:
        write_json(path, {**record, "since": time.time()})
    with io.StringIO() if record["ended"] else (job.folder / "training.txt").open("a") as file:
        weights, learned = prepare.prepare(
            job.folder,
            shared,
            prepare.Problem(space=job.where.search_space, latency=latency(), target_ms=TARGET_MS, reward=REWARD),
            trainer=trainer,
            rng_seed=job.seed,
            threads=1,
            console=new_console(width=120, file=file),
        )
    if not record["ended"]:
        record["seconds"] += time.process_time() - start
        write_json(path, {"seconds": record["seconds"], "since": None, "ended": True})
    evaluator = SharedWeights(
        key=str(job.folder),
        space=job.where.search_space,
        weights=SerialExecutor().share(weights),
        trainer=trainer,
        kernels=shared.kernels,
        images=shared.images,
        bn_images=shared.bn_images,
    )
    return record["seconds"], evaluator, learned


@cache
def latency() -> latency_luts.LatencyModel:
    return latency_luts.load("pixel1")


def trainer_for(where: Where, epochs: int, images: int) -> Trainer:
    """What trains networks for so many epochs of so many images."""
    return Trainer(data=_load_data(where, images), recipe=Recipe(epochs=epochs))


@cache
def _load_data(where: Where, images: int) -> Dataset:
    return sources.load(where.dataset, path=Path(where.path) if where.path else None, train_images=images)


def shared_epochs(job: Job) -> int:
    return SHARED_EPOCHS_A_MINUTE[job.where.space, METHODS[job.method].mode] * job.minutes
