"""Bayesian optimisation of networks: a Gaussian process over the choices, Thompson sampling among children of the best.

For searches of tens to hundreds of samples, where a policy has not begun to learn. The model is
`gaussian_process.GaussianProcess`.

The latency of a network is known before it is evaluated. Once told of it (`Bayesian.inform`) the process models what
is not known, the accuracy beyond its trend with the latency, and each draw of it is rewarded with the network's own
latency.

This is no published method as a whole. Its parts, and how they differ from where they come from:

- a Gaussian process of networks, as in NASBOT (arXiv:1802.07191), whose kernel is an optimal transport between graphs
  and whose acquisition is the expected improvement, sought by evolution; here the kernel counts the choices that
  differ, weighted by what they do, and the acquisition is a draw (Thompson sampling), which gives batches by itself;
- candidates are changes of the best networks, as in BANANAS (arXiv:1910.11858), which changes one thing; here one to
  five, and BANANAS's model is an ensemble of neural networks on paths, each network drawn by itself; here a draw is a
  function of all candidates;
- the known part is computed and the unknown one modelled: composite Bayesian optimisation (arXiv:1906.01537), there by
  the gradient of an expected improvement over numbers, here by draws over networks;
- all numbers, the window of observations and the trend with the latency are ours.

The numbers were chosen on the benchmarks of `experiments.search_quality` in the space accel_nasbench, with the seeds 0
to 19. Its figures are of other seeds, and of cells on which nothing was chosen, with and without the latencies. To know
these helps under rewards that ask for a latency (`absolute`). Where a reward only weighs it against the accuracy, no
figure shows that it helps, nor that Optuna's Gaussian process is worse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.controllers.contract import Whole, check_count, check_settings, check_state, setting, told
from nas.controllers.gaussian_process import GaussianProcess
from search_spaces.space import SearchSpace

__all__ = ["Bayesian", "BayesianSettings"]

_MOST_ENTRIES = 2**24  # of the array of children, 128 MiB: a space of more than 4096 choices has fewer of them
_MOST_DRAWN = 4096  # networks that are drawn jointly: their covariance has 128 MiB
_CHANGES = (0.35, 0.25, 0.2, 0.1, 0.1)  # how often a child differs from its parent in 1, 2, ... choices


@dataclass(frozen=True, kw_only=True)
class BayesianSettings:
    """Settings of the controller.

    There are at least 8 children and 8 drawn ones for each proposal of a batch, and fewer children in a space of
    thousands of choices. Half of those that are drawn have the best means, half are any: without the former, networks
    that hit a latency are rarely among them; without the latter too little is new.
    """

    random: int = setting(24, Whole(2, 100_000), "samples before the first model")
    parents: int = setting(24, Whole(2, 10_000), "how many of the best networks, as the model sees them, have children")
    children: int = setting(4096, Whole(2, 65_536), "networks near the parents, for a batch")
    drawn: int = setting(512, Whole(2, _MOST_DRAWN), "how many of the children are compared by draws from the model")
    window: int = setting(
        400, Whole(2, 4096), "observations that the model is made of: the latest half of so many, and the best half"
    )

    def __post_init__(self) -> None:
        check_settings("bayesian", self)


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
        check_count(n)
        if len(self._known) < self._settings.random or len(self._rewards) < 2:
            found = self._random(n)
        else:
            found = self._draws(n)
        self._known.update(map(tuple, found.tolist()))
        return found

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Learns from the rewards (n,) of `indices` (n, C); NaN is left out, and of a point the latest counts."""
        indices, rewards = told(self._space, indices, rewards)
        seen = dict(zip(map(tuple, self._points.tolist()), self._rewards.tolist(), strict=True))
        for point, reward in zip(self._space.canonical(indices).tolist(), rewards, strict=True):
            self._known.add(tuple(point))
            if not np.isnan(reward):
                seen[tuple(point)] = float(reward)
        self._points = np.array(list(seen), dtype=np.int64).reshape(-1, len(self._space.choices))
        self._rewards = np.array(list(seen.values()))

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "points": self._points.copy(),
            "rewards": self._rewards.copy(),
            "known": sorted(map(list, self._known)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        shape = (len(self._space.choices),)
        check_state("bayesian", state, ("rng", "points", "rewards", "known"), shapes={"points": shape})
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
        room = _MOST_ENTRIES // len(self._space.choices)
        children = self._children(parents, max(min(self._settings.children, room), 8 * n))
        worth = self._worth(children)
        most = min(max(self._settings.drawn, 8 * n), _MOST_DRAWN)
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
