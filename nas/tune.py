"""The controllers in Ray Tune: `ControllerSearcher`, a search algorithm for anyone's own Tuner, and `search_with_tune`,
which is ``engine=tune`` of a search.

    space = spaces.get("mnasnet", base_width=0.35)

    def train(config):                          # one network
        arch = space.decode(config["indices"])
        ...
        tune.report({"reward": reward.soft(top1, model.latency_ms(arch), target_ms=15.8, w=-0.15)})

    searcher = ControllerSearcher(space, controllers.make("evolution", space))
    tuner = tune.Tuner(train, tune_config=tune.TuneConfig(search_alg=searcher, num_samples=100))

Schedulers (ASHA) and `Tuner.restore` work as with Tune's own algorithms; with a scheduler, report after each epoch, so
that a network which it stops is not taken for a trained one (`nas.told`). Tune does more for a trial beyond its
training than `nas.loop.search` with `RayExecutor` does; where trainings take seconds, that counts.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from nas.journal import Journal
from nas.objective import Objective
from nas.recorder import EvaluationError, Point, Recorder, Sampling
from nas.trial import Evaluation, Trial
from nas.tune_searcher import ControllerSearcher
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from nas.settings import ExecutorSettings
    from nas.training.trainer import Trainer

__all__ = ["ControllerSearcher", "StalledError", "search_with_tune"]


class StalledError(ValueError):
    """Tune made no progress."""


def search_with_tune(
    sampling: Sampling,
    trainer: "Trainer",
    *,
    rng_seed: int,
    storage: Path,
    executor: "ExecutorSettings",
    grace_epochs: int = 1,
) -> list[Trial]:
    """`nas.loop.sample` by Ray Tune: networks report after each epoch, and ASHA stops the worse ones early.

    The journal has each trial when it ends; those that it has are not trained again, see `Journal.settled`. A network
    that was stopped has the status ``stopped`` and the top-1 of its last epoch; `nas.told` says what the controller is
    told of it. With several workers the order in which trainings end decides which are stopped: such a search is not
    the same again.

    Args:
        sampling: with a journal.
        storage: an absolute folder for Tune's own files.
        executor: how many trainings at a time, what one takes, and how often one that fails is tried again; without any
            report for its `timeout_s` the search ends.
        grace_epochs: none is stopped before.

    Raises:
        StalledError: no training reported for `timeout_s`.
        JournalError: the journal belongs to another search, or was written with another reward.
        EvaluationError: `nas.recorder.MAX_FAILURES_IN_A_ROW` trainings of this call failed one after the other.
        KeyboardInterrupt: Ctrl-C; what was trained is in the journal.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # no copies of every result
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Tune would keep the first Ctrl-C, also after its end
    sampling.objective.inform(sampling.controller)
    epochs = trainer.recipe.epochs
    known = {"space": sampling.space, "objective": sampling.objective, "trainer": trainer, "rng_seed": rng_seed}
    with _journal(sampling).writing():
        ledger = _Ledger(Recorder(sampling), epochs)
        watchdog = _Watchdog(executor.timeout_s, ledger)
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_train, **known), {"cpu": executor.num_cpus, "gpu": executor.num_gpus}
            ),
            tune_config=_tune_config(sampling, ledger, epochs, grace_epochs, executor.workers),
            run_config=_run_config(storage, ledger, watchdog, executor.retries),
        )
        tuner.fit()
    if ledger.broken:
        raise EvaluationError(ledger.broken)
    if watchdog.stalled:
        raise StalledError(
            f"no training reported for {executor.timeout_s:g} s (ray.timeout_s); {len(ledger.trials)} of "
            f"{sampling.samples} samples are kept: the same command continues"
        )
    if len(ledger.trials) < sampling.samples:
        raise KeyboardInterrupt  # which Tune has caught, where its own handlers are wanted
    return [ledger.trials[sample] for sample in range(sampling.samples)]


def _journal(sampling: Sampling) -> Journal:
    if sampling.journal is None:
        raise ValueError("a search by Ray Tune needs a journal")
    return sampling.journal


def _tune_config(
    sampling: Sampling, ledger: "_Ledger", epochs: int, grace_epochs: int, workers: int | None
) -> tune.TuneConfig:
    searcher = ControllerSearcher(
        sampling.space, sampling.controller, batch=sampling.batch, samples=sampling.samples, ledger=ledger
    )
    return tune.TuneConfig(
        metric="reward",
        mode="max",
        search_alg=searcher,
        scheduler=ASHAScheduler(
            time_attr="epochs", max_t=epochs, grace_period=min(grace_epochs, epochs), reduction_factor=2
        ),
        num_samples=sampling.samples,
        max_concurrent_trials=workers,
        reuse_actors=True,
        trial_dirname_creator=_folder,
    )


