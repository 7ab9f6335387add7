"""Bayesian optimisation against mathematics, and in spaces of any size."""

import math

import numpy as np
import pytest

from nas.controllers.bayesian import Bayesian, BayesianSettings, _slope
from nas.controllers.gaussian_process import GaussianProcess
from nas.reward import Reward
from nas.testing.controllers import small_space
from search_spaces import spaces


def test_the_process_knows_what_it_was_told_and_draws_around_its_mean():
    rng = np.random.default_rng(0)
    sizes = [3, 4, 2, 5]
    points = np.unique(rng.integers(0, sizes, (60, 4)), axis=0)
    rewards = 5 + points @ [1.0, -0.5, 2.0, 0.1] + 0.5 * points[:, 0] * points[:, 1]
    process = GaussianProcess(points[:40], rewards[:40], sizes)
    np.testing.assert_allclose(process.mean(points[:40]), rewards[:40], atol=0.02)  # exact rewards: next to no noise
    assert np.corrcoef(process.mean(points[40:]), rewards[40:])[0, 1] > 0.9
    assert process.weights.argmin() == 3  # the choice that matters least
    drawn = process.draw(points, 4000, rng)
    np.testing.assert_allclose(drawn.mean(axis=0), process.mean(points), atol=0.1)
    assert drawn[:, :40].std(axis=0).max() < drawn[:, 40:].std(axis=0).min()


def test_the_process_takes_noise_for_noise():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 4, (200, 6))
    exact = points[:, 0] + 0.5 * points[:, 1]
    process = GaussianProcess(points, exact + rng.standard_normal(200), [4] * 6)
    assert process.noise >= 0.2
    assert np.abs(process.mean(points) - exact).mean() < 0.5  # 0.8 for the rewards themselves


def test_the_process_equals_its_formula():
    """Mean and deviation of the posterior from the kernel's definition."""
    points = np.array([[0, 0], [1, 0], [1, 1]])
    rewards = np.array([0.0, 1.0, 3.0])
    process = GaussianProcess(points, rewards, [2, 2])

    def k(a, b):
        return math.exp(-sum(w for w, x, y in zip(process.weights, a, b, strict=True) if x != y) / process.length)

    kernel = np.array([[k(a, b) for b in points] for a in points]) + process.noise * np.eye(3)
    new = [0, 1]
    across = np.array([k(new, a) for a in points])
    y = (rewards - rewards.mean()) / rewards.std()
    expected = rewards.mean() + rewards.std() * across @ np.linalg.solve(kernel, y)
    assert process.mean(np.array([new]))[0] == pytest.approx(expected)


def test_weights_are_those_of_a_ridge_regression_to_all_options():
    """By the formula with a column for each option; two of the options of the last choice never occur."""
    rng = np.random.default_rng(1)
    sizes = [3, 2, 5]
    points = rng.integers(0, [3, 2, 3], (30, 3))
    rewards = points @ [1.0, 0.3, -0.5] + 0.1 * rng.standard_normal(30)
    x = np.hstack([points[:, [c]] == np.arange(size) for c, size in enumerate(sizes)]).astype(float)
    x -= x.mean(axis=0)
    y = (rewards - rewards.mean()) / rewards.std()
    effects = np.linalg.solve(x.T @ x + 10.0 * np.eye(10), x.T @ y)
    ranges = np.array([np.ptp(own) for own in np.split(effects, [3, 5])])
    weights = np.maximum(ranges / ranges.mean(), 0.1)
    np.testing.assert_allclose(GaussianProcess(points, rewards, sizes).weights, weights / weights.mean(), rtol=1e-9)


