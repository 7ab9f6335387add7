"""Searches by Ray Tune: what becomes of trials, and how a search goes on."""

import json
import signal
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from nas import finish, loop, pareto
from nas.executor import SerialExecutor
from nas.journal import Journal, JournalError
from nas.objective import Objective
from nas.recorder import EvaluationError, Sampling
from nas.reward import hard
from nas.settings import ExecutorSettings
from nas.training.recipe import Recipe
from nas.trial import Evaluation, Trial
from tests.commands.test_commands import TINY, command, journal, search
from tests.nas.test_tune import SPACE, Told

# Ray's own warnings about its own future
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


class FakeTuner:
    """Tune without Ray: runs `trials` of the search one after the other, each ending as `ends` says."""

    ends = None

    def __init__(self, trainable, *, tune_config, run_config):
        self.algorithm, (self.callback,) = tune_config.search_alg, run_config.callbacks
        self.stopper = run_config.stop
        self.samples = tune_config.num_samples

    def fit(self):
        while not self.stopper.stop_all() and isinstance(config := self.algorithm.suggest("t"), dict):
            curve, ended = self.ends(config)
            trial = SimpleNamespace(config=config, last_result=None)
            for i, top1 in enumerate(curve, 1):
                trial.last_result = {"curve": curve[:i], "training_iteration": i, "reward": top1}
            if ended == "diverged":
                trial.last_result = {"diverged": True, "note": "NaN", "reward": float("nan")}
            self.algorithm.on_trial_complete("t", trial.last_result, error=ended == "failed")
            if ended == "failed":
                trial.get_pickled_error = lambda: "no camera"
                self.callback.on_trial_error(0, [], trial)
            else:
                self.callback.on_trial_complete(0, [], trial)


@pytest.fixture
def by_tune(tmp_path, monkeypatch):
    """``by_tune(ends, controller)``: the trials of a search of 8 samples by a `FakeTuner`, in one journal."""
    from nas import tune

    def go(ends, controller, space=SPACE, samples=8, **settings):
        monkeypatch.setattr(FakeTuner, "ends", staticmethod(ends))
        monkeypatch.setattr(tune.tune, "Tuner", FakeTuner)
        worth = {"latency_ms": lambda arch: 1.0, "reward": lambda top1, ms: top1 - 0.25 * ms}
        sampling = Sampling(
            space=space,
            controller=controller,
            objective=Objective(**worth | settings),
            samples=samples,
            batch=4,
            journal=Journal(tmp_path / "journal.jsonl", space.decode),
        )
        executor = ExecutorSettings(
            kind="ray", workers=1, retries=0, address=None, num_cpus=1, num_gpus=0, timeout_s=100
        )
        trainer = SimpleNamespace(recipe=Recipe(epochs=2))
        return tune.search_with_tune(sampling, trainer, rng_seed=0, storage=tmp_path, executor=executor)

    return go


ENDS = [
    ([0.5, 0.75], "ok"),
    ([0.25], "stopped"),
    ([], "failed"),
    ([], "diverged"),
    ([0.375, 0.6875], "ok"),
    ([0.4375], "stopped"),
    ([0.0], "stopped"),
    ([1.0], "stopped"),
]


def test_what_tune_makes_of_trials_the_loop_would_make_too(by_tune):
    """Status, curve and note of each; the controller is told the same as by the loop, also in a search that goes on."""
    controller = Told()
    trials = by_tune(lambda config: ENDS[config["sample"]], controller)
    assert [t.status for t in trials] == [ended for _, ended in ENDS]
    assert [t.curve for t in trials] == [tuple(curve) for curve, _ in ENDS]
    assert [t.reward for t in trials] == [0.5, 0.0, 0.0, 0.0, 0.4375, 0.1875, -0.25, 0.75]
    assert [t.note for t in trials][:5] == ["", "stopped after 1 of 2 epochs", "no camera", "NaN", ""]
    with pytest.raises(ValueError, match="8 networks could be evaluated"):
        loop.best([replace(t, status="stopped", curve=(t.top1,)) for t in trials])
    assert {t.sample for t in finish.top(trials, 8)} == {t.sample for t in pareto.front(trials)} | {4} == {0, 4}
    assert (loop.best(trials).sample, controller.told[0][:2], controller.told[0][3]) == (0, [0.5, 0.25], -0.25)
    evaluations = iter(
        Evaluation(top1=curve[-1] if curve else 0.0, curve=curve, status=status) for curve, status in ENDS
    )
    looped = Told()
    loop.search(
        space=SPACE,
        controller=looped,
        evaluate=lambda arch: next(evaluations),
        latency_ms=lambda arch: 1.0,
        reward=lambda top1, ms: top1 - 0.25 * ms,
        samples=8,
        batch=4,
        executor=SerialExecutor(retries=0),
    )
    assert str(looped.told) == str(controller.told[:2])
    again = Told()
    assert by_tune(None, again) == trials  # nothing is trained again
    assert str(again.told) == str(controller.told)


