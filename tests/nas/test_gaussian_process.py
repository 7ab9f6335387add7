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
