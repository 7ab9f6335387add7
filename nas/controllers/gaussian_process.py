"""A Gaussian process over the points of a space.

The kernel falls with the choices in which two networks differ,

    k(a, b) = exp(-sum over the choices that differ of weight_c / length),

and so holds main effects and interactions of all orders. A choice's weight is how much its options differ in a ridge
regression to what was seen so far; length and noise are those of the highest marginal likelihood. Hence it goes on
without a setting from exact rewards to the noisy ones of short trainings.

Time and memory grow with the number of choices and of points, but not with the number of options.
"""

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["GaussianProcess"]

_LENGTHS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_NOISES = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.7, 2.0)  # variance, in units of the kernel's
_LEAST_WEIGHT = 0.1
_RIDGE = 10.0
_FEW = 200
_COLUMNS = 1024  # of options that are compared in one piece
_SMALL = 64  # options that are compared as they are
_ROWS = 4096  # points that are compared in one piece


class GaussianProcess:
    """A Gaussian process over points (n, C) with C choices of `sizes` options, fitted to rewards (n,).

    Attributes:
        weights: (C,) of the choices, 1 in the mean.
        length: of the kernel.
        noise: variance of the rewards' noise, in units of the kernel's.
    """

    def __init__(self, points: np.ndarray, rewards: np.ndarray, sizes: Sequence[int]) -> None:
        self._sizes, self._points = list(sizes), points
        self._mean, self._deviation = float(rewards.mean()), max(float(rewards.std()), 1e-12)
        y = (rewards - self._mean) / self._deviation
        self.weights = self._importance(y)
        apart = self._apart(points, points)
        some = np.unique(np.linspace(0, len(y) - 1, _FEW).astype(int))  # enough for three numbers
        self.length, self.noise, self._amplitude = _most_likely(apart[np.ix_(some, some)], y[some])
        kernel = np.exp(-apart / self.length) + self.noise * np.eye(len(y))
        self._cholesky = np.linalg.cholesky(kernel)
        self._alpha = np.linalg.solve(self._cholesky.T, np.linalg.solve(self._cholesky, y))

    def mean(self, points: np.ndarray) -> np.ndarray:
        """(m,) expected rewards of points (m, C)."""
        pieces = [points[start : start + _ROWS] for start in range(0, len(points), _ROWS)] or [points]
        values = [self._kernel(piece, self._points) @ self._alpha for piece in pieces]
        return self._mean + self._deviation * np.concatenate(values)

    def draw(self, points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, m) joint draws of the rewards of points (m, C)."""
        across = self._kernel(points, self._points)
        solved = np.linalg.solve(self._cholesky, across.T)
        covariance = self._kernel(points, points) - solved.T @ solved + 1e-6 * np.eye(len(points))
        root = np.sqrt(self._amplitude) * np.linalg.cholesky(covariance)
        values = across @ self._alpha + (root @ rng.standard_normal((len(points), count))).T
        return self._mean + self._deviation * values

    def _apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Summed weights of the choices that differ."""
        return np.maximum(self.weights.sum() - _alike(a, b, self._sizes, self.weights), 0.0)

    def _kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-self._apart(a, b) / self.length)

    def _importance(self, y: np.ndarray) -> np.ndarray:
        """(C,) range of the effects of each choice's options, at least a tenth of the mean, scaled to a mean of 1.

        The effects e = x' (x x' + ridge)^-1 y are those of the ridge regression to the options x, one column each,
        minus their means; in this form no matrix has a column for each option.
        """
        n = len(y)
        alike = _alike(self._points, self._points, self._sizes, np.ones(len(self._sizes)))  # x x', before centring
        alike += alike.mean() - alike.mean(axis=0) - alike.mean(axis=1)[:, None]
        shares = np.linalg.solve(alike + _RIDGE * np.eye(n), y)
        ranges = np.empty(len(self._sizes))
        for c, (column, size) in enumerate(zip(self._points.T, self._sizes, strict=True)):
            effects = np.bincount(column, weights=shares, minlength=size)
            ranges[c] = np.ptp(effects - np.bincount(column, minlength=size) / n * shares.sum())
        weights = np.maximum(ranges / max(ranges.mean(), 1e-12), _LEAST_WEIGHT)
        return weights / weights.mean()


def _alike(a: np.ndarray, b: np.ndarray, sizes: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """(m, n) summed weights (C,) of the choices in which points a (m, C) equal points b (n, C).

    As products of matrices with a column for each option; of a choice of many, for those only that `b` has.
    """
    found = np.zeros((len(a), len(b)))
    for start, stop in _pieces([min(size, max(len(b), _SMALL)) for size in sizes]):
        own, other, counts = _labelled(a[:, start:stop], b[:, start:stop], sizes[start:stop])
        starts = np.concatenate([[0], np.cumsum(counts)])
        x = _one_hot(own, starts) * np.repeat(weights[start:stop], counts)
        found += x @ _one_hot(other, starts).T
    return found


def _pieces(columns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches of choices, each of not many more than `_COLUMNS` columns: the first and the one behind the last."""
    start, total = 0, 0
    for c, count in enumerate(columns):
        total += count
        if total >= _COLUMNS or c == len(columns) - 1:
            yield start, c + 1
            start, total = c + 1, 0


def _labelled(a: np.ndarray, b: np.ndarray, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Points a (m, c) and b (n, c), and how many labels each choice has: of a choice of many options, those that `b`
    has are numbered anew, and all others are one more."""
    a, b, counts = a.copy(), b.copy(), list(sizes)
    for c, size in enumerate(sizes):
        if size > max(len(b), _SMALL):
            values = np.unique(b[:, c])
            places = np.minimum(np.searchsorted(values, a[:, c]), len(values) - 1)
            a[:, c] = np.where(values[places] == a[:, c], places, len(values))
            b[:, c] = np.searchsorted(values, b[:, c])
            counts[c] = len(values) + 1
    return a, b, counts


def _one_hot(labels: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(n, number of columns) a 1 for each of labels (n, c), in the columns of its choice, which begin at `starts`."""
    found = np.zeros((len(labels), starts[-1]))
    found[np.arange(len(labels))[:, None], starts[:-1] + labels] = 1
    return found


def _most_likely(apart: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Length, noise and amplitude (variance) of the highest marginal likelihood, over a grid."""
    best = (-np.inf, 0.0, 0.0, 0.0)
    for length in _LENGTHS:
        values, vectors = np.linalg.eigh(np.exp(-apart / length))
        squares = (vectors.T @ y) ** 2
        for noise in _NOISES:
            spectrum = np.maximum(values, 1e-10) + noise
            amplitude = max(float((squares / spectrum).mean()), 1e-12)
            likelihood = -0.5 * len(y) * np.log(amplitude) - 0.5 * np.log(spectrum).sum()
            best = max(best, (float(likelihood), length, noise, amplitude))
    return best[1:]
