"""The Gaussian process against a textbook's formulas."""

import numpy as np
import pytest

from nas.controllers import gaussian_process
from nas.controllers.gaussian_process import GaussianProcess

SIZES = [3, 4, 2, 5]


def told(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    points = np.unique(rng.integers(0, SIZES, (40, 4)), axis=0)
    return points, points @ [1.0, -0.5, 2.0, 0.1] + noise * rng.standard_normal(len(points))


def covariance(process: GaussianProcess, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The kernel as the module defines it, of all pairs."""
    return np.exp(-((a[:, None] != b[None]) * process.weights).sum(axis=2) / process.length)


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
def test_length_and_noise_have_the_highest_marginal_likelihood(noise):
    """log N(y; 0, amplitude (K + noise I)), where the best amplitude is y' (K + noise I)^-1 y / n."""
    points, rewards = told(noise)
    process = GaussianProcess(points, rewards, SIZES)
    y = (rewards - rewards.mean()) / rewards.std()
    apart = ((points[:, None] != points[None]) * process.weights).sum(axis=2)
    likelihoods = {}
    for length in gaussian_process._LENGTHS:
        for level in gaussian_process._NOISES:
            k = np.exp(-apart / length) + level * np.eye(len(y))
            amplitude = y @ np.linalg.solve(k, y) / len(y)
            _, log_determinant = np.linalg.slogdet(2 * np.pi * amplitude * k)
            likelihoods[length, level] = -0.5 * (log_determinant + y @ np.linalg.solve(amplitude * k, y))
    best = max(likelihoods, key=likelihoods.__getitem__)
    assert (process.length, process.noise) == best
    k = covariance(process, points, points) + process.noise * np.eye(len(y))
    assert process._amplitude == pytest.approx(y @ np.linalg.solve(k, y) / len(y))


def test_draws_have_the_posteriors_mean_and_covariance():
    """K** - K* (K + noise I)^-1 K*', times the amplitude, in the rewards' unit; also between points."""
    points, rewards = told(0.5)
    process = GaussianProcess(points, rewards, SIZES)
    new = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [2, 3, 1, 4], points[0]])
    across = covariance(process, new, points)
    k = covariance(process, points, points) + process.noise * np.eye(len(points))
    y = (rewards - rewards.mean()) / rewards.std()
    mean = rewards.mean() + rewards.std() * across @ np.linalg.solve(k, y)
    posterior = covariance(process, new, new) - across @ np.linalg.solve(k, across.T)
    expected = rewards.std() ** 2 * process._amplitude * posterior
    np.testing.assert_allclose(process.mean(new), mean)
    drawn = process.draw(new, 40_000, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=4 * np.sqrt(expected.max() / 40_000))
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=4 * expected.max() * np.sqrt(2 / 40_000))
    assert process._amplitude > 1.2  # or it would not show
    assert expected[0, 1] > 0.3 * expected[0, 0]  # neighbours go together


def test_no_points_have_no_mean_and_many_are_taken_piece_by_piece(monkeypatch):
    points, rewards = told(0.5)
    process = GaussianProcess(points, rewards, SIZES)
    assert process.mean(points[:0]).shape == (0,)
    whole = process.mean(points)
    monkeypatch.setattr(gaussian_process, "_ROWS", 7)
    np.testing.assert_allclose(process.mean(points), whole, rtol=1e-12)


@pytest.mark.parametrize("columns", [[1] * 2048, [500] * 10, [3, 2000, 1, 1, 2000], [5], [1024] * 3])
def test_choices_are_compared_in_pieces_of_hardly_more_than_1024_options(columns):
    """Each ends where so many are together, the last one wherever the choices end."""
    pieces = list(gaussian_process._pieces(columns))
    assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
    assert pieces[-1][1] == len(columns)
    for start, stop in pieces:
        assert sum(columns[start : stop - 1]) < 1024
        assert sum(columns[start:stop]) >= 1024 or stop == len(columns)


def test_a_constant_reward_is_expected_everywhere():
    points, _ = told()
    process = GaussianProcess(points, np.full(len(points), 3.0), SIZES)
    np.testing.assert_allclose(process.mean(points), 3.0)
    np.testing.assert_array_equal(process.weights, 1.0)
    np.testing.assert_allclose(process.draw(points, 5, np.random.default_rng(0)), 3.0, atol=1e-6)


def test_more_than_200_points_are_fitted_by_200_of_them(monkeypatch):
    """Evenly spread, the first and the last among them; all count for the mean."""
    seen = []
    likely = gaussian_process._most_likely

    def watched(apart, y):
        seen.append((apart, y))
        return likely(apart, y)

    monkeypatch.setattr(gaussian_process, "_most_likely", watched)
    rng = np.random.default_rng(1)
    points = rng.integers(0, 9, (401, 4))
    rewards = points.sum(axis=1) + rng.standard_normal(401)
    process = GaussianProcess(points, rewards, [9] * 4)
    ((apart, y),) = seen
    standard = (rewards - rewards.mean()) / rewards.std()
    some = [int(np.flatnonzero(standard == value)[0]) for value in y]
    assert (len(some), some[0], some[-1]) == (200, 0, 400)
    assert set(np.diff(some)) <= {1, 2, 3}
    expected = ((points[some][:, None] != points[some][None]) * process.weights).sum(axis=2)
    np.testing.assert_allclose(apart, expected, atol=1e-9)
    k = covariance(process, points, points) + process.noise * np.eye(401)
    mean = rewards.mean() + rewards.std() * covariance(process, points[:9], points) @ np.linalg.solve(k, standard)
    np.testing.assert_allclose(process.mean(points[:9]), mean)
