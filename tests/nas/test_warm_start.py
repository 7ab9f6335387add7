"""Searches that begin with what others have found."""

import json
import shutil

import numpy as np
import pytest

from nas import controllers, warm_start
from nas.controllers.bayesian import Bayesian
from nas.controllers.first import begin_with
from nas.controllers.model import Model
from nas.controllers.rnn_ppo import RNNPPO
from nas.reward import Reward
from nas.searched import open_search
from nas.testing.controllers import small_space
from search_spaces import spaces, zoo
from search_spaces.nearest import apart
from tests.commands.test_commands import command, journal
from tests.nas.test_surrogate import SEARCH

SPACE = small_space(*[5] * 8)
GAINS = np.random.default_rng(1).normal(size=8) / 100
REWARD = Reward(name="soft", target_ms=20.0)


def top1(points: np.ndarray) -> np.ndarray:
    return 0.5 + points @ GAINS


def latency_ms(points: np.ndarray) -> np.ndarray:
    return 10.0 + points.sum(axis=1)


def rewards(points: np.ndarray) -> np.ndarray:
    return np.array([REWARD(a, ms) for a, ms in zip(top1(points), latency_ms(points), strict=True)])


def others(count: int, lower: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    points = SPACE.sample(np.random.default_rng(seed), count)
    return points, top1(points) - lower


def test_other_searches_tell_but_for_their_offset():
    """Two, 30 and 10 points lower; four networks of its own say by how much."""
    new = SPACE.sample(np.random.default_rng(9), 200)
    own = SPACE.sample(np.random.default_rng(2), 4)
    errors = []
    for searches in ([], [others(40, 0.3, 3), others(40, 0.1, 4)]):
        model = Model(SPACE, window=400)
        model.recall(searches)
        model.inform(latency_ms, REWARD)
        model.observe(own, rewards(own))
        fitted = model.fitted()
        assert fitted is not None
        errors.append(np.abs(fitted.expected(new) - rewards(new)).mean())
    assert errors[1] < 0.15 * errors[0]


def test_what_is_expected_best_is_of_its_own_networks():
    model = Model(SPACE, window=400)
    model.recall([others(40, 0.0, 3)])
    assert model.recalled == 0  # rewards are not known to be made of accuracies
    assert model.fitted() is None
    model.inform(latency_ms, REWARD)
    assert model.recalled == 40
    first = model.fitted()
    assert first is not None
    theirs, _ = others(40, 0.0, 3)
    assert first.best == pytest.approx(rewards(theirs).max(), abs=0.01)
    own = np.array([[0] * 8, [1] * 8])
    model.observe(own, rewards(own))
    fitted = model.fitted()
    assert fitted is not None
    assert fitted.best == pytest.approx(rewards(own).max(), abs=0.01)
    assert len(fitted.best_points(100)) == 42


def test_of_many_the_latest_and_the_best_count():
    model = Model(SPACE, window=20)
    points, accuracy = others(100, 0.0, 3)
    model.recall([(points, accuracy), (points, accuracy)])
    model.inform(latency_ms, REWARD)
    assert 10 <= model.recalled <= 20
    (kept, _), _ = model._recalled
    assert points[accuracy.argmax()].tolist() in kept.tolist()
    assert points[-1].tolist() in kept.tolist()


@pytest.mark.parametrize("kind", [Bayesian, RNNPPO])
def test_the_first_batch_is_good_already(kind):
    """And what was recalled may be proposed again: it was not evaluated here."""
    found = []
    for searches in ([], [others(60, 0.2, 3)]):
        controller = kind(SPACE, rng_seed=0)
        controllers.recall(controller, searches)
        controllers.inform(controller, latency_ms, REWARD)
        found.append(rewards(controller.propose(8)).mean())
    spread = rewards(SPACE.sample(np.random.default_rng(0), 2000)).std()
    assert found[1] > found[0] + 2 * spread


def test_controllers_without_a_model_are_refused():
    with pytest.raises(ValueError, match="a Evolution has no model"):
        controllers.recall(controllers.make("evolution", SPACE), [])


def test_options_of_another_space_that_can_be_mapped_are():
    wide, narrow = (spaces.get("mnasnet", base_width=width, classes=10) for width in (1.0, 0.35))
    point = wide.sample(np.random.default_rng(0), 1)[0]
    assert warm_start._mapped(wide.describe(point), narrow) == tuple(point)
    assert warm_start._mapped({**wide.describe(point), "block3.kernel": 4.9}, narrow) == tuple(
        narrow.encode({**wide.describe(point), "block3.kernel": 5})
    )
    assert warm_start._mapped({**wide.describe(point), "block3.op": "other"}, narrow) is None
    assert warm_start._mapped({}, narrow) is None


def test_published_networks_are_the_first_samples(tmp_path):
    """For a controller without a model, and led to where limits are met."""
    words = (*SEARCH, "warm_start=[mnasnet_a1]", "controller=random", "limits={params_m: 3}", "samples=16", "batch=16")
    done = command("nas.search", *words, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warm start  networks like mnasnet_a1 first, with 7 around each" in done.stdout
    trials = journal(tmp_path / "run")
    space = open_search(tmp_path / "run").space
    wanted = zoo.get("mnasnet_a1", resolution_px=224, classes=1000)
    distances = [apart(space.decode(trial["indices"]), wanted) for trial in trials]
    assert distances[0] < np.median(distances[8:])
    assert np.mean(distances[:8]) < np.mean(distances[8:])
    assert len({tuple(trial["indices"]) for trial in trials[:8]}) == 8
    assert max(trial["costs"]["params_m"] for trial in trials) <= 3


def test_a_controller_goes_on_behind_what_it_begins_with():
    points = SPACE.sample(np.random.default_rng(5), 5)
    plain, first, again = (controllers.make("bayesian", SPACE, rng_seed=1) for _ in range(3))
    controller, later = begin_with(first, points), begin_with(again, points)
    assert begin_with(plain, points[:0]) is plain
    np.testing.assert_array_equal(controller.propose(3), points[:3])
    later.load_state_dict(controller.state_dict())
    for each in (controller, later):
        batch = each.propose(4)
        np.testing.assert_array_equal(batch[:2], points[3:])
        np.testing.assert_array_equal(batch[2:], plain.propose(2) if each is controller else batch[2:])
        each.observe(batch, rewards(batch))
    np.testing.assert_array_equal(controller.propose(2), later.propose(2))


def test_a_search_for_another_target_begins_with_an_earlier_one(tmp_path):
    """Its first batch is at the new target; it goes on when the earlier run is gone."""
    words = (*SEARCH, "reward=absolute", "batch=8")
    first = command("nas.search", *words, "samples=64", "run_dir=first", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    words = (*words, "target.target_ms=40", "warm_start=first", "run_dir=second")
    second = command("nas.search", *words, "samples=8", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "warm start  64 networks of 1 earlier run" in second.stdout
    trials = journal(tmp_path / "second")
    assert np.median([trial["latency_ms"] for trial in trials]) == pytest.approx(40, rel=0.05)
    best = json.loads((tmp_path / "first" / "result.json").read_text())["best"]["top1"]
    assert np.mean([trial["top1"] for trial in trials]) > best - 0.03
    shutil.rmtree(tmp_path / "first")
    more = command("nas.search", *words, "samples=16", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert journal(tmp_path / "second")[:8] == trials


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("warm_start=nowhere",), "nowhere holds no search; give the folder of a run of nas.search, or the name of a"),
        (("warm_start=[1]",), "it must be a path, or several, like [runs/a,runs/b]"),
        (
            ("warm_start=run", "controller=evolution"),
            "takes runs for controllers with a model, as rnn_ppo and bayesian, not evolution",
        ),
        (
            ("warm_start=run", "space=mobilenet_v3", "evaluator=proxy_training"),
            "none of the 8 networks of run is of space",
        ),
    ],
)
def test_bad_warm_starts(tmp_path_factory, words, message):
    folder = tmp_path_factory.getbasetemp() / "warm"
    if not (folder / "run").exists():
        folder.mkdir(exist_ok=True)
        done = command("nas.search", *SEARCH, "samples=8", "batch=8", "run_dir=run", cwd=folder)
        assert done.returncode == 0, done.stderr
    done = command("nas.search", *SEARCH, *words, "dry_run=true", cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
