"""Bayesian optimisation of networks: a Gaussian process over the choices, and the expected improvement near the best.

For searches of tens to hundreds of samples, where a policy has not begun to learn. The model (`nas.controllers.model`)
knows the latencies of networks before they are evaluated.

This is no published method as a whole. Its parts, and how they differ from where they come from:

- a Gaussian process of networks, as in NASBOT (arXiv:1802.07191), whose kernel is an optimal transport between graphs;
  here the kernel counts the choices that differ, each with a weight of its own (automatic relevance determination),
  all chosen together by the marginal likelihood, as Optuna's GPSampler and BoTorch do it;
- the expected improvement (Jones et al., 1998), as its logarithm (arXiv:2310.20708); a batch is chosen one after the
  other, each time as if the ones before had come to what is expected of them (the kriging believer of Ginsbourger et
  al., 2010);
- candidates are changes of the best networks, as in BANANAS (arXiv:1910.11858), which changes one thing; here one to
  five, and again of those that promise most, in rounds;
- the known part is computed and the unknown one modelled: composite Bayesian optimisation (arXiv:1906.01537), which in
  a reward linear in the accuracy has the expected improvement in closed form.

The numbers were chosen on the benchmarks of `experiments.search_quality` in the space accel_nasbench, with the seeds 0
to 23. Its figures are of other seeds, and of cells on which nothing was chosen, with and without the latencies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.controllers.contract import Whole, check_count, check_settings, check_state, setting, told
from nas.controllers.model import Model
from nas.controllers.modelled import Modelled
from nas.controllers.proposals import Proposals
from search_spaces.space import SearchSpace

__all__ = ["Bayesian", "BayesianSettings"]


@dataclass(frozen=True, kw_only=True)
class BayesianSettings:
    """Settings of the controller. In a space of thousands of choices there are fewer children."""

    random: int = setting(16, Whole(2, 100_000), "samples before the first model")
    parents: int = setting(24, Whole(2, 10_000), "how many of the best networks, as the model sees them, have children")
    children: int = setting(2048, Whole(2, 65_536), "networks near the parents, for a batch")
    window: int = setting(
        400, Whole(2, 4096), "observations that the model is made of: the latest half of so many, and the best half"
    )

    def __post_init__(self) -> None:
        check_settings("bayesian", self)


class Bayesian(Modelled):
    """The controller; see the module's text."""

    def __init__(self, space: SearchSpace, settings: BayesianSettings | None = None, *, rng_seed: int = 0) -> None:
        self._space = space
        self._settings = settings or BayesianSettings()
        self._rng = np.random.default_rng(rng_seed)
        self._model = Model(space, self._settings.window)
        self._proposals = Proposals(space, self._rng)

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors: random ones at first, then by the model; new ones as long as there are."""
        check_count(n)
        found = self._by_model(n)
        self._proposals.add(found)
        if len(found) < n:  # too little is known, or nothing new is near
            found = np.vstack([found, self._proposals.random(n - len(found))])
            self._proposals.add(found)
        return found

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """Learns from the rewards (n,) of `indices` (n, C); NaN is left out, and of a point the latest counts."""
        indices, rewards = told(self._space, indices, rewards)
        points = self._space.canonical(indices)
        self._proposals.add(points)
        self._model.observe(points, rewards)

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self._rng.bit_generator.state, "proposed": self._proposals.state(), **self._model.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        shape = (len(self._space.choices),)
        check_state("bayesian", state, ("rng", "proposed", "points", "rewards", "numbers"), shapes={"points": shape})
        self._rng.bit_generator.state = state["rng"]
        self._proposals.load(state["proposed"])
        self._model.load(state)

    def _by_model(self, n: int) -> np.ndarray:
        """(at most n, C) new points of which the model expects most."""
        known = len(self._proposals) + self._model.recalled >= self._settings.random
        fitted = self._model.fitted() if known else None
        if fitted is None:
            return np.zeros((0, len(self._space.choices)), dtype=np.int64)
        parents, children = (
            fitted.best_points(self._settings.parents),
            self._proposals.count(self._settings.children, n),
        )
        others = self._proposals.anywhere(children // 4)
        return fitted.pick(self._proposals.promising(fitted, parents, others, children=children, n=n), n)