def test_a_slow_network_that_is_stopped_is_told_no_reward_that_no_accuracy_has(by_tune):
    controller = Told()
    ends = [([0.25, 0.75], "ok"), ([0.25], "stopped"), ([0.75], "stopped"), ([0.375, 0.875], "ok")]
    ms = dict(zip(map(SPACE.decode, Told().propose(4)), (1.0, 8.0, 8.0, 2.0), strict=True))
    how = {"latency_ms": ms.__getitem__, "reward": partial(hard, target_ms=1.0), "samples": 4}
    by_tune(lambda config: ends[config["sample"]], controller, **how)
    assert controller.told[0] == pytest.approx([0.75, 0.75 / 8, 1 / 8, 0.875 / 2])


def test_what_the_record_refuses(by_tune, tmp_path):
    trained = []

    def ends(config):
        trained.append(config["sample"])
        return [0.5, 0.75], "ok"

    def price(arch):
        if arch == SPACE.decode(first):
            raise ValueError("no such unit")
        return 1.0

    first = Told().propose(4)[0]
    trials = by_tune(ends, Told(), latency_ms=price)
    assert (trials[0].status, trials[0].note) == ("failed", "the latency is not known: ValueError: no such unit")
    assert trained == list(range(1, 8))  # before hours are spent on it
    with pytest.raises(
        JournalError, match="sample 1 of the journal has reward 0.5 .* in this search the reward is 0.75"
    ):
        by_tune(ends, Told(), latency_ms=price, reward=lambda top1, ms: top1)
    path = tmp_path / "journal.jsonl"
    path.unlink()
    old = Trial(sample=0, indices=(0, 0, 0), arch=None, top1=0.5, latency_ms=1.0, reward=0.5)
    Journal(path, SPACE.decode).append(replace(old, note="stopped after 1 of 2 epochs"))
    with pytest.raises(
        JournalError, match="an earlier version, which took networks that were stopped early for trained"
    ):
        by_tune(ends, Told())


def test_a_search_in_which_every_training_fails_ends_as_the_loop_does(by_tune, tmp_path):
    begun = []

    def ends(config):
        begun.append(config["sample"])
        return [], "failed"

    with pytest.raises(EvaluationError, match="the last 8 evaluations failed; the latest: no camera"):
        by_tune(ends, Told(), samples=20)
    assert begun == list(range(8))


def test_a_search_by_tune_that_is_stopped_and_killed_goes_on(tmp_path):
    """Ctrl-C after a sample, `kill -9` after another one, and then to the end; Tune takes a path for no URI."""
    run = "a run [1] #2 %20 $x ?y=1"
    settings = ["executor=ray", "engine=tune", "controller=evolution", f"run_dir='{run}'", "epochs=2"]
    path = tmp_path / run / "journal.jsonl"
    arguments = ["nas.search", "+target=pixel1_small", "w=-0.15", *TINY, *settings]
    stopped = command("tests.signalled", "SIGINT", "journal.jsonl:2", *arguments, cwd=tmp_path)
    assert (stopped.returncode, stopped.stderr) == (130, "interrupted\n")
    assert f"continue with the same command and run_dir={run}" in stopped.stdout
    enough = path.read_bytes().count(b"\n") + 1
    killed = command("tests.signalled", "SIGKILL", f"journal.jsonl:{enough}", *arguments, cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = path.read_bytes()
    done = search(*settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(before)
    records = journal(tmp_path / run)
    assert [record["sample"] for record in records] == [0, 1, 2, 3]
    for record in records:
        done = len(record["curve"])
        assert (record["status"], record["note"]) == {2: ("ok", ""), 1: ("stopped", "stopped after 1 of 2 epochs")}[
            done
        ]
        assert record["top1"] == record["curve"][-1]
    result = json.loads((tmp_path / run / "result.json").read_text())
    assert result["networks_stopped"] == sum(record["status"] == "stopped" for record in records)
    assert {row["sample"] for row in result["finalists"]} <= {r["sample"] for r in records if r["status"] == "ok"}
    assert (tmp_path / run / "report.html").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == [run]


def test_what_the_engine_cannot_do(tmp_path):
    done = search("executor=serial", "engine=tune", cwd=tmp_path)
    assert done.returncode == 1
    assert "engine=tune takes executor=ray, an evaluator that trains, duplicates=reuse, no adjust_after" in done.stderr


def test_tune_is_missing(monkeypatch):
    from nas.strategies import own_training

    monkeypatch.setitem(sys.modules, "nas.tune", None)
    with pytest.raises(ValueError, match="engine=tune: .*; pip install 'ray\\[tune\\]', or use engine=loop"):
        own_training._search_with_tune()
