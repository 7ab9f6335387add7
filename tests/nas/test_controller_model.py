"""The model that controllers share, against mathematics."""

import math

import numpy as np
import pytest

from nas.controllers.gaussian_process import Seen
from nas.controllers.model import Model, _some, log_improvement
from nas.testing.controllers import small_space


def test_the_model_is_made_of_the_latest_and_the_best():
    """Of 20 observations and a window of 8: the last four, and the four with the highest rewards."""
    model = Model(small_space(30), window=8)
    rewards = np.arange(20.0)
    rewards[[3, 7, 11, 17]] += 100
    model.observe(np.arange(20)[:, None], rewards)
    assert model.points[_some(model.rewards, model._window)][:, 0].tolist() == [3, 7, 11, 16, 17, 18, 19]
    model.observe(np.arange(20)[:, None], np.zeros(20))  # of equal ones the earliest
    assert model.points[_some(model.rewards, model._window)][:, 0].tolist() == [0, 1, 2, 3, 16, 17, 18, 19]
    few = Model(small_space(30), window=20)
    few.observe(np.arange(20)[:, None], rewards)
    assert _some(few.rewards, few._window).tolist() == list(range(20))


def test_the_expected_improvement_is_the_integral(monkeypatch):
    """E max(0, x) of a normal x, by adding it up; and its logarithm far from any hope."""
    grid = np.linspace(-12, 12, 200_001)
    density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    above, deviation = np.array([-1.0, 0.0, 2.0, -0.3, -4.0]), np.array([1.0, 0.5, 3.0, 0.1, 1.0])
    whole = [np.trapezoid(np.maximum(0, a + d * grid) * density, grid) for a, d in zip(above, deviation, strict=True)]
    np.testing.assert_allclose(log_improvement(above, deviation), np.log(whole), rtol=1e-4)
    far = log_improvement(np.linspace(-40.0, -4.9, 50), np.ones(50))
    assert np.isfinite(far).all()
    assert (np.diff(far) > 0).all()
    assert log_improvement(np.array([0.5]), np.zeros(1))[0] == pytest.approx(math.log(0.5))


def test_a_batch_is_chosen_as_if_those_before_were_known():
    """By conditioning on the means of the points that were picked, one after the other: a second network that is all
    but the first one promises little after it."""
    rng = np.random.default_rng(0)
    points = np.unique(rng.integers(0, 4, (60, 6)), axis=0)
    model = Model(small_space(*[4] * 6), window=400)
    model.observe(points, (points == 1).sum(axis=1) / 6 + 0.01 * rng.standard_normal(len(points)))
    fitted = model.fitted()
    near = np.array([[1] * 6, [1, 1, 1, 1, 1, 2], [2] * 6, [1, 1, 1, 3, 3, 3]])
    seen, process = Seen(points=model._coding(near), features=np.zeros((4, 0))), fitted._process
    mean, covariance = process.mean(seen), process.at(seen).rows(np.arange(4))
    np.testing.assert_allclose(fitted.expected(near), mean)
    observed = Seen(points=model._coding(points), features=np.zeros((len(points), 0)))
    best, expected, left = float(process.mean(observed).max()), [], [*range(4)]
    assert fitted.best == pytest.approx(best)
    scores = log_improvement(mean - best, np.sqrt(np.diag(covariance)))
    np.testing.assert_allclose(fitted.promise(near), scores, rtol=1e-6)
    while left:
        scores = log_improvement(mean - best, np.sqrt(np.diag(covariance)))
        place = max(left, key=scores.__getitem__)
        expected.append(place)
        left.remove(place)
        best = max(best, mean[place])
        row = covariance[place]
        covariance = covariance - np.outer(row, row) / (row[place] + process.noise**2)
    assert fitted.pick(near, 4).tolist() == near[expected].tolist()
    assert fitted.pick(near, 9).tolist() == near[expected].tolist()


def test_accuracies_are_modelled_around_their_trend_with_the_latency():
    """Rewards at other latencies say the same of accuracies; one that does not grow with them says nothing."""
    rng = np.random.default_rng(0)
    points = np.unique(rng.integers(0, 4, (80, 5)), axis=0)

    def latency_ms(some):
        return 10.0 + 5 * some.sum(axis=1)

    top1 = 0.2 + 0.1 * np.log(latency_ms(points)) + 0.01 * (points[:, 0] == 2)
    model = Model(small_space(*[4] * 5), window=400)
    model.inform(latency_ms, lambda a, ms: a * (ms / 40) ** -0.5 if ms < 80 else -1.0)
    rewards = np.where(latency_ms(points) < 80, top1 * (latency_ms(points) / 40) ** -0.5, -1.0)
    model.observe(points, rewards)
    fitted = model.fitted()
    assert len(fitted._points) == (latency_ms(points) < 80).sum() < len(points)
    fast = latency_ms(points) < 80
    np.testing.assert_allclose(fitted.expected(points[fast]), rewards[fast], atol=0.01)
    np.testing.assert_allclose(fitted.expected(points[~fast]), -1.0)
    assert fitted.promise(points[~fast]).max() < fitted.promise(points[fast]).min()
    assert fitted.best_points(3).tolist() == points[np.argsort(-fitted.expected(points), kind="stable")[:3]].tolist()


def test_a_latency_that_all_have_and_a_reward_that_is_the_accuracy_say_nothing():
    points = np.unique(np.random.default_rng(0).integers(0, 4, (40, 4)), axis=0)
    plain, informed = (Model(small_space(4, 4, 4, 4), window=400) for _ in range(2))
    informed.inform(lambda some: np.full(len(some), 7.0), lambda top1, ms: top1)
    for model in (plain, informed):
        model.observe(points, points.sum(axis=1) / 12)
    new = np.random.default_rng(1).integers(0, 4, (9, 4))
    np.testing.assert_allclose(informed.fitted().expected(new), plain.fitted().expected(new), atol=2e-3)


def test_too_few_observations_make_no_model():
    model = Model(small_space(4, 4), window=400)
    assert model.fitted() is None
    model.observe(np.array([[0, 1], [1, 1]]), np.array([0.5, np.nan]))
    assert model.fitted() is None
    model.observe(np.array([[1, 1]]), np.array([0.7]))
    assert model.fitted().best == pytest.approx(0.7, abs=0.1)
