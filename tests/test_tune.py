"""The controllers as a search algorithm of Ray Tune."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from nas import controllers, finish, loop, pareto
from nas.executor import SerialExecutor
from nas.journal import Journal, JournalError
from nas.reward import hard
from nas.training.recipe import Recipe
from nas.trial import Evaluation, Trial
from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace
from tests.test_commands import ROOT, TINY, journal, search
from tests.test_kills import lines

# Ray's own warnings about its own future
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def space_of(*sizes):
    choices = tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes))
    small = zoo.get("mnasnet_small")

    def decode(indices):
        return replace(small, resolution_px=32 + int(np.ravel_multi_index(tuple(indices), sizes)))

    return SearchSpace(name="small", choices=choices, decode=decode)


SPACE = space_of(40, 40, 40)


def searcher(space=SPACE, rng_seed=0, batch=4):
    from nas.tune import ControllerSearcher

    return ControllerSearcher(space, controllers.make("evolution", space, rng_seed=rng_seed), batch=batch)


def reward(indices):
    return float(sum(indices))


def drive(algorithm, trials, start=0):
    """`trials` trials one after the other; their points."""
    points = []
    for i in range(start, start + trials):
        points.append(algorithm.suggest(f"t{i}")["indices"])
        algorithm.on_trial_complete(f"t{i}", {"reward": reward(points[-1])})
    return points


def test_it_proposes_what_the_controller_does():
    controller = controllers.make("evolution", SPACE, rng_seed=0)
    expected = []
    for _ in range(3):
        indices = controller.propose(4)
        controller.observe(indices, np.array([reward(row) for row in indices]))
        expected += indices.tolist()
    assert drive(searcher(), 12) == expected


def test_it_waits_for_a_batch_but_never_for_nothing():
    algorithm = searcher()
    for i in range(4):
        assert algorithm.suggest(f"t{i}")["network"].keys() == {"c0", "c1", "c2"}
    assert algorithm.suggest("t4") is None
    algorithm.on_trial_complete("t0", {"reward": 1.0})
    algorithm.on_trial_complete("t1", error=True)
    algorithm.on_trial_complete("t2", {"reward": float("nan")})
    assert algorithm.suggest("t4") is None
    algorithm.on_trial_complete("t3", None)
    algorithm.on_trial_complete("unknown", {"reward": 1.0})
    assert algorithm.suggest("t4") is not None


@pytest.mark.parametrize("done", [0, 3, 4, 9])
def test_a_restored_one_goes_on(done, tmp_path):
    whole = drive(searcher(), 16)
    first = searcher()
    assert drive(first, done) == whole[:done]
    live = first.suggest("live")["indices"]
    first.save(str(tmp_path / "state"))
    second = searcher()
    second.restore(str(tmp_path / "state"))
    second.on_trial_complete("live", {"reward": reward(live)})
    assert [*whole[:done], live, *drive(second, 15 - done, start=done)] == whole


def test_what_cannot_be_restored(tmp_path):
    first = searcher()
    drive(first, 6)
    first.save(str(tmp_path / "state"))
    for other in (searcher(rng_seed=1), searcher(batch=5), searcher(space_of(3, 2))):
        with pytest.raises(ValueError, match="is of another space, controller, seed or batch"):
            other.restore(str(tmp_path / "state"))
    (tmp_path / "state").write_text("{")
    with pytest.raises(ValueError, match="is not a searcher's checkpoint"):
        searcher().restore(str(tmp_path / "state"))
    with pytest.raises(ValueError, match="batch=0; it must be at least 1"):
        searcher(batch=0)


TUNER = """
import sys

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from tests.test_tune import searcher


