"""The controllers as a search algorithm of Ray Tune."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from nas import controllers
from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace
from tests.commands.test_commands import HANGS_S, ROOT

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


class Told:
    """A controller that remembers what it is told; it proposes at random."""

    def __init__(self):
        self.told, self.rng = [], np.random.default_rng(0)

    def propose(self, n):
        return SPACE.sample(self.rng, n)

    def observe(self, indices, rewards):
        self.told.append(rewards.tolist())


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

from tests.nas.test_tune import searcher


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
        timeout=HANGS_S,
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
