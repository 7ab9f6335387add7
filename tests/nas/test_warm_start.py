"""Searches that begin with what others have found."""

import numpy as np
import pytest

from nas import controllers, warm_start
from nas.controllers.bayesian import Bayesian
from nas.controllers.first import begin_with
from nas.controllers.model import Model
from nas.controllers.rnn_ppo import RNNPPO
from nas.reward import Reward
from nas.testing.controllers import small_space
from search_spaces import spaces

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
