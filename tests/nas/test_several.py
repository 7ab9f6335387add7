"""A search for several targets: its controller, its rewards and its last round."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nas import controllers
from nas.controllers.region import Region, keep_within
from nas.controllers.several import Several
from nas.ends import Ends
from nas.goals import Nearest, by, folder
from nas.objective import Objective
from nas.recorder import Recorder, Sampling
from nas.reward import Reward
from nas.seeds import controller_seed
from nas.supernet import prepare
from nas.testing.controllers import CONTROLLER_CHECKS, small_space
from nas.trial import Trial
from search_spaces import zoo

REWARDS = [Reward(name="hard", target_ms=ms) for ms in (6.0, 8.0, 12.0)]


def latency_ms(points):
    return 5.0 + np.asarray(points).sum(axis=1)


def several(space, *, rng_seed=0, name="random", rewards=REWARDS, **settings):
    def make(seed):
        return controllers.make(name, space, rng_seed=seed, settings=settings)

    found = Several(space, make, len(rewards), rng_seed=rng_seed)
    controllers.inform(found, latency_ms, Nearest(rewards))
    return found


def worth(rewards, top1, ms):
    """(n, targets) what a search tells of accuracies at latencies."""
    return np.array([[reward(a, m) for reward in rewards] for a, m in zip(top1, ms, strict=True)])


class Alike(Several):
    """The same reward for every target, as the checks of all controllers give it."""

    def observe(self, indices, rewards):
        super().observe(indices, np.stack([np.asarray(rewards)] * 3, axis=-1))


@pytest.mark.parametrize("name", ["random", "evolution", "bayesian"])
@pytest.mark.parametrize("check", CONTROLLER_CHECKS, ids=lambda check: check.__name__)
def test_it_keeps_what_is_promised_of_every_controller(check, name):
    def made(space, rng_seed):
        def make(seed):
            return controllers.make(name, space, rng_seed=seed)

        return Alike(space, make, len(REWARDS), rng_seed=rng_seed)

    check(made)


class Recorded:
    """Proposes its own number in every choice, and keeps what it is told."""

    def __init__(self, number, choices, has_model):
        self.number, self.choices, self.has_model, self.seen = number, choices, has_model, []

    def propose(self, n):
        return np.full((n, self.choices), self.number)

    def observe(self, indices, rewards):
        self.seen.append((indices, rewards))


def recorded(has_model):
    """A search for three targets with controllers that are recorded."""
    own = [Recorded(number, 3, has_model) for number in (0, 1, 2)]
    waiting = iter(own)
    return own, Several(small_space(*[4] * 3), lambda seed: next(waiting), len(REWARDS), rng_seed=0)


def test_each_proposes_in_turn():
    _, found = recorded(True)
    first, second = found.propose(4), found.propose(4)
    assert first[:, 0].tolist() == [0, 1, 2, 0]
    assert second[:, 0].tolist() == [1, 2, 0, 1]


def test_those_with_a_model_learn_their_own_reward_of_all():
    own, found = recorded(True)
    points = np.array([[0, 0, 0], [1, 1, 1], [3, 3, 3]])
    rewards = worth(REWARDS, [0.5, 0.6, 0.7], latency_ms(points))
    rewards[2, 1] = np.nan
    found.observe(points, rewards)
    for k, controller in enumerate(own):
        ((indices, told),) = controller.seen
        np.testing.assert_array_equal(indices, points)
        np.testing.assert_array_equal(told, rewards[:, k])


def test_those_without_learn_of_their_own_proposals_and_of_what_nobody_proposed():
    own, found = recorded(False)
    points = np.vstack([found.propose(4), [[3, 3, 3]]])
    found.observe(points, np.arange(15.0).reshape(5, 3))
    assert [controller.seen[0][1].tolist() for controller in own] == [[0, 9, 12], [4, 13], [8, 14]]
    found.observe(points[:1], np.zeros((1, 3)))  # of an earlier batch: nobody's
    assert [len(controller.seen) for controller in own] == [2, 2, 2]


@pytest.mark.parametrize(("name", "settings"), [("bayesian", {}), ("rnn_ppo", {}), ("rnn_ppo", {"imagined": 0})])
def test_who_has_a_model(name, settings):
    made = controllers.make(name, small_space(2), settings=settings)
    assert made.has_model == (not settings)
    assert not hasattr(controllers.make("evolution", small_space(2)), "has_model")


def test_other_shapes_are_refused():
    _, found = recorded(True)
    for rewards in (np.zeros(2), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="one for each target"):
            found.observe(np.zeros((2, 3), dtype=int), rewards)


def test_what_another_has_just_proposed_is_not_proposed_again_if_there_is_anything_else():
    space = small_space(*[3] * 4)
    found = several(space, rewards=REWARDS[:2], name="bayesian")
    for _ in range(8):
        points = found.propose(8)
        assert len(np.unique(points, axis=0)) == 8
        found.observe(points, worth(REWARDS[:2], 0.2 + 0.05 * (points == 1).sum(axis=1), latency_ms(points)))
    one = several(small_space(1), rewards=REWARDS[:2])
    assert one.propose(4).tolist() == [[0]] * 4  # there is nothing else


def test_a_model_for_each_target_finds_the_best_within_it():
    """Accuracy grows with what costs time, by some choices more: within 6 ms one of them may be 1, within 8 three."""
    space = small_space(*[2] * 9)
    gains = np.array([9, 7, 5, 3, 1, 1, 1, 1, 1]) / 400
    found = several(space, name="bayesian", random=8)
    seen = []
    for _ in range(8):
        points = found.propose(6)
        top1, ms = 0.5 + points @ gains, latency_ms(points)
        seen += list(zip(top1, ms, strict=True))
        found.observe(points, worth(REWARDS, top1, ms))
    for reward, best in zip(REWARDS, (9, 21, 27), strict=True):
        assert max(a for a, m in seen if m <= reward.target_ms) == pytest.approx(0.5 + best / 400)


def test_it_is_restricted_and_recalls_as_its_controllers_do():
    space = small_space(*[4] * 6)
    region = Region(space, lambda points: np.maximum(points.sum(axis=1) - 4, 0).astype(float))
    found = several(space, name="bayesian", random=2)
    assert keep_within(found, region, rng_seed=0) is found
    for _ in range(3):
        points = found.propose(6)
        assert region.has(points).all()
        found.observe(points, worth(REWARDS, 0.1 + 0.05 * (points == 1).sum(axis=1), latency_ms(points)))
    earlier = space.sample(np.random.default_rng(0), 30)
    controllers.recall(found, [(earlier, np.linspace(0.1, 0.5, 30))])
    with pytest.raises(ValueError, match="no model"):
        controllers.recall(several(space), [(earlier, np.linspace(0.1, 0.5, 30))])


def test_the_state_of_another_number_of_targets_is_refused():
    space = small_space(2, 3)
    with pytest.raises(ValueError, match="another number of targets"):
        several(space).load_state_dict(several(space, rewards=REWARDS[:2]).state_dict())


def test_the_nearest_target_counts():
    nearest = Nearest(REWARDS)
    assert [nearest.of(ms).target_ms for ms in (0.1, 6.9, 7.0, 9.7, 9.9, 500.0)] == [6.0, 6.0, 8.0, 8.0, 12.0, 12.0]
    assert nearest(0.5, 7.2) == 0.5
    assert nearest(0.5, 6.5) == pytest.approx(0.5 * 6 / 6.5)


def trial(sample, *, top1=0.5, ms=9.0, status="ok"):
    arch = zoo.get("mnasnet_small")
    return Trial(sample=sample, indices=(0,), arch=arch, top1=top1, latency_ms=ms, reward=0.5, status=status)


def test_trials_by_another_reward(monkeypatch):
    ok, failed = by(REWARDS[0], [trial(0), trial(1, status="failed")])
    assert ok.reward == pytest.approx(0.5 * 6 / 9)
    assert failed == trial(1, status="failed")

    def only(top1, latency_ms):
        raise ValueError("too slow")

    (refused,) = by(only, [trial(0)])
    assert (refused.status, refused.reward) == ("failed", 0.0)
    assert "too slow" in refused.note


def test_a_diverged_network_is_the_worst_for_every_target():
    """Which none of the rewards for other targets may hide."""
    rewards = [Reward(name="absolute", target_ms=ms, beta=-2.0) for ms in (20.0, 60.0)]
    objective = Objective(latency_ms=None, reward=Nearest(rewards), each=rewards)
    space = small_space(2)
    recorder = Recorder(Sampling(space=space, controller=None, objective=objective, samples=3))
    trials = [trial(0, top1=0.6, ms=20.0), trial(1, top1=0.6, ms=22.0), trial(2, top1=0.0, ms=60.0, status="diverged")]
    told = recorder.told(trials, 3)
    assert told.shape == (3, 2)
    assert (told[2] <= told[:2].min(axis=0)).all()
    np.testing.assert_allclose(told[0], [rewards[0](0.6, 20.0), rewards[1](0.6, 20.0)])


def test_patience_is_with_every_target():
    ends = Ends(max_minutes=None, patience=3, rewards=REWARDS[:2])
    trials = [trial(0, top1=0.6, ms=8.0), *(trial(i, top1=0.46 + 0.01 * i, ms=5.0) for i in range(1, 8))]
    assert ends.why(trials) == ""  # the faster ones are better and better
    assert Ends(max_minutes=None, patience=3).why([replace(t, reward=t.top1) for t in trials])
    done = [*trials, *(trial(i, top1=0.2, ms=5.0) for i in (8, 9, 10))]
    assert ends.why(done) == "none of the last 3 samples was better than sample 7 for any target (patience=3)"


def test_folders_and_seeds():
    assert [folder(ms) for ms in (8.0, 12.5, 0.25)] == ["8ms", "12.5ms", "0.25ms"]
    seeds = {controller_seed(rng_seed, target) for rng_seed in range(20) for target in range(20)}
    assert len(seeds) == 400
    assert controller_seed(7, 0) == 7


@pytest.mark.parametrize(("longest_ms", "band"), [(None, [5.0, 15.0]), (30.0, [5.0, 45.0])])
def test_weights_are_trained_for_every_target(monkeypatch, longest_ms, band):
    class AskedError(Exception):
        pass

    def within(space, latency, *its):
        raise AskedError(list(its))

    monkeypatch.setattr(prepare, "within", within)
    problem = prepare.Problem(space=None, latency=None, target_ms=10.0, longest_ms=longest_ms)
    with pytest.raises(AskedError) as asked:
        prepare._training(None, SimpleNamespace(band=0.5), problem, None, 0, None)
    assert asked.value.args[0] == band