def test_a_choice_of_many_options_is_compared_as_one_of_few():
    """Only whether two points have the same option counts, not which one, nor how many there are."""
    rng = np.random.default_rng(2)
    points = rng.integers(0, 4, (70, 3))
    rewards = points.sum(1) + 0.1 * rng.standard_normal(70)
    new = np.vstack([rng.integers(0, 4, (20, 3)), [[4, 0, 0], [5, 1, 2]]])  # two with options that were never seen
    few = GaussianProcess(points, rewards, [6, 4, 4])
    scattered = np.array([7, 90_000, 12, 90_001, 0, 99_999])
    many = GaussianProcess(spread(points, scattered), rewards, [100_000, 4, 4])
    np.testing.assert_allclose(many.mean(spread(new, scattered)), few.mean(new), rtol=1e-9)
    for one, other in zip(
        few.draw(new, 3, np.random.default_rng(0)),
        many.draw(spread(new, scattered), 3, np.random.default_rng(0)),
        strict=True,
    ):
        np.testing.assert_allclose(other, one, rtol=1e-6)


def spread(points, options):
    """`points` with other numbers for the options of the first choice."""
    return np.column_stack([options[points[:, 0]], points[:, 1:]])


def test_many_choices_are_compared_piece_by_piece():
    rng = np.random.default_rng(3)
    sizes = [*rng.integers(1, 6, 700).tolist(), 500]
    points = rng.integers(0, sizes, (20, len(sizes)))
    process = GaussianProcess(points, points[:, 0] + points[:, 1] * 1.0, sizes)
    apart = (points[:, None] != points) @ process.weights
    np.testing.assert_allclose(process._apart(points, points), apart, atol=1e-9)


GOLDEN = {  # the last of 5 batches
    ("mnasnet", False): ["000000210012300210001110301100100111311001", "000000210012300210001110311100101111311001"],
    ("mnasnet", True): ["000000010020200201000110300000010000000000", "000000110020200201010110301020000111000000"],
    ("accel_nasbench", True): ["0100000101202021200000210001", "0101000110202021200001110001"],
}


@pytest.mark.parametrize(("name", "informed"), GOLDEN)
def test_proposals_in_the_shipped_spaces(name, informed):
    space = spaces.get(name)
    controller = Bayesian(space, rng_seed=3)
    rng = np.random.default_rng(7)
    gains, costs_ms = rng.normal(size=len(space.choices)), rng.random(len(space.choices))
    if informed:
        controller.inform(lambda points: 5.0 + points @ costs_ms, lambda top1, ms: top1 - 0.2 * abs(ms / 15 - 1))
    for _ in range(5):
        indices = controller.propose(8)
        top1 = 1 / (1 + np.exp(-(indices @ gains) / 5))
        controller.observe(indices, top1 - (0.2 * np.abs((5.0 + indices @ costs_ms) / 15 - 1) if informed else 0))
    assert ["".join(map(str, row)) for row in indices[:2].tolist()] == GOLDEN[name, informed]


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


def best_found(rng_seed: int, *, informed: bool, samples: int = 64) -> float:
    """The best reward on a space whose latency is the sum of all choices, and whose accuracy is of two of them."""
    space, reward = small_space(*[5] * 8), Reward(name="absolute", target_ms=20, beta=-0.2)
    controller = Bayesian(space, BayesianSettings(random=16), rng_seed=rng_seed)

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


def test_bayesian_takes_the_latency_from_what_it_was_told():
    """0.64 is the best: 4 and 3 of the two choices that matter take 20 ms, and nothing is left for the others."""
    assert np.mean([best_found(seed, informed=True) for seed in range(8)]) > 0.635
    assert np.mean([best_found(seed, informed=False) for seed in range(8)]) < 0.625


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


def test_a_latency_that_all_have_and_a_reward_that_is_the_accuracy_say_nothing():
    space = small_space(4, 4, 4, 4)
    plain, told = (Bayesian(space, BayesianSettings(random=8), rng_seed=1) for _ in range(2))
    told.inform(lambda points: np.full(len(points), 7.0), lambda top1, ms: top1)
    for _ in range(6):
        indices = plain.propose(8)
        np.testing.assert_array_equal(told.propose(8), indices)
        for controller in (plain, told):
            controller.observe(indices, indices.sum(1) / 12)


def test_a_batch_larger_than_the_neighbourhood_is_still_chosen():
    """Bayesian, batches of 300: better than chance."""
    space = small_space(*[4] * 12)
    controller = Bayesian(space, BayesianSettings(), rng_seed=0)
    for _ in range(4):
        indices = controller.propose(300)
        assert len({tuple(row) for row in indices}) == 300
        controller.observe(indices, (indices == 2).mean(1))
    assert (indices == 2).mean() > 0.5  # 0.25 by chance


