"""What follows a search: told everything until it fails, and never in the way."""

import io
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
from rich.console import Console

from nas.callbacks import Callbacks, Followed, following
from nas.report.mlflow import MLflowRun
from nas.reward import Reward
from nas.trial import Trial
from search_spaces import zoo
from tests.commands.test_commands import command
from tests.nas.test_surrogate import SEARCH

OWN = """
import json

class Told:
    def __init__(self, search):
        self.news = [["made", str(search.folder), search.samples, search.known, search.config["samples"]]]

    def on_trial(self, trial):
        self.news.append(["trial", trial.sample])

    def on_result(self, folder, result):
        self.news.append(["result", str(folder), result["best"]["sample"]])

    def close(self, ended):
        self.news.append(["close", ended])
        with open("told.json", "w") as file:
            json.dump(self.news, file)


class Tired:
    def __init__(self, search):
        pass

    def on_trial(self, trial):
        if trial.sample == 3:
            raise RuntimeError("enough")


def broken(search):
    raise OSError("no disk")
"""


def followed(tmp_path, *targets_ms, known=0):
    rewards = [Reward(name="hard", target_ms=ms) for ms in targets_ms or (10.0,)]
    return Followed(
        folder=tmp_path, config={"samples": 9, "space": {"name": "x"}}, rewards=rewards, samples=9, known=known
    )


def trial(sample, top1=0.5, ms=10.0, status="ok"):
    return Trial(
        sample=sample,
        indices=(sample,),
        arch=zoo.get("mnasnet_small"),
        top1=top1,
        latency_ms=ms,
        reward=top1,
        status=status,
    )


def test_one_that_raises_is_closed_and_left_out_and_the_others_go_on():
    seen, bad_seen, out = [], [], io.StringIO()
    bad = SimpleNamespace(on_trial=lambda trial: 1 / 0, close=bad_seen.append)
    good = SimpleNamespace(on_trial=seen.append, close=seen.append)
    callbacks = Callbacks(Console(file=out, width=200))
    for name, callback in {"bad": bad, "good": good, "silent": object()}.items():
        callbacks.add(name, callback)
    for news in (1, 2):
        callbacks.on_trial(news)
    callbacks.on_result("folder", {})
    callbacks.close(ended=True)
    assert seen == [1, 2, True]
    assert bad_seen == [False]
    assert out.getvalue() == (
        "note: the callback bad is left out from now on: on_trial: ZeroDivisionError: division by zero\n"
    )


def test_a_search_that_ends_early_closes_them(tmp_path, monkeypatch):
    closed = []

    def made(name, search):
        if name == "broken":
            raise ValueError
        return SimpleNamespace(close=closed.append)

    monkeypatch.setattr("nas.callbacks._made", made)
    with pytest.raises(KeyboardInterrupt), following(["x"], followed(tmp_path), Console(quiet=True)):
        raise KeyboardInterrupt
    with pytest.raises(ValueError), following(["x", "broken"], followed(tmp_path), Console(quiet=True)):  # noqa: PT011
        pass
    with following(["x"], followed(tmp_path), Console(quiet=True)):
        pass
    assert closed == [False, False, True]


class Client:
    """Stands for MLflow's: keeps what it is told."""

    told: ClassVar[list] = []
    kept: ClassVar[list] = []

    def __init__(self, tracking_uri):
        self.told.append(("store", tracking_uri))

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        return "7"

    def create_run(self, experiment, run_name):
        assert experiment == "7"
        return SimpleNamespace(info=SimpleNamespace(run_id="abc"))

    def get_metric_history(self, run_id, name):
        assert (run_id, name) == ("abc", "top1")
        steps = [row[4] for row in self.kept if row[0] == "log_metric" and row[2] == "top1"]
        return [SimpleNamespace(step=step) for step in steps]

    def __getattr__(self, name):
        return lambda *given, **named: self.told.append((name, *given, *named.values()))


