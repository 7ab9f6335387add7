"""A Gaussian process over the points of a space, and over what is known of them beforehand.

The kernel falls with the choices in which two networks differ, and grows with what they have in common in their
features, as the logarithm of a known latency:

    k(a, b) = amplitude * exp(-sum of weight_c over the choices c that differ) + sum of slope_f * f(a) * f(b)

so that it holds main effects and interactions of all orders, around a trend with the features. All numbers of it, and
the variance of the noise, are those of the highest posterior density: the marginal likelihood (Rasmussen and Williams,
2006, section 5.4.1) times wide log-normal priors, which decide while little was seen. So it goes on without a setting
from exact rewards to the noisy ones of short trainings.

Time and memory grow with the number of choices and of points, but not with the number of options.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nas.controllers.threads import one_thread

__all__ = ["GaussianProcess", "Hyperparameters", "Posterior", "Seen"]

_WEIGHT = 2.0  # all weights together, by the prior: networks that differ in all choices are next to strangers
_NOISE = 1e-2  # by the prior, of values that have a variance of 1
_LEAST_NOISE = 1e-5
_WIDTHS = {"weights": 1.0, "amplitude": 1.0, "slopes": 1.5, "noise": 2.0}  # deviations of the priors of the logarithms
_FAR = 6.0  # deviations from the priors' medians; beyond them kernels can become too large to be factored
_FIRST, _AGAIN = 40, 15  # steps of the search for the densest numbers: from the prior, from those of before
_FEW = 250  # points by which they are chosen
_COLUMNS = 1024  # of options that are compared in one piece
_SMALL = 64  # options that are compared as they are
_ROWS = 4096  # points that are compared in one piece


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Points of a space with what is known of them.

    Attributes:
        points: (n, C) indices of options.
        features: (n, F) numbers of about the size of 1.
    """

    points: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @staticmethod
    def together(several: "Sequence[Seen]") -> "Seen":
        """All of them, one after the other."""
        return Seen(
            points=np.concatenate([one.points for one in several]),
            features=np.concatenate([one.features for one in several]),
        )

    def __getitem__(self, rows: "np.ndarray | slice") -> "Seen":
        return Seen(points=self.points[rows], features=self.features[rows])


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """The numbers of the kernel.

    Attributes:
        weights: (C,) of the choices.
        slopes: (F,) of the features: variances.
        noise: variance, of values that have a variance of 1.
    """

    weights: np.ndarray
    amplitude: float
    slopes: np.ndarray
    noise: float

    @staticmethod
    def prior(choices: int, features: int) -> "Hyperparameters":
        """The medians of the priors."""
        return Hyperparameters(
            weights=np.full(choices, _WEIGHT / choices), amplitude=1.0, slopes=np.ones(features), noise=_NOISE
        )

    @property
    def logs(self) -> np.ndarray:
        """(C + F + 2,) logarithms."""
        return np.log(np.concatenate([self.weights, [self.amplitude], self.slopes, [self.noise]]))

    def like_this(self, logs: np.ndarray) -> "Hyperparameters":
        """Those whose `logs` these are."""
        values, choices = np.exp(logs), len(self.weights)
        return Hyperparameters(
            weights=values[:choices],
            amplitude=float(values[choices]),
            slopes=values[choices + 1 : -1],
            noise=float(values[-1]),
        )


class GaussianProcess:
    """A Gaussian process over points with C choices of `sizes` options, fitted to values (n,).

    Args:
        before: the numbers of an earlier fit, to begin the search for the best ones with.

    Attributes:
        numbers: of the kernel.
    """

    def __init__(
        self, seen: Seen, values: np.ndarray, sizes: Sequence[int], before: Hyperparameters | None = None
    ) -> None:
        self._sizes, self._seen = list(sizes), seen
        self._mean, self._deviation = float(values.mean()), max(float(values.std()), 1e-12)
        y = (values - self._mean) / self._deviation
        some = np.unique(np.linspace(0, len(y) - 1, _FEW).astype(int))
        self.numbers = _densest(seen[some], y[some], self._sizes, before)
        kernel = self._kernel(seen, seen) + (self.numbers.noise + _LEAST_NOISE) * np.eye(len(y))
        self._root = _inverse_root(kernel)  # once, since many points are asked for
        self._alpha = self._root.T @ (self._root @ y)

    @property
    def noise(self) -> float:
        """Deviation of the noise of values."""
        return self._deviation * float(np.sqrt(self.numbers.noise + _LEAST_NOISE))

    def mean(self, new: Seen) -> np.ndarray:
        """(m,) expected values."""
        pieces = [new[start : start + _ROWS] for start in range(0, len(new), _ROWS)] or [new]
        found = [self._kernel(piece, self._seen) @ self._alpha for piece in pieces]
        return self._mean + self._deviation * np.concatenate(found)

    def at(self, new: Seen) -> "Posterior":
        """What is known of points."""
        across = self._kernel(new, self._seen)
        solved = self._root @ across.T
        own = self.numbers.amplitude + (new.features**2) @ self.numbers.slopes
        scale = self._deviation**2
        return Posterior(
            mean=self._mean + self._deviation * (across @ self._alpha),
            variance=scale * np.maximum(own - (solved**2).sum(axis=0), 1e-10),
            rows=lambda some: scale * (self._kernel(new[some], new) - solved[:, some].T @ solved),
        )

    def _kernel(self, a: Seen, b: Seen) -> np.ndarray:
        return _kernel(a, b, self._sizes, self.numbers)


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """What is known of m points, the noise of their values aside.

    Attributes:
        mean: (m,)
        variance: (m,)
        rows: for some of the points (k,) their covariances (k, m) with all.
    """

    mean: np.ndarray
    variance: np.ndarray
    rows: Callable[[np.ndarray], np.ndarray]