def _run_config(storage: Path, ledger: "_Ledger", watchdog: "_Watchdog", retries: int) -> tune.RunConfig:
    return tune.RunConfig(
        name="tune",
        storage_path=str(storage),
        verbose=0,
        stop=watchdog,
        failure_config=tune.FailureConfig(max_failures=retries),
        callbacks=[_Recorder(ledger.end, watchdog)],
    )


class _Ledger:
    """The trials of a search by Tune, each in the record when it ends.

    Args:
        epochs: of a training that is not stopped.

    Attributes:
        trials: by sample, of those that ended.
        broken: why the search ends: trainings failed, one after the other; "" as long as it goes on.
    """

    def __init__(self, recorder: Recorder, epochs: int) -> None:
        self.trials: dict[int, Trial] = {}
        self.broken = ""
        self._recorder, self._epochs = recorder, epochs
        self._begun: dict[int, Point] = {}

    def knows(self, sample: int, indices: tuple[int, ...]) -> bool:
        point = self._recorder.point(sample, indices)
        trial = self._recorder.replayed(point) or self._recorder.reused(point) or self._recorder.begun(point)
        if trial:
            self._add(sample, trial)
        else:
            self._begun[sample] = point
        return trial is not None

    def told(self, count: int, last: int) -> np.ndarray:
        return self._recorder.told([self.trials[sample] for sample in range(count)], last)

    def end(self, sample: int, result: Mapping[str, Any] | None, note: str = "") -> None:
        """A trial of Tune that has ended; `result` is its last one."""
        if point := self._begun.pop(sample, None):
            trial = self._recorder.evaluated(point, self._evaluation(result or {}, note))
            self._add(sample, trial)

    def _add(self, sample: int, trial: Trial) -> None:
        self.trials[sample] = trial
        self.broken = self.broken or self._recorder.failures([trial])

    def _evaluation(self, result: Mapping[str, Any], note: str) -> Evaluation:
        curve, seconds = tuple(result.get("curve", ())), result.get("time_total_s", 0.0)
        if result.get("diverged"):
            return Evaluation(top1=0.0, status="diverged", seconds=seconds, note=result["note"])
        if not curve:
            return Evaluation(
                top1=0.0, status="failed", seconds=seconds, note=note or "the trial ended without a result"
            )
        stopped = len(curve) < self._epochs
        note = f"stopped after {len(curve)} of {self._epochs} epochs" if stopped else ""
        status = "stopped" if stopped else "ok"
        return Evaluation(top1=curve[-1], status=status, seconds=seconds, note=note, curve=curve)


def _train(
    config: dict[str, Any], *, space: SearchSpace, objective: Objective[Any], trainer: "Trainer", rng_seed: int
) -> None:
    """A trial: trains the network and reports after each epoch."""
    arch = space.decode(config["indices"])
    latency_ms = objective.costs(arch).latency_ms
    curve: list[float] = []

    def on_epoch(epochs: int, top1: float) -> None:
        curve.append(top1)
        reward, _ = objective.value(top1, latency_ms)
        tune.report({"epochs": epochs, "curve": list(curve), "reward": reward})

    evaluation = trainer.evaluate(arch, rng_seed, on_epoch=on_epoch)
    if evaluation.status != "ok":
        # at epoch 0, so that ASHA compares nothing with it
        tune.report({"epochs": 0, "diverged": True, "note": evaluation.note, "reward": math.nan})


class _Watchdog(tune.Stopper):
    """Ends an experiment in which nothing happens, where Tune itself would wait for ever, or in which nothing works."""

    def __init__(self, timeout_s: float, ledger: _Ledger | None = None) -> None:
        self.timeout_s, self.last, self.stalled, self._ledger = timeout_s, time.monotonic(), False, ledger

    def __reduce__(self) -> tuple:  # Tune keeps a copy in a file that nothing here reads
        return _Watchdog, (self.timeout_s,)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.last = time.monotonic()
        return False

    def stop_all(self) -> bool:
        self.stalled = self.stalled or time.monotonic() - self.last > self.timeout_s
        return self.stalled or bool(self._ledger and self._ledger.broken)


class _Recorder(tune.Callback):
    """Tells `end` of every trial that ends: its sample and its last result.

    Tune keeps a copy of it in a file that nothing here reads; the copy has nobody to tell.
    """

    def __init__(self, end: Callable[..., None], watchdog: _Watchdog) -> None:
        self._end, self._watchdog = end, watchdog

    def __reduce__(self) -> tuple:
        return _Recorder, (_nobody, _Watchdog(self._watchdog.timeout_s))

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        if not self._watchdog.stalled:
            self._end(trial.config["sample"], trial.last_result)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        lines = str(trial.get_pickled_error() or "").strip().splitlines()  # the last one is the cause
        self._end(trial.config["sample"], None, lines[-1][:300] if lines else "the trial ended without a result")


def _folder(trial: Any) -> str:
    return f"sample{trial.config['sample']}-{trial.trial_id}"


def _nobody(sample: int, result: Mapping[str, Any] | None, note: str = "") -> None:
    pass
