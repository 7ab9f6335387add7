"""Controllers with a model against mathematics, and in spaces of any size."""

import numpy as np
import pytest

from nas.controllers.bayesian import Bayesian, BayesianSettings
from nas.controllers.proposals import _CHANGES, Proposals
from nas.controllers.rnn_ppo import RNNPPO
from nas.reward import Reward
from nas.testing.controllers import small_space
from search_spaces import spaces


@pytest.mark.parametrize("kind", [Bayesian, RNNPPO])
@pytest.mark.parametrize(("name", "informed"), [("mnasnet", False), ("mnasnet", True), ("accel_nasbench", True)])
def test_after_random_ones_a_whole_batch_is_better_than_the_best_before(name, informed, kind):
    """In the shipped spaces, where every choice adds something: the fifth batch, and the model's first on average."""
    space = spaces.get(name)
    controller = kind(space, rng_seed=3)
    rng = np.random.default_rng(7)
    gains, costs_ms = rng.normal(size=len(space.choices)), rng.random(len(space.choices))
    if informed:
        controller.inform(lambda points: 5.0 + points @ costs_ms, lambda top1, ms: top1 - 0.2 * abs(ms / 15 - 1))
    rewards = []
    for _ in range(5):
        indices = controller.propose(8)
        top1 = 1 / (1 + np.exp(-(indices @ gains) / 5))
        own = top1 - (0.2 * np.abs((5.0 + indices @ costs_ms) / 15 - 1) if informed else 0)
        controller.observe(indices, own)
        rewards.append(own)
    assert rewards[4].min() > np.concatenate(rewards[:2]).max()
    assert rewards[2].mean() > np.concatenate(rewards[:2]).mean()


def test_bayesian_finds_the_best_of_a_space_with_an_interaction():
    space = small_space(6, 6, 6, 6)
    controller = Bayesian(space, BayesianSettings(random=16), rng_seed=0)

    def rewards(indices):
        return -np.abs(indices - 3).sum(1) - 4 * ((indices[:, 0] == 2) != (indices[:, 1] == 4))

    seen = []
    for _ in range(15):
        indices = controller.propose(8)
        controller.observe(indices, rewards(indices))
        seen += indices.tolist()
    assert len({tuple(row) for row in seen}) == len(seen)  # none twice
    assert rewards(np.array(seen)).max() == 0  # 3, 3, 3, 3: one of 1296, with 120 samples


def best_found(kind, rng_seed: int, *, informed: bool, samples: int = 64) -> float:
    """The best reward on a space whose latency is the sum of all choices, and whose accuracy is of two of them."""
    space, reward = small_space(*[5] * 8), Reward(name="absolute", target_ms=20, beta=-0.2)
    controller = kind(space, rng_seed=rng_seed)

    def latency_ms(points):
        return 4.0 + points @ [1, 2, 3, 4, 1, 2, 3, 4]

    if informed:
        controller.inform(latency_ms, reward)
    found = []
    for _ in range(samples // 8):
        indices = controller.propose(8)
        top1 = 0.5 + 0.02 * indices[:, 0] + 0.02 * indices[:, 3]
        rewards = np.array([reward(a, ms) for a, ms in zip(top1, latency_ms(indices), strict=True)])
        controller.observe(indices, rewards)
        found += rewards.tolist()
    return max(found)


@pytest.mark.parametrize("kind", [Bayesian, RNNPPO])
def test_latencies_are_taken_from_what_was_told(kind):
    """0.64 is the best: 4 and 3 of the two choices that matter take 20 ms, and nothing is left for the others."""
    assert np.mean([best_found(kind, seed, informed=True) for seed in range(4)]) > 0.635
    assert np.mean([best_found(kind, seed, informed=False) for seed in range(4)]) < 0.625


def test_rewards_that_say_nothing_of_the_accuracy_are_left_out():
    """Above a limit the reward is 0 whatever the accuracy; a diverged training is told as worse than nothing."""
    space = small_space(4, 4, 4, 4)
    controller = Bayesian(space, BayesianSettings(random=8), rng_seed=1)
    controller.inform(lambda points: 1.0 + points.sum(axis=1), lambda top1, ms: top1 if ms <= 4 else 0.0)
    found = []
    for _ in range(10):
        indices = controller.propose(8)
        ms = 1.0 + indices.sum(axis=1)
        top1 = 0.1 + 0.2 * indices[:, 1]
        rewards = np.where(ms <= 4, top1, 0.0)
        rewards[indices[:, 0] == 3] = -5.0
        controller.observe(indices, rewards)
        found += rewards.tolist()
    assert max(found) == pytest.approx(0.7)  # 0, 3, 0, 0


def test_a_batch_larger_than_the_neighbourhood_is_still_chosen():
    """Bayesian, batches of 300: better than chance."""
    space = small_space(*[4] * 12)
    controller = Bayesian(space, BayesianSettings(), rng_seed=0)
    for _ in range(3):
        indices = controller.propose(300)
        assert len({tuple(row) for row in indices}) == 300
        controller.observe(indices, (indices == 2).mean(1))
    assert (indices == 2).mean() > 0.5  # 0.25 by chance


def test_a_large_space_has_fewer_children(monkeypatch):
    """There are more options than anyone draws twice; a batch has eight children for each proposal at least."""
    space = small_space(*[1000] * 30)
    controller = Bayesian(space, BayesianSettings(random=4, children=2), rng_seed=0)
    first = controller.propose(4)
    controller.observe(first, np.arange(4.0))
    counts = []
    near = Proposals.children

    def watched(self, parents, count, shares):
        counts.append((len(parents), count, len(shares)))
        return near(self, parents, count, shares)

    monkeypatch.setattr(Proposals, "children", watched)
    assert controller.propose(16).shape == (16, 30)
    assert counts == [(4, 128, 5), *[(16, 64, 3)] * 3]
    monkeypatch.setattr("nas.controllers.proposals._MOST_ENTRIES", 30 * 200)
    controller.observe(first, np.arange(4.0))
    counts.clear()
    Bayesian.propose(controller, 2)
    assert counts[0][1] == 16  # of 2: settings.children is the least of these


def test_children_differ_from_a_parent_in_one_to_five_choices_that_can_differ():
    """In 1, 2, ... with the probabilities 0.35, 0.25, 0.2, 0.1, 0.1; choices of one option are no choices."""
    space = small_space(*[1000] * 300, *[1] * 300)
    proposals = Proposals(space, np.random.default_rng(0))
    parents = np.vstack([np.zeros((1, 600), dtype=int), np.r_[np.full(300, 7), np.zeros(300, dtype=int)][None]])
    children = proposals.children(parents, 2000, _CHANGES)
    apart = (children[:, None] != parents[None]).sum(axis=2)
    changes = apart.min(axis=1)
    shares = np.bincount(changes, minlength=6) / 2000
    np.testing.assert_allclose(shares, [0, 0.35, 0.25, 0.2, 0.1, 0.1], atol=4 * np.sqrt(0.25 / 2000))
    assert (shares[0], changes.max()) == (0, 5)
    assert (apart.argmin(axis=1) == 0).mean() == pytest.approx(0.5, abs=0.05)
    changed = children[changes == 1]
    own = changed[changed != parents[apart.argmin(axis=1)[changes == 1]]]
    np.testing.assert_allclose(np.quantile(own, [0.25, 0.5, 0.75]), [250, 500, 750], atol=80)  # any option