@pytest.fixture
def told(monkeypatch, tmp_path):
    module = ModuleType("mlflow")
    module.MlflowClient = Client
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(Client, "told", [])
    monkeypatch.setattr(Client, "kept", [])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    return Client.told


def test_mlflow_is_told_of_trials_and_winners(told, tmp_path):
    run = MLflowRun(followed(tmp_path))
    assert told[0] == ("store", (tmp_path / "mlruns").as_uri())
    assert ("log_param", "abc", "space.name", "x") in told
    for news in (trial(0, 0.5), trial(1, 0.4), trial(2, 0.0, status="failed")):
        run.on_trial(news)
    metrics = {(row[2], row[4]): row[3] for row in told if row[0] == "log_metric"}
    assert metrics == {
        ("top1", 0): 0.5, ("latency_ms", 0): 10.0, ("reward", 0): 0.5, ("best_reward", 0): 0.5,
        ("top1", 1): 0.4, ("latency_ms", 1): 10.0, ("reward", 1): 0.4, ("best_reward", 1): 0.5,
    }  # fmt: skip
    (tmp_path / "report.html").write_text("")
    run.on_result(tmp_path, {"best": {"top1": 0.5, "choices": {}}})
    assert ("log_metric", "abc", "found/top1", 0.5) in told
    assert ("log_artifact", "abc", str(tmp_path / "report.html"), None) in told
    run.close(False)
    run.close(True)
    assert told[-2:] == [("set_terminated", "abc", "KILLED"), ("set_terminated", "abc", "FINISHED")]


def test_a_continued_search_goes_on_in_its_run_and_says_nothing_twice(told, tmp_path, monkeypatch):
    """Whatever of it the store has; in another store a run begins."""
    MLflowRun(followed(tmp_path)).on_trial(trial(0, 0.5))
    Client.kept += told
    told.clear()
    run = MLflowRun(followed(tmp_path, 10.0, 30.0, known=1))
    run.on_trial(trial(0, 0.5))
    run.on_trial(trial(1, 0.4, ms=20.0))
    assert [row[:4] for row in told[1:]] == [
        ("log_metric", "abc", "top1", 0.4),
        ("log_metric", "abc", "latency_ms", 20.0),
        ("log_metric", "abc", "reward", 0.4),
        ("log_metric", "abc", "best_reward/10ms", 0.5),
        ("log_metric", "abc", "best_reward/30ms", 0.5),
    ]
    told.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    MLflowRun(followed(tmp_path))
    assert ("log_param", "abc", "samples", "9") in told


def test_without_mlflow_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with (
        pytest.raises(ValueError, match="callback mlflow: .*pip install mlflow-skinny"),
        following(["mlflow"], followed(tmp_path), Console(quiet=True)),
    ):
        pass


def test_ones_own_from_the_command_line(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    words = (
        *SEARCH,
        "controller=random",
        "targets=[30,60]",
        "batch=8",
        "run_dir=run",
        "callbacks=[own:Told,own:Tired]",
    )
    for samples, known in ((8, 0), (16, 8)):
        done = command("nas.search", *words, f"samples={samples}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "note: the callback own:Tired is left out from now on: on_trial: RuntimeError: enough" in done.stdout
        first, *news = json.loads((tmp_path / "told.json").read_text())
        assert first == ["made", "run", samples, known, samples]
        assert news[:samples] == [["trial", i] for i in range(samples)]
        assert [row[:2] for row in news[samples:]] == [["result", "run/30ms"], ["result", "run/60ms"], ["close", True]]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ("mlflw", "callbacks=mlflw; did you mean mlflow?; allowed: some of tensorboard, mlflow, or your own"),
        ("own:missing", "callback own:missing: "),
        ("own:broken", "callback own:broken: OSError: no disk"),
    ],
)
def test_bad_callbacks_end_the_search_before_it_begins(tmp_path, callbacks, message):
    (tmp_path / "own.py").write_text(OWN)
    done = command("nas.search", *SEARCH, "samples=8", f"callbacks={callbacks}", cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "runs").exists()
