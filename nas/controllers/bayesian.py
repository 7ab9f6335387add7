"""Bayesian optimisation of networks: a Gaussian process over the choices, Thompson sampling among children of the best.

For searches of tens to thousands of samples, where a policy has not begun to learn. The kernel falls with the choices
in which two networks differ,

    k(a, b) = exp(-sum over the choices that differ of weight_c / length),

and so holds main effects and interactions of all orders. A choice's weight is how much its options differ in a ridge
regression to what was seen so far; length and noise are those of the highest marginal likelihood. Hence it goes on
without a setting from exact rewards to the noisy ones of short trainings. (Neural architecture search by Gaussian
processes: arXiv:1802.07191; by local changes of the best networks: arXiv:1910.11858.)

The latency of a network is known before it is evaluated. Once told of it (`Bayesian.inform`) the process models what
is not known, the accuracy beyond its trend with the latency, and each draw of it is rewarded with the network's own
latency (composite Bayesian optimisation, arXiv:1906.01537).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.space import SearchSpace

__all__ = ["Bayesian", "BayesianSettings", "GaussianProcess"]

_LENGTHS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
_NOISES = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.7, 2.0)  # variance, in units of the kernel's
_LEAST_WEIGHT = 0.1
_RIDGE = 10.0
_FEW = 200
_CHANGES = (0.35, 0.25, 0.2, 0.1, 0.1)  # how often a child differs from its parent in 1, 2, ... choices


@dataclass(frozen=True, kw_only=True)
class BayesianSettings:
    """Settings of the controller.

    Attributes:
        random: samples before the first model.
        parents: how many of the best networks, as the model sees them, have children.
        children: how many for a batch, at least 8 for each of its proposals.
        drawn: of how many children functions are drawn at most, at least 8 for each proposal: half of them those of
            the best means, half any. (Without the former, networks that hit a latency are rarely among them; without
            the latter too little is new.)
        window: observations that the model is made of: the latest half of so many, and the best half.
    """

    random: int = 24
    parents: int = 24
    children: int = 4096
    drawn: int = 512
    window: int = 400

    def __post_init__(self) -> None:
        for name in ("random", "parents", "children", "drawn", "window"):
            if getattr(self, name) < 2:
                raise ValueError(f"controller bayesian: {name}={getattr(self, name)}; it must be at least 2")


class Bayesian:
    """The controller; see the module's text."""

    def __init__(self, space: SearchSpace, settings: BayesianSettings | None = None, *, rng_seed: int = 0) -> None:
        self._space = space
        self._settings = settings or BayesianSettings()
        self._rng = np.random.default_rng(rng_seed)
        self._points = np.zeros((0, len(space.choices)), dtype=np.int64)  # canonical, observed
        self._rewards = np.zeros(0)
        self._known: set[tuple[int, ...]] = set()  # canonical, proposed or observed
        self._informed: tuple[Callable[[np.ndarray], np.ndarray], Callable[[float, float], float]] | None = None

    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]) -> None:
        """Tells what is known of points before they are evaluated; may be told anew.

        Args:
            latency_ms: of points (n, C), (n,) above 0.
            reward: (top1, latency_ms) to the rewards that are observed; at each latency linear in top-1, which is in
                [0, 1]. Where it does not grow with top-1, nothing is learnt from it.
        """
        self._informed = latency_ms, reward

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors: random ones at first, then draws from the model; new ones as long as there are."""
        if len(self._known) < self._settings.random or len(self._rewards) < 2:
            found = self._random(n)
        else:
            found = self._draws(n)
        self._known.update(map(tuple, found.tolist()))
        return found

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Learns from the rewards (n,) of `indices` (n, C); NaN is left out, and of a point the latest counts."""
        told = dict(zip(map(tuple, self._points.tolist()), self._rewards.tolist(), strict=True))
        for point, reward in zip(self._space.canonical(np.asarray(indices)).tolist(), rewards, strict=True):
            self._known.add(tuple(point))
            if not np.isnan(reward):
                told[tuple(point)] = float(reward)
        self._points = np.array(list(told), dtype=np.int64).reshape(-1, len(self._space.choices))
        self._rewards = np.array(list(told.values()))

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "points": self._points.copy(),
            "rewards": self._rewards.copy(),
            "known": sorted(map(list, self._known)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = state["rng"]
        self._points, self._rewards = state["points"].copy(), state["rewards"].copy()
        self._known = set(map(tuple, state["known"]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_informed": None}  # functions cannot be pickled: a copy must be informed again

    def _random(self, n: int) -> np.ndarray:
        """(n, C) canonical points, new ones as long as a few tries find them."""
        drawn = self._space.canonical(self._space.sample(self._rng, 10 * n))
        order = sorted(range(len(drawn)), key=lambda i: tuple(drawn[i].tolist()) in self._known)  # the new ones first
        distinct = {tuple(drawn[i].tolist()): i for i in reversed(order)}
        picked = sorted(distinct.values(), key=order.index)
        return drawn[(picked + order)[:n]]

    def _draws(self, n: int) -> np.ndarray:
        """(n, C) canonical points, each the best child by a function drawn from the model."""
        rows = self._window()
        worth = self._worth(self._points[rows])
        telling = worth.gain > 0  # elsewhere a reward says nothing about the accuracy
        if telling.sum() < 2:
            return self._random(n)
        points, worth = self._points[rows[telling]], worth.at(telling)
        seen = (self._rewards[rows[telling]] - worth.offset) / worth.gain
        if self._informed:
            seen = np.clip(seen, 0.0, 1.0)  # accuracies; what a diverged training is told as is none
        slope = _slope(worth.log_ms, seen)
        sizes = [len(choice.options) for choice in self._space.choices]
        model = GaussianProcess(points, seen - slope * worth.log_ms, sizes)
        parents = points[np.argsort(-worth.of(model.mean(points), slope), kind="stable")[: self._settings.parents]]
        children = self._children(parents, max(self._settings.children, 8 * n))
        worth = self._worth(children)
        most = max(self._settings.drawn, 8 * n)
        if len(children) > most:  # they are in no order
            likeliest = np.argsort(-worth.of(model.mean(children), slope), kind="stable")[: most // 2]
            kept = np.union1d(likeliest, np.arange(most // 2))
            children, worth = children[kept], worth.at(kept)
        picked: list[int] = []
        for draw in model.draw(children, min(n, len(children)), self._rng) if len(children) else ():
            own = worth.of(draw, slope)
            own[picked] = -np.inf
            picked.append(int(own.argmax()))
        found = children[picked]
        self._known.update(map(tuple, found.tolist()))
        return found if len(found) == n else np.vstack([found, self._random(n - len(found))])  # nothing new is near

    def _worth(self, points: np.ndarray) -> "_Worth":
        if self._informed is None or not len(points):
            return _Worth(np.ones(len(points)), np.zeros(len(points)), np.zeros(len(points)))
        latency_ms, reward = self._informed
        ms = latency_ms(points)
        offset = np.array([reward(0.0, x) for x in ms])
        return _Worth(np.array([reward(1.0, x) for x in ms]) - offset, offset, np.log(ms))

    def _window(self) -> np.ndarray:
        count, half = len(self._rewards), self._settings.window // 2
        if count <= 2 * half:
            return np.arange(count)
        return np.union1d(np.arange(count - half, count), np.argsort(-self._rewards, kind="stable")[:half])

    def _children(self, parents: np.ndarray, count: int) -> np.ndarray:
        """(m, C) distinct canonical points that were not proposed yet: one to five changes from a parent."""
        found = parents[self._rng.integers(len(parents), size=count)]
        sizes = np.array([len(choice.options) for choice in self._space.choices])
        changes = self._rng.choice([1, 2, 3, 4, 5], size=count, p=_CHANGES)
        for change in range(len(_CHANGES)):
            may = self._space.active(found) & (sizes > 1)
            column = np.where(may, self._rng.random(found.shape), -1.0).argmax(axis=1)
            rows = np.flatnonzero((change < changes) & may.any(axis=1))
            own, size = found[rows, column[rows]], sizes[column[rows]]
            found[rows, column[rows]] = (own + 1 + np.floor(self._rng.random(len(rows)) * (size - 1))) % size
        distinct = dict.fromkeys(map(tuple, self._space.canonical(found).tolist()))
        new = [point for point in distinct if point not in self._known]
        return np.array(new, dtype=np.int64).reshape(-1, len(sizes))


@dataclass(frozen=True)
class _Worth:
    """What accuracies of points (n,) would be worth: ``gain * top1 + offset``; and the logarithm of their latencies."""

    gain: np.ndarray
    offset: np.ndarray
    log_ms: np.ndarray

    def at(self, rows: np.ndarray) -> "_Worth":
        return _Worth(self.gain[rows], self.offset[rows], self.log_ms[rows])

    def of(self, residual: np.ndarray, slope: float) -> np.ndarray:
        """(n,) rewards, where top-1 is `residual` above its trend with the latency."""
        return self.gain * (residual + slope * self.log_ms) + self.offset


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of the line through the points; 0 if they are all above each other."""
    apart = x - x.mean()
    return float(apart @ y / (apart @ apart)) if apart @ apart > 1e-9 else 0.0


class GaussianProcess:
    """A Gaussian process over points (n, C) with C choices of `sizes` options, fitted to rewards (n,)."""

    def __init__(self, points: np.ndarray, rewards: np.ndarray, sizes: list[int]) -> None:
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._mean, self._deviation = float(rewards.mean()), max(float(rewards.std()), 1e-12)
        y = (rewards - self._mean) / self._deviation
        one_hot = self._one_hot(points)
        self.weights = self._importance(one_hot, y)  # (C,), 1 in the mean
        self._per_option = np.repeat(self.weights, sizes)
        self._x = one_hot
        apart = self._apart(one_hot, one_hot)
        some = np.unique(np.linspace(0, len(y) - 1, _FEW).astype(int))  # enough for three numbers
        self.length, self.noise, self._amplitude = _most_likely(apart[np.ix_(some, some)], y[some])
        kernel = np.exp(-apart / self.length) + self.noise * np.eye(len(y))
        self._cholesky = np.linalg.cholesky(kernel)
        self._alpha = np.linalg.solve(self._cholesky.T, np.linalg.solve(self._cholesky, y))

    def mean(self, points: np.ndarray) -> np.ndarray:
        """(m,) expected rewards of points (m, C)."""
        return self._mean + self._deviation * (self._kernel(self._one_hot(points), self._x) @ self._alpha)

    def draw(self, points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, m) joint draws of the rewards of points (m, C)."""
        x = self._one_hot(points)
        across = self._kernel(x, self._x)
        solved = np.linalg.solve(self._cholesky, across.T)
        covariance = self._kernel(x, x) - solved.T @ solved + 1e-6 * np.eye(len(x))
        root = np.sqrt(self._amplitude) * np.linalg.cholesky(covariance)
        values = across @ self._alpha + (root @ rng.standard_normal((len(x), count))).T
        return self._mean + self._deviation * values

    def _one_hot(self, points: np.ndarray) -> np.ndarray:
        found = np.zeros((len(points), self._offsets[-1]))
        found[np.arange(len(points))[:, None], self._offsets[:-1] + points] = 1
        return found

    def _apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Summed weights of the choices that differ."""
        return np.maximum(self.weights.sum() - (a * self._per_option) @ b.T, 0.0)

    def _kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-self._apart(a, b) / self.length)

    def _importance(self, one_hot: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(C,) range of the effects of each choice's options, at least a tenth of the mean, scaled to a mean of 1."""
        x = one_hot - one_hot.mean(axis=0)
        effects = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
        ranges = np.array([np.ptp(own) for own in np.split(effects, self._offsets[1:-1])])
        weights = np.maximum(ranges / max(ranges.mean(), 1e-12), _LEAST_WEIGHT)
        return weights / weights.mean()


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
