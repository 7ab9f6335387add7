"""The controllers in Ray Tune: `ControllerSearcher`, a search algorithm for anyone's own Tuner, and `search_with_tune`,
which is ``engine=tune`` of a search.

    space = spaces.get("mnasnet", base_width=0.35)

    def train(config):                          # one network
        arch = space.decode(config["indices"])
        ...
        tune.report({"reward": reward.soft(top1, model.latency_ms(arch), target_ms=15.8, w=-0.15)})

    searcher = ControllerSearcher(space, controllers.make("evolution", space))
    tuner = tune.Tuner(train, tune_config=tune.TuneConfig(search_alg=searcher, num_samples=100))

Schedulers (ASHA) and `Tuner.restore` work as with Tune's own algorithms. A Tune trial costs 0.15 to 1 s beyond its
training; where that counts, `nas.loop.search` with `RayExecutor` costs 0.01 s.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from nas.controllers import Controller, inform
from nas.evaluators.proxy_training import ProxyTraining
from nas.journal import Journal
from nas.samples import known_latency_ms
from nas.trial import Trial
from nas.tune_searcher import ControllerSearcher
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["ControllerSearcher", "StalledError", "search_with_tune"]


class StalledError(ValueError):
    """Tune made no progress."""


def search_with_tune(
    *,
    space: SearchSpace,
    controller: Controller,
    evaluator: ProxyTraining,
    rng_seed: int,
    latency_ms: Callable[[Arch], float],
    reward: Callable[[float, float], float],
    samples: int,
    batch: int,
    journal: Journal,
    storage: Path,
    workers: int | None = None,
    grace_epochs: int = 1,
    timeout_s: float = 3600,
    retries: int = 1,
    num_cpus: float = 1,
    num_gpus: float = 0,
    on_trial: Callable[[Trial], None] | None = None,
    latency_ms_batch: Callable[[np.ndarray], np.ndarray] | None = None,
) -> list[Trial]:
    """`nas.loop.search` by Ray Tune: networks report after each epoch, and ASHA stops the worse ones early.

    The journal has each trial when it ends; those that it has are not trained again, see `Journal.settled`. A network
    that was stopped has the top-1 of its last epoch, and a note. With several workers the order in which trainings end
    decides which are stopped: such a search is not the same again.

    Args:
        storage: an absolute folder for Tune's own files.
        workers: trainings at a time; None: as many as there are CPUs.
        grace_epochs: none is stopped before.
        timeout_s: without any report for so long the search ends.
        retries: how often a training that fails is tried again.
        num_cpus, num_gpus: what one training takes.

    Raises:
        StalledError: no training reported for `timeout_s`.
        ValueError: the journal belongs to another search.
        KeyboardInterrupt: Ctrl-C; what was trained is in the journal.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # no copies of every result
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Tune would keep the first Ctrl-C, also after its end
    if latency_ms_batch:
        inform(controller, latency_ms_batch, reward)
    epochs, watchdog = evaluator.recipe.epochs, _Watchdog(timeout_s)
    train = tune.with_parameters(
        _train, evaluator=evaluator, space=space, latency_ms=latency_ms, reward=reward, rng_seed=rng_seed
    )
    with journal.writing():
        results = _Results(journal, space, epochs, latency_ms, on_trial)
        known = results.replayed(batch)
        tuner = tune.Tuner(
            tune.with_resources(train, {"cpu": num_cpus, "gpu": num_gpus}),
            tune_config=tune.TuneConfig(
                metric="reward",
                mode="max",
                search_alg=ControllerSearcher(
                    space, controller, batch=batch, samples=samples, known=known, on_reuse=results.reuse
                ),
                scheduler=ASHAScheduler(
                    time_attr="epochs", max_t=epochs, grace_period=min(grace_epochs, epochs), reduction_factor=2
                ),
                num_samples=samples,
                max_concurrent_trials=workers,
                reuse_actors=True,
                trial_dirname_creator=_folder,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(storage),
                verbose=0,
                stop=watchdog,
                failure_config=tune.FailureConfig(max_failures=retries),
                callbacks=[_Recorder(results.record, watchdog)],
            ),
        )
        tuner.fit()
    if watchdog.stalled:
        raise StalledError(
            f"no training reported for {timeout_s:g} s (ray.timeout_s); {len(results.ended)} of {samples} samples are "
            "kept: the same command continues"
        )
    if any(sample not in results.ended for sample in range(samples)):
        raise KeyboardInterrupt  # which Tune has caught, where its own handlers are wanted
    return [journal.trials[sample] for sample in range(samples)]