def train(config):
    if config["indices"] == [0, 0, 0] or sum(config["indices"]) == 1:
        raise RuntimeError("no camera")
    for epoch in range(1, 5):
        tune.report({"reward": sum(config["indices"]) * epoch / 4})


ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
tuner = tune.Tuner(
    train,
    tune_config=tune.TuneConfig(
        metric="reward",
        mode="max",
        search_alg=searcher(),
        num_samples=16,
        scheduler=ASHAScheduler(max_t=4, grace_period=1),
        max_concurrent_trials=2,
        reuse_actors=True,
    ),
    run_config=tune.RunConfig(storage_path=sys.argv[1], verbose=0),
)
results = tuner.fit()
assert len(results) == 16
points = {tuple(result.config["indices"]) for result in results}
assert len(points) == 16  # evolution proposes none twice
assert results.get_best_result().metrics["reward"] >= 6
print("done")
"""


def test_in_a_tuner_with_asha_and_failures(tmp_path):
    """A Tune script of one's own, in a process of its own."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TUNER, str(tmp_path)],
        env={**os.environ, **quiet, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "done"


def test_what_a_ledger_knows_is_not_proposed_again():
    from nas.tune import ControllerSearcher

    class Ledger:
        """Knows some samples, and what all came to."""

        def knows(self, sample, indices):
            assert indices == tuple(whole[sample])
            return sample in (0, 1, 2, 3, 5)

        def told(self, count, last):
            return np.array([reward(indices) for indices in whole[count - last : count]])

    whole = drive(searcher(), 12)
    controller = controllers.make("evolution", SPACE, rng_seed=0)
    algorithm = ControllerSearcher(SPACE, controller, batch=4, samples=10, ledger=Ledger())
    assert drive(algorithm, 5) == [whole[i] for i in (4, 6, 7, 8, 9)]
    assert algorithm.suggest("more") == ControllerSearcher.FINISHED


class Stubborn:
    """Proposes pairs: one that is new, and [0, 1] again."""

    def __init__(self):
        self.told = []

    def propose(self, n):
        return np.array([[len(self.told), 1], [0, 1]])

    def observe(self, indices, rewards):
        self.told.append(list(zip(map(tuple, indices.tolist()), rewards.tolist(), strict=True)))


def test_a_network_that_was_trained_is_not_trained_again():
    from nas.tune import ControllerSearcher

    controller, space = Stubborn(), space_of(4, 4)
    algorithm = ControllerSearcher(space, controller, batch=2, samples=6)
    asked = []
    while (config := algorithm.suggest("t")) != ControllerSearcher.FINISHED:
        asked.append(config["sample"])
        algorithm.on_trial_complete("t", {"reward": float(config["sample"])}, error=config["sample"] == 0)
    assert asked == [0, 1, 2, 4]  # 0 failed; 1 is the same network
    assert np.isnan(controller.told[0][0][1])
    assert controller.told[1] == [((1, 1), 2.0), ((0, 1), 1.0)]
    alone = space_of(1)
    without_end = ControllerSearcher(alone, controllers.make("random", alone), batch=2)
    for i in range(3):  # there is no other network: it is trained again
        assert without_end.suggest(f"t{i}")["indices"] == [0]
        without_end.on_trial_complete(f"t{i}", {"reward": 1.0})


def report(algorithm, trial, *rewards, ended=True):
    """As Tune does: all but the last report on the way, the last one at the end."""
    reports = [{"reward": value, "training_iteration": i} for i, value in enumerate(rewards, 1)]
    for result in reports[: -1 if ended else None]:
        algorithm.on_trial_result(trial, result)
    if ended:
        algorithm.on_trial_complete(trial, reports[-1])


def test_a_stopped_trial_is_told_as_what_it_would_have_come_to(tmp_path):
    """With curves that are parallel: as if all had been trained to the end. Also after a restoration in between."""
    from nas.tune import ControllerSearcher

    class Watched:
        def __init__(self):
            self.told = []

        def propose(self, n):
            return np.array([[len(self.told), i] for i in range(n)])

        def observe(self, indices, rewards):
            self.told.append(rewards.tolist())

    space = space_of(4, 8)
    controller = Watched()
    first = ControllerSearcher(space, controller, batch=4)
    for trial in "abcd":
        first.suggest(trial)
    report(first, "a", 0.125, 0.5, 0.75)
    report(first, "b", 0.25, 0.625, ended=False)
    report(first, "b", 0.25, 0.625, 0.875)  # Tune began it anew
    report(first, "c", 0.0)
    report(first, "d", 0.0625, float("nan"))
    first.suggest("e")
    assert controller.told == [[0.75, 0.875, 0.625, 0.0]]  # c ends as far below a as it was; d has diverged
    report(first, "e", 0.125, 0.25, 0.25, ended=False)
    report(first, "e", 0.125, ended=False)  # anew
    first.save(str(tmp_path / "state"))
    second = ControllerSearcher(space, again := Watched(), batch=4)
    second.restore(str(tmp_path / "state"))
    assert again.told == controller.told
    second.on_trial_complete("e", {"reward": 0.4375, "training_iteration": 2})
    for trial in "fgh":
        second.suggest(trial)
        second.on_trial_complete(trial, error=True)
    second.suggest("i")
    assert again.told[1][0] == 0.6875
    assert np.isnan(again.told[1][1:]).all()


class FakeTuner:
    """Tune without Ray: runs `trials` of the search one after the other, each ending as `ends` says."""

    ends = None

    def __init__(self, trainable, *, tune_config, run_config):
        self.algorithm, (self.callback,) = tune_config.search_alg, run_config.callbacks
        self.samples = tune_config.num_samples

    def fit(self):
        while isinstance(config := self.algorithm.suggest("t"), dict):
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

    def go(ends, controller, space=SPACE, **settings):
        monkeypatch.setattr(FakeTuner, "ends", staticmethod(ends))
        monkeypatch.setattr(tune.tune, "Tuner", FakeTuner)
        how = {
            "latency_ms": lambda arch: 1.0,
            "reward": lambda top1, ms: top1 - 0.25 * ms,
            "samples": 8,
            "batch": 4,
            "journal": Journal(tmp_path / "journal.jsonl", space.decode),
            "storage": tmp_path,
        }
        evaluator = SimpleNamespace(recipe=Recipe(epochs=2))
        return tune.search_with_tune(
            space=space, controller=controller, evaluator=evaluator, rng_seed=0, **how | settings
        )

    return go


class Told:
    """A controller that remembers what it is told; it proposes at random."""

    def __init__(self):
        self.told, self.rng = [], np.random.default_rng(0)

    def propose(self, n):
        return SPACE.sample(self.rng, n)

    def observe(self, indices, rewards):
        self.told.append(rewards.tolist())


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


def test_a_search_by_tune_that_is_stopped_and_killed_goes_on(tmp_path):
    """Ctrl-C after a sample, `kill -9` after another one, and then to the end; Tune takes a path for no URI."""
    run = "a run [1] #2 %20 $x ?y=1"
    settings = ["executor=ray", "engine=tune", "controller=evolution", f"run_dir='{run}'", "epochs=2"]
    path = tmp_path / run / "journal.jsonl"
    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = subprocess.Popen(
            [sys.executable, "-m", "nas.search", "+target=pixel1_small", "w=-0.15", *TINY, *settings],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        enough = max(2, lines(path) + 1)
        deadline = time.monotonic() + 200
        while lines(path) < enough and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(how)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        if how == signal.SIGINT:
            assert err == "interrupted\n"
            assert f"continue with the same command and run_dir={run}" in out
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
    from nas import search as command

    monkeypatch.setitem(sys.modules, "nas.tune", None)
    with pytest.raises(ValueError, match="engine=tune: .*; pip install 'ray\\[tune\\]', or use engine=loop"):
        command._search_with_tune(None, None, None, {})
