"""The controllers as a search algorithm of Ray Tune."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nas import controllers
from nas.journal import Journal
from nas.training.recipe import Recipe
from nas.trial import Trial
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


def test_known_samples_are_not_proposed_again():
    from nas.tune import ControllerSearcher

    whole = drive(searcher(), 10)
    known = {i: (tuple(whole[i]), reward(whole[i])) for i in (0, 1, 2, 3, 5)}

    def again(known):
        controller = controllers.make("evolution", SPACE, rng_seed=0)
        return ControllerSearcher(SPACE, controller, batch=4, samples=10, known=known)

    algorithm = again(known)
    assert drive(algorithm, 5) == [whole[i] for i in (4, 6, 7, 8, 9)]
    assert algorithm.suggest("more") == ControllerSearcher.FINISHED
    with pytest.raises(ValueError, match="sample 0 is not what this search proposes"):
        again({0: (tuple(whole[1]), 1.0)}).suggest("t")


def test_a_network_of_an_earlier_batch_is_not_trained_again(tmp_path):
    from nas.tune import ControllerSearcher

    told = []

    class Stubborn:
        def propose(self, n):
            return np.array([[len(told), 1], [0, 1]])

        def observe(self, indices, rewards):
            told.append(list(zip(map(tuple, indices.tolist()), rewards.tolist(), strict=True)))

    reused = []
    space = space_of(4, 4)
    algorithm = ControllerSearcher(space, Stubborn(), batch=2, samples=6, on_reuse=lambda *what: reused.append(what))
    asked = []
    while (config := algorithm.suggest("t")) != ControllerSearcher.FINISHED:
        asked.append(config["sample"])
        algorithm.on_trial_complete("t", {"reward": float("nan") if config["sample"] == 0 else float(config["sample"])})
    assert asked == [0, 1, 2, 4]  # 0 failed; 1 is the same network, of the same batch
    assert reused == [(3, (0, 1), 1), (5, (0, 1), 1)]
    assert told[1] == [((1, 1), 2.0), ((0, 1), 1.0)]
    alone = space_of(1)
    without_end = ControllerSearcher(alone, controllers.make("random", alone), batch=2)
    for i in range(3):  # there is no other network: it is trained again
        assert without_end.suggest(f"t{i}")["indices"] == [0]
        without_end.on_trial_complete(f"t{i}", {"reward": 1.0})


def test_what_another_search_has_added_is_not_searched_again(tmp_path, monkeypatch):
    from nas import tune

    space = space_of(4)
    here, other = (Journal(tmp_path / "journal.jsonl", space.decode) for _ in range(2))
    for sample in range(2):
        arch = space.decode((sample,))
        other.append(Trial(sample=sample, indices=(sample,), arch=arch, top1=0.5, latency_ms=1.0, reward=0.5))
    monkeypatch.setattr(tune.tune, "Tuner", lambda *what, **how: SimpleNamespace(fit=lambda: None))
    trials = tune.search_with_tune(
        space=space,
        controller=controllers.make("random", space),
        evaluator=SimpleNamespace(recipe=Recipe()),
        rng_seed=0,
        latency_ms=lambda arch: 1.0,
        reward=lambda top1, ms: top1,
        samples=2,
        batch=2,
        journal=here,
        storage=tmp_path,
    )
    assert trials == list(other.trials.values())


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
    assert all(record["status"] == "ok" for record in records)
    assert {record["note"] for record in records} <= {"", "stopped after 1 of 2 epochs"}
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
