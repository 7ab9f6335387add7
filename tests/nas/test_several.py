"""A search for several targets: its controller, its rewards and its last round."""

import numpy as np
import pytest

from nas import controllers
from nas.controllers.region import Region, keep_within
from nas.controllers.several import Several
from nas.goals import Nearest, by, folder
from nas.reward import Reward
from nas.seeds import controller_seed
from nas.testing.controllers import CONTROLLER_CHECKS, small_space
from nas.trial import Trial
from search_spaces import zoo

REWARDS = [Reward(name="hard", target_ms=ms) for ms in (6.0, 8.0, 12.0)]


def latency_ms(points):
    return 5.0 + np.asarray(points).sum(axis=1)


def several(space, *, rng_seed=0, name="random", rewards=REWARDS, informed=True, **settings):
    made = [
        controllers.make(name, space, rng_seed=controller_seed(rng_seed, i), settings=settings)
        for i in range(len(rewards))
    ]
    found = Several(space, made, rewards)
    if informed:
        controllers.inform(found, latency_ms, Nearest(rewards))
    return found


@pytest.mark.parametrize("name", ["random", "evolution", "bayesian"])
@pytest.mark.parametrize("check", CONTROLLER_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_what_is_promised_of_every_controller(check, name):
    check(lambda space, rng_seed: several(space, rng_seed=rng_seed, name=name))


class Recorded:
    """Proposes its own number in every choice, and keeps what it is told."""

    def __init__(self, number, choices):
        self.number, self.choices, self.seen, self.asked = number, choices, [], 0

    def propose(self, n):
        self.asked += n
        return np.full((n, self.choices), self.number)

    def observe(self, indices, rewards):
        self.seen.append(rewards)


def test_each_proposes_in_turn_and_learns_its_own_reward_of_all():
    space = small_space(*[4] * 3)
    own = [Recorded(number, 3) for number in (0, 1, 2)]
    found = Several(space, own, REWARDS)
    controllers.inform(found, latency_ms, Nearest(REWARDS))
    first, second = found.propose(4), found.propose(4)
    assert first[:, 0].tolist() == [0, 1, 2, 0]
    assert second[:, 0].tolist() == [1, 2, 0, 1]
    points = np.array([[0, 0, 0], [1, 1, 1], [3, 3, 3], [0, 1, 2]])
    ms, top1 = latency_ms(points), np.array([0.5, 0.6, 0.7, 0.8])
    nearest = Nearest(REWARDS)
    found.observe(points, np.array([*(nearest(a, m) for a, m in zip(top1[:3], ms[:3], strict=True)), np.nan]))
    for controller, reward in zip(own, REWARDS, strict=True):
        (told,) = controller.seen
        np.testing.assert_allclose(told[:3], [reward(a, m) for a, m in zip(top1[:3], ms[:3], strict=True)], rtol=1e-12)
        assert np.isnan(told[3])


def test_what_another_has_just_proposed_is_not_proposed_again_if_there_is_anything_else():
    space = small_space(*[3] * 4)
    found = several(space, rewards=REWARDS[:2], name="bayesian")
    for _ in range(8):
        points = found.propose(8)
        assert len(np.unique(points, axis=0)) == 8
        found.observe(points, 0.2 + 0.05 * (points == 1).sum(axis=1))
    one = several(small_space(1), rewards=REWARDS[:2])
    assert one.propose(4).tolist() == [[0]] * 4  # there is nothing else


def test_a_model_for_each_target_finds_the_best_within_it():
    """Accuracy grows with what costs time, by some choices more: within 6 ms one of them may be 1, within 8 three."""
    space = small_space(*[2] * 9)
    worth = np.array([9, 7, 5, 3, 1, 1, 1, 1, 1]) / 400
    found = several(space, name="bayesian", random=8)
    nearest, seen = Nearest(REWARDS), []
    for _ in range(8):
        points = found.propose(6)
        top1, ms = 0.5 + points @ worth, latency_ms(points)
        seen += list(zip(top1, ms, strict=True))
        found.observe(points, np.array([nearest(a, m) for a, m in zip(top1, ms, strict=True)]))
    for reward, best in zip(REWARDS, (9, 21, 27), strict=True):
        assert max(a for a, m in seen if m <= reward.target_ms) == pytest.approx(0.5 + best / 400)


def test_a_diverged_training_stays_the_worst_for_every_target():
    space = small_space(*[4] * 3)
    own = [Recorded(number, 3) for number in (0, 1, 2)]
    found = Several(space, own, REWARDS)
    controllers.inform(found, latency_ms, Nearest(REWARDS))
    found.observe(np.array([[0, 0, 0], [1, 0, 0]]), np.array([-0.2, 0.5]))
    assert [controller.seen[0][0] < 0 < controller.seen[0][1] for controller in own] == [True] * 3


def test_it_is_restricted_and_recalls_as_its_controllers_do():
    space = small_space(*[4] * 6)
    region = Region(space, lambda points: np.maximum(points.sum(axis=1) - 4, 0).astype(float))
    found = several(space, name="bayesian", random=2)
    assert keep_within(found, region, rng_seed=0) is found
    for _ in range(3):
        points = found.propose(6)
        assert region.has(points).all()
        found.observe(points, 0.1 + 0.05 * (points == 1).sum(axis=1))
    earlier = space.sample(np.random.default_rng(0), 30)
    controllers.recall(found, [(earlier, np.linspace(0.1, 0.5, 30))])
    with pytest.raises(ValueError, match="no model"):
        controllers.recall(several(space), [(earlier, np.linspace(0.1, 0.5, 30))])


def test_a_reward_that_is_not_linear_is_refused():
    found = several(small_space(2), informed=False)
    with pytest.raises(ValueError, match="linear in the accuracy"):
        found.observe(np.zeros((1, 1), dtype=int), np.zeros(1))


def test_the_state_of_another_number_of_targets_is_refused():
    space = small_space(2, 3)
    with pytest.raises(ValueError, match="another number of targets"):
        several(space).load_state_dict(several(space, rewards=REWARDS[:2]).state_dict())


def test_the_nearest_target_counts():
    nearest = Nearest(REWARDS)
    assert [nearest.of(ms).target_ms for ms in (0.1, 6.9, 7.0, 9.7, 9.9, 500.0)] == [6.0, 6.0, 8.0, 8.0, 12.0, 12.0]
    assert nearest(0.5, 7.2) == 0.5
    assert nearest(0.5, 6.5) == pytest.approx(0.5 * 6 / 6.5)


def test_trials_by_another_reward():
    def trial(status):
        return Trial(
            sample=0, indices=(0,), arch=zoo.get("mnasnet_small"), top1=0.5, latency_ms=9.0, reward=0.5, status=status
        )

    ok, failed = by(REWARDS[0], [trial("ok"), trial("failed")])
    assert ok.reward == pytest.approx(0.5 * 6 / 9)
    assert failed == trial("failed")


def test_folders_and_seeds():
    assert [folder(ms) for ms in (8.0, 12.5, 0.25)] == ["8ms", "12.5ms", "0.25ms"]
    seeds = {controller_seed(rng_seed, target) for rng_seed in range(20) for target in range(20)}
    assert len(seeds) == 400
    assert controller_seed(7, 0) == 7
