"""A search as a run of MLflow: `callbacks=[mlflow]`."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.goals import by, folder
from nas.trial import Trial
from nas_runtime.files import read_json, write_json

if TYPE_CHECKING:
    from nas.callbacks import Followed

__all__ = ["MLflowRun"]

_FILE = "mlflow.json"
_LONGEST = 500  # characters of a parameter that MLflow takes
_DELIVERED = ("result.json", "report.html", "best.json", "best.onnx", "model_card.md")


class MLflowRun:
    """Writes the settings as parameters, top-1, latency, reward and the best reward so far of every trial that was
    evaluated to the end as metrics with the sample as step, and the winners' figures and files at the end.

    The store is that of ``MLFLOW_TRACKING_URI``, else the folder ``mlruns`` in the current directory. A search that is
    continued goes on in its run.

    Raises:
        ValueError: MLflow is not installed.
    """

    def __init__(self, search: "Followed") -> None:
        try:
            from mlflow import MlflowClient  # type: ignore[import-not-found]  # an extra
        except ImportError as e:
            raise ValueError(f"{e}; pip install mlflow-skinny") from None

        self._uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not self._uri:  # files need no database; MLflow 3 wants to be asked for them
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            self._uri = Path("mlruns").resolve().as_uri()
        self._client = MlflowClient(tracking_uri=self._uri)
        self._search = search
        self._run_id = self._begun()
        self._done = {metric.step for metric in self._client.get_metric_history(self._run_id, "top1")}
        self._best: dict[float, float] = {}

    def _begun(self) -> str:
        """The run of the search; a new one, unless an earlier call began it in this store."""
        file = self._search.folder / _FILE
        known = read_json(file) or {}
        if known.get("store") == self._uri:
            return known["run_id"]
        name = "platform-aware-nas"
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        run_id = self._client.create_run(number, run_name=self._search.folder.name).info.run_id
        write_json(file, {"store": self._uri, "run_id": run_id})
        for key, value in _flat(self._search.config):
            self._client.log_param(run_id, key, str(value)[:_LONGEST])
        return run_id

    def on_trial(self, trial: Trial) -> None:
        if trial.status != "ok":
            return
        metrics = {"top1": trial.top1, "latency_ms": trial.latency_ms, "reward": trial.reward}
        several = len(self._search.rewards) > 1
        for reward in self._search.rewards:
            (its,) = by(reward, [trial]) if several else (trial,)
            if its.status == "ok":
                best = self._best[reward.target_ms] = max(its.reward, self._best.get(reward.target_ms, its.reward))
                metrics[f"best_reward/{folder(reward.target_ms)}" if several else "best_reward"] = best
        if trial.sample not in self._done:
            for name, value in metrics.items():
                self._client.log_metric(self._run_id, name, value, step=trial.sample)

    def on_result(self, folder: Path, result: Mapping[str, Any]) -> None:
        part = "" if folder == self._search.folder else folder.name
        best = {name: value for name, value in result["best"].items() if isinstance(value, int | float)}
        for name, value in best.items():
            self._client.log_metric(self._run_id, "/".join(filter(None, ("found", part, name))), value)
        for file in _DELIVERED:
            if (folder / file).exists():
                self._client.log_artifact(self._run_id, str(folder / file), part or None)

    def close(self, ended: bool) -> None:
        self._client.set_terminated(self._run_id, "FINISHED" if ended else "KILLED")


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their full names."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