def _kernel(a: Seen, b: Seen, sizes: Sequence[int], numbers: Hyperparameters) -> np.ndarray:
    trend = (a.features * numbers.slopes) @ b.features.T
    return numbers.amplitude * np.exp(-_apart(a.points, b.points, sizes, numbers.weights)) + trend


def _apart(a: np.ndarray, b: np.ndarray, sizes: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Summed weights of the choices that differ."""
    return np.maximum(weights.sum() - _alike(a, b, sizes, weights), 0.0)


def _densest(seen: Seen, y: np.ndarray, sizes: Sequence[int], before: Hyperparameters | None) -> Hyperparameters:
    """The numbers of the highest posterior density, as L-BFGS finds them.

    Its line search may try any numbers: beyond `_FAR` what is minimised goes on as a parabola from the nearest ones.
    """
    import torch

    features = seen.features.shape[1]
    prior, widths = Hyperparameters.prior(len(sizes), features), _widths(len(sizes), features)
    begin = before or prior
    at = torch.tensor(begin.logs, requires_grad=True)
    optimizer = torch.optim.LBFGS([at], max_iter=_AGAIN if before else _FIRST, line_search_fn="strong_wolfe")
    best = [np.inf, begin.logs]

    def loss() -> float:
        logs = at.detach().numpy().copy()
        near = np.clip(logs, prior.logs - _FAR * widths, prior.logs + _FAR * widths)
        value, slope = _surprise(near, seen, y, sizes, prior)
        if value < best[0]:
            best[:] = [value, near]
        beyond = logs - near
        at.grad = torch.from_numpy(slope + beyond)
        return value + float(slope @ beyond + 0.5 * beyond @ beyond)

    optimizer.step(loss)
    return prior.like_this(np.asarray(best[1]))


def _surprise(
    logs: np.ndarray, seen: Seen, y: np.ndarray, sizes: Sequence[int], prior: Hyperparameters
) -> tuple[float, np.ndarray]:
    """Minus the logarithm of the posterior density of the kernel's numbers, but for a constant, and its slope."""
    numbers = prior.like_this(logs)
    near = numbers.amplitude * np.exp(-_apart(seen.points, seen.points, sizes, numbers.weights))
    features = seen.features
    kernel = near + (features * numbers.slopes) @ features.T + (numbers.noise + _LEAST_NOISE) * np.eye(len(y))
    root = _inverse_root(kernel)
    inverse = root.T @ root
    alpha = inverse @ y
    by_kernel = 0.5 * (inverse - np.outer(alpha, alpha))  # the slope in the kernel's entries
    by_near = by_kernel * near
    slope = np.concatenate(
        [
            -numbers.weights * (by_near.sum() - _alike_sums(by_near, seen.points, sizes)),
            [by_near.sum()],
            numbers.slopes * (features * (by_kernel @ features)).sum(axis=0),
            [numbers.noise * np.trace(by_kernel)],
        ]
    )
    widths = _widths(len(sizes), features.shape[1])
    off = (logs - prior.logs) / widths
    value = 0.5 * y @ alpha - np.log(np.diag(root)).sum() + 0.5 * (off**2).sum()
    return float(value), slope + off / widths


def _widths(choices: int, features: int) -> np.ndarray:
    """(C + F + 2,) deviations of the priors, in the order of `Hyperparameters.logs`."""
    return np.repeat(list(_WIDTHS.values()), [choices, 1, features, 1])


def _inverse_root(kernel: np.ndarray) -> np.ndarray:
    """R of R' R = the inverse of a positive definite matrix: of its Cholesky factor, and so triangular."""
    import torch

    with one_thread():
        root = torch.linalg.cholesky(torch.from_numpy(kernel))
        return torch.linalg.solve_triangular(root, torch.eye(len(kernel), dtype=root.dtype), upper=False).numpy()


def _alike_sums(matrix: np.ndarray, points: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """(C,) for each choice the sum of the entries of a matrix (n, n) whose row and column, two points, agree in it."""
    sums = np.empty(len(sizes))
    for start, stop in _pieces([min(size, max(len(points), _SMALL)) for size in sizes]):
        own = points[:, start:stop]
        _, labels, counts = _labelled(own, own, sizes[start:stop])
        starts = np.concatenate([[0], np.cumsum(counts)])
        x = _one_hot(labels, starts)
        sums[start:stop] = np.add.reduceat((x * (matrix @ x)).sum(axis=0), starts[:-1])
    return sums


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