class _Results:
    """The trials of a search, each in the journal when it ends.

    Args:
        epochs: of a training that is not stopped.

    Attributes:
        ended: the samples that are in the journal for good.
    """

    def __init__(
        self,
        journal: Journal,
        space: SearchSpace,
        epochs: int,
        latency_ms: Callable[[Arch], float],
        on_trial: Callable[[Trial], None] | None,
    ) -> None:
        self.ended: set[int] = set()
        self._journal, self._space, self._epochs = journal, space, epochs
        self._latency_ms, self._on_trial = latency_ms, on_trial

    def replayed(self, batch: int) -> dict[int, tuple[tuple[int, ...], float]]:
        """Point and reward of the samples that the journal has settled, NaN for one that failed or diverged."""
        known = {}
        for sample, trial in sorted(self._journal.settled(batch).items()):
            known[sample] = (trial.indices, trial.reward if trial.status == "ok" else math.nan)
            self._count(trial)
        return known

    def record(self, config: Mapping[str, Any], result: Mapping[str, Any] | None, note: str = "") -> None:
        """A trial of Tune that has ended; `result` is its last one."""
        sample, indices = config["sample"], tuple(config["indices"])
        if sample in self.ended:
            return
        arch = self._space.decode(indices)
        ms, unknown = known_latency_ms(self._latency_ms, arch)
        result = result or {}
        top1, done = result.get("top1"), result.get("epochs", 0)
        status = "failed" if top1 is None else result.get("status", "ok")
        stopped = status == "ok" and done < self._epochs
        self._end(
            Trial(
                sample=sample,
                indices=indices,
                arch=arch,
                top1=top1 if status == "ok" and top1 is not None else 0.0,
                latency_ms=ms,
                reward=result["reward"] if status == "ok" else 0.0,
                status=status,
                seconds=result.get("time_total_s", 0.0),
                note=f"stopped after {done} of {self._epochs} epochs" if stopped else unknown or note,
            )
        )

    def reuse(self, sample: int, point: tuple[int, ...], earlier: int) -> None:
        """A sample of the network that the sample `earlier` is of."""
        if sample not in self.ended:
            first = self._journal.trials[earlier]
            self._end(replace(first, sample=sample, indices=point, seconds=0.0, reused=earlier))

    def _end(self, trial: Trial) -> None:
        self._journal.append(trial)
        self._count(trial)

    def _count(self, trial: Trial) -> None:
        self.ended.add(trial.sample)
        if self._on_trial:
            self._on_trial(trial)


def _train(
    config: dict[str, Any],
    *,
    evaluator: ProxyTraining,
    space: SearchSpace,
    latency_ms: Callable[[Arch], float],
    reward: Callable[[float, float], float],
    rng_seed: int,
) -> None:
    """A trial: trains the network and reports after each epoch."""
    arch = space.decode(config["indices"])
    ms = latency_ms(arch)

    def on_epoch(epochs: int, top1: float) -> None:
        tune.report({"epochs": epochs, "top1": top1, "reward": reward(top1, ms), "status": "ok"})

    evaluation = evaluator.evaluate(arch, rng_seed, on_epoch=on_epoch)
    if evaluation.status != "ok":
        tune.report({"epochs": 0, "top1": 0.0, "reward": math.nan, "status": evaluation.status})


class _Watchdog(tune.Stopper):
    """Ends an experiment in which nothing happens: Tune itself would wait for ever."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s, self.last, self.stalled = timeout_s, time.monotonic(), False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.last = time.monotonic()
        return False

    def stop_all(self) -> bool:
        self.stalled = self.stalled or time.monotonic() - self.last > self.timeout_s
        return self.stalled


class _Recorder(tune.Callback):
    """Tells `record` of every trial that ends: its config and its last result.

    Tune keeps a copy of it in a file that nothing here reads; the copy has nobody to tell.
    """

    def __init__(self, record: Callable[..., None], watchdog: _Watchdog) -> None:
        self._record, self._watchdog = record, watchdog

    def __reduce__(self) -> tuple:
        return _Recorder, (_nobody, _Watchdog(self._watchdog.timeout_s))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if not self._watchdog.stalled:
            self._record(trial.config, trial.last_result)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        lines = str(trial.get_pickled_error() or "").strip().splitlines()  # the last one is the cause
        self._record(trial.config, None, lines[-1][:300] if lines else "the trial ended without a result")


def _folder(trial: Any) -> str:
    return f"sample{trial.config['sample']}-{trial.trial_id}"


def _nobody(config: Mapping[str, Any], result: Mapping[str, Any] | None, note: str = "") -> None:
    pass