def test_the_model_is_made_of_the_latest_and_the_best():
    """Of 20 observations and a window of 8: the last four, and the four with the highest rewards."""
    controller = Bayesian(small_space(30), BayesianSettings(window=8))
    rewards = np.arange(20.0)
    rewards[[3, 7, 11, 17]] += 100
    controller.observe(np.arange(20)[:, None], rewards)
    assert controller._points[controller._window()][:, 0].tolist() == [3, 7, 11, 16, 17, 18, 19]
    controller.observe(np.arange(20)[:, None], np.zeros(20))  # of equal ones the earliest
    assert controller._points[controller._window()][:, 0].tolist() == [0, 1, 2, 3, 16, 17, 18, 19]
    few = Bayesian(small_space(30), BayesianSettings(window=20))
    few.observe(np.arange(20)[:, None], rewards)
    assert few._window().tolist() == list(range(20))


@pytest.mark.parametrize(
    ("batch", "settings", "children", "drawn"),
    [
        (16, {"children": 2, "drawn": 2}, 128, {128}),
        (1, {"children": 300, "drawn": 200}, 300, range(120, 200)),  # half of 200 are the best, half any, some both
    ],
)
def test_each_proposal_of_a_batch_has_eight_children_and_eight_drawn_ones(
    monkeypatch, batch, settings, children, drawn
):
    """At least: else so many as the settings say. There are more options than anyone draws twice."""
    space = small_space(*[1000] * 30)
    controller = Bayesian(space, BayesianSettings(random=4, **settings), rng_seed=0)
    first = controller.propose(4)
    controller.observe(first, np.arange(4.0))
    seen = []
    near, draw = Bayesian._children, GaussianProcess.draw

    def watched(self, parents, count):
        seen.append(count)
        return near(self, parents, count)

    def watched_draw(self, points, count, rng):
        seen.append(len(points))
        return draw(self, points, count, rng)

    monkeypatch.setattr(Bayesian, "_children", watched)
    monkeypatch.setattr(GaussianProcess, "draw", watched_draw)
    found = controller.propose(batch)
    assert seen[0] == children
    assert seen[1] in drawn
    apart = (found[:, None] != first[None]).sum(axis=2).min(axis=1)
    assert apart.max() <= 5  # all are near an observed one


def test_children_differ_from_a_parent_in_one_to_five_choices_that_can_differ():
    """In 1, 2, ... with the probabilities 0.35, 0.25, 0.2, 0.1, 0.1; choices of one option are no choices."""
    space = small_space(*[1000] * 300, *[1] * 300)
    controller = Bayesian(space, rng_seed=0)
    parents = np.vstack([np.zeros((1, 600), dtype=int), np.r_[np.full(300, 7), np.zeros(300, dtype=int)][None]])
    children = controller._children(parents, 2000)
    apart = (children[:, None] != parents[None]).sum(axis=2)
    changes = apart.min(axis=1)
    shares = np.bincount(changes, minlength=6) / 2000
    np.testing.assert_allclose(shares, [0, 0.35, 0.25, 0.2, 0.1, 0.1], atol=4 * np.sqrt(0.25 / 2000))
    assert (shares[0], changes.max()) == (0, 5)
    assert (apart.argmin(axis=1) == 0).mean() == pytest.approx(0.5, abs=0.05)
    changed = children[changes == 1]
    own = changed[changed != parents[apart.argmin(axis=1)[changes == 1]]]
    np.testing.assert_allclose(np.quantile(own, [0.25, 0.5, 0.75]), [250, 500, 750], atol=80)  # any option


def test_the_trend_with_the_latency_is_the_line_of_least_squares():
    x, y = np.array([0.0, 1.0, 3.0, 4.0]), np.array([1.0, 3.5, 6.5, 9.0])
    assert _slope(x, y) == pytest.approx(np.polyfit(x, y, 1)[0])
    assert _slope(np.full(4, 2.0), y) == 0  # networks of one latency show none
