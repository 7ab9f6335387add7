"""`Model`: what controllers know of a space's networks, and `Fitted`: which new ones promise most by it.

The latency of a network is known before it is evaluated. Once told of it (`Model.inform`) the Gaussian process models
what is not known, the accuracy, around its trend with the logarithm of the latency; and what is to be improved is the
reward of that accuracy at the network's own latency: composite Bayesian optimisation (arXiv:1906.01537), which in a
reward linear in the accuracy has the expected improvement in closed form. Without being told, it models rewards.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.controllers.coding import Coding
from nas.controllers.gaussian_process import GaussianProcess, Hyperparameters, Seen
from search_spaces.space import SearchSpace

__all__ = ["Fitted", "Model", "log_improvement"]

_DRAWN = 2000  # points by which the latencies of the space are known


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What is known of points before they are evaluated.

    Attributes:
        middle, spread: of the logarithms of the latencies of the space's networks.
    """

    latency_ms: Callable[[np.ndarray], np.ndarray]
    reward: Callable[[float, float], float]
    middle: float
    spread: float


class Model:
    """What was observed of points, and what is known of them beforehand.

    Args:
        window: observations that a fit takes: the latest half of so many, and the best half.

    Attributes:
        points: (n, C) canonical, observed.
        rewards: (n,) of these.
    """

    def __init__(self, space: SearchSpace, window: int) -> None:
        self.points = np.zeros((0, len(space.choices)), dtype=np.int64)
        self.rewards = np.zeros(0)
        self._space, self._coding, self._window = space, Coding(space), window
        self._recalled: list[tuple[np.ndarray, np.ndarray]] = []  # points and top-1 of other searches
        self._known: _Known | None = None
        self._numbers: Hyperparameters | None = None  # of the latest fit

    def inform(self, latency_ms: Callable[[np.ndarray], np.ndarray], reward: Callable[[float, float], float]) -> None:
        """Tells what is known of points before they are evaluated; may be told anew.

        Args:
            latency_ms: of points (n, C), (n,) above 0.
            reward: (top1, latency_ms) to the rewards that are observed; at each latency linear in top-1, which is in
                [0, 1]. Where it does not grow with top-1, nothing is learnt from it.
        """
        drawn = self._space.sample(np.random.default_rng(0), _DRAWN)
        logs = np.log(latency_ms(self._space.canonical(drawn)))
        spread = float(logs.std())
        self._known = _Known(latency_ms=latency_ms, reward=reward, middle=float(logs.mean()), spread=spread or 1.0)

    def observe(self, points: np.ndarray, rewards: np.ndarray) -> None:
        """Takes the rewards (n,) of canonical points (n, C); NaN is left out, and of a point the latest counts."""
        seen = dict(zip(map(tuple, self.points.tolist()), self.rewards.tolist(), strict=True))
        for point, reward in zip(points.tolist(), rewards, strict=True):
            if not np.isnan(reward):
                seen[tuple(point)] = float(reward)
        self.points = np.array(list(seen), dtype=np.int64).reshape(-1, len(self._space.choices))
        self.rewards = np.array(list(seen.values()))

    def recall(self, searches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Takes what other searches have found: of each, canonical points (n, C) and their top-1 (n,).

        Their networks may have been trained otherwise, or on other data, so that all accuracies of a search are higher
        or lower by as much as fits best. They count once `inform` has told how rewards are made of accuracies.
        """
        share = self._window // max(1, len(searches))
        kept = [(points, top1, _some(top1, share)) for points, top1 in searches]
        self._recalled = [(points[rows], top1[rows]) for points, top1, rows in kept]

    @property
    def recalled(self) -> int:
        """How many networks of other searches count."""
        return sum(len(top1) for _, top1 in self._recalled) if self._known else 0

    def fitted(self) -> "Fitted | None":
        """The model of what was observed; None while that says too little."""
        rows = _some(self.rewards, self._window)
        worth = self._worth(self.points[rows])
        telling = worth.gain > 0  # elsewhere a reward says nothing about the accuracy
        points, worth = self.points[rows[telling]], worth.at(telling)
        values = (self.rewards[rows[telling]] - worth.offset) / worth.gain
        if self._known:
            values = np.clip(values, 0.0, 1.0)  # accuracies; what a diverged training is told as is none
        others = self._recalled if self._known else []
        seen = [worth.seen, *(self._worth(own, search).seen for search, (own, _) in enumerate(others, 1))]
        values = np.concatenate([values, *(top1 for _, top1 in others)])
        if len(values) < 2:
            return None
        before = self._numbers if self._numbers and len(self._numbers.slopes) == seen[0].features.shape[1] else None
        process = GaussianProcess(Seen.together(seen), values, self._coding.sizes, before)
        self._numbers = process.numbers
        return Fitted(process, points, np.vstack([points, *(own for own, _ in others)]), self._worth)

    def state(self) -> dict[str, Any]:
        """All that decides what comes next, but what `inform` and `recall` told."""
        return {"points": self.points.copy(), "rewards": self.rewards.copy(), "numbers": self._numbers}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state`."""
        self.points, self.rewards = state["points"].copy(), state["rewards"].copy()
        self._numbers = state["numbers"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": None}  # functions cannot be pickled: a copy must be informed again

    def _worth(self, points: np.ndarray, search: int = 0) -> "_Worth":
        """Of points of this search, or of one of those that are recalled, from 1."""
        known, coded = self._known, self._coding(points)
        if known is None or not len(points):
            seen = Seen(points=coded, features=np.zeros((len(points), 0 if known is None else 1 + len(self._recalled))))
            return _Worth(gain=np.ones(len(points)), offset=np.zeros(len(points)), seen=seen)
        ms = known.latency_ms(points)
        offset = np.array([known.reward(0.0, x) for x in ms])
        gain = np.array([known.reward(1.0, x) for x in ms]) - offset
        features = np.zeros((len(points), 1 + len(self._recalled)))
        features[:, 0] = (np.log(ms) - known.middle) / known.spread
        features[:, 1:] = np.arange(1, 1 + len(self._recalled)) == search  # each has an offset of its own
        return _Worth(gain=gain, offset=offset, seen=Seen(points=coded, features=features))


class Fitted:
    """The model of a moment.

    Args:
        own: (n, C) points that were observed.
        points: (m, C), these and those of other searches; at least one.
        worth: of points.

    Attributes:
        best: the highest reward that is expected of one of its own points, if there are any: of noisy rewards the best
            is partly luck.
    """

    def __init__(
        self,
        process: GaussianProcess,
        own: np.ndarray,
        points: np.ndarray,
        worth: "Callable[[np.ndarray], _Worth]",
    ) -> None:
        self._process, self._points, self._worth = process, points, worth
        self._expected = self.expected(points)
        self.best = float(self._expected[: len(own) or None].max())

    def best_points(self, count: int) -> np.ndarray:
        """(at most count, C) known points, those of which most is expected first."""
        return self._points[np.argsort(-self._expected, kind="stable")[:count]]

    def expected(self, points: np.ndarray) -> np.ndarray:
        """(m,) rewards."""
        worth = self._worth(points)
        return worth.of(self._process.mean(worth.seen))

    def promise(self, points: np.ndarray) -> np.ndarray:
        """(m,) logarithms of the expected improvement on `best`."""
        worth = self._worth(points)
        known = self._process.at(worth.seen)
        return log_improvement(worth.of(known.mean) - self.best, worth.gain * np.sqrt(known.variance))

    def draw(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(m,) rewards of points by one function that is drawn from the model."""
        worth = self._worth(points)
        known = self._process.at(worth.seen)
        covariance = known.rows(np.arange(len(points)))
        little = 1e-6 * (np.trace(covariance) / len(points) + 1e-12)
        root = np.linalg.cholesky(covariance + little * np.eye(len(points)))
        return worth.of(known.mean + root @ rng.standard_normal(len(points)))

    def pick(self, points: np.ndarray, n: int) -> np.ndarray:
        """(at most n, C) of `points`, each that which promises most, as if those before it had come to what is expected
        of them (the kriging believer of Ginsbourger et al., 2010): means stay, and deviations shrink."""
        worth = self._worth(points)
        known = self._process.at(worth.seen)
        above, variance, places = worth.of(known.mean) - self.best, known.variance, []
        learnt = np.zeros((min(n, len(points)), len(points)))  # by each of them: its square is what variances lose
        for k, own in enumerate(learnt):
            promise = log_improvement(above, worth.gain * np.sqrt(variance))
            promise[places] = -np.inf
            place = int(promise.argmax())
            places.append(place)
            row = known.rows(np.array([place]))[0] - learnt[:k, place] @ learnt[:k]
            own[:] = row / math.sqrt(variance[place] + self._process.noise**2)
            above = above - max(float(above[place]), 0.0)
            variance = np.maximum(variance - own**2, 0.0)
        return points[places]


@dataclass(frozen=True, kw_only=True)
class _Worth:
    """What accuracies of points (n,) would be worth: ``gain * top1 + offset``; and the points, coded."""

    gain: np.ndarray
    offset: np.ndarray
    seen: Seen

    def at(self, rows: np.ndarray) -> "_Worth":
        return _Worth(gain=self.gain[rows], offset=self.offset[rows], seen=self.seen[rows])

    def of(self, top1: np.ndarray) -> np.ndarray:
        """(n,) rewards."""
        return self.gain * top1 + self.offset


def _some(values: np.ndarray, count: int) -> np.ndarray:
    """Places of at most so many values: of the latest half, and the best half."""
    half = count // 2
    if len(values) <= 2 * half:
        return np.arange(len(values))
    return np.union1d(np.arange(len(values) - half, len(values)), np.argsort(-values, kind="stable")[:half])


def log_improvement(above: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """(n,) logarithm of the expectation of max(0, x), for a normal x around `above` (arXiv:2310.20708, equation 9)."""
    deviation = np.maximum(deviation, 1e-12)
    z = above / deviation
    near = z > -5
    found = np.empty(len(z))
    phi = np.exp(-0.5 * z[near] ** 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z[near]])
    found[near] = np.log(phi + z[near] * below)
    far = z[~near]  # phi(z) / z^2, as the tail of the normal distribution goes on
    found[~near] = -0.5 * far**2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(-far)
    return found + np.log(deviation)
