"""TuNAS's controller (arXiv:2008.06120, section 3.2): independent logits for every choice, trained by REINFORCE.

No network: p(point) is the product of one softmax a choice, over the choices that matter for the point. The gradient
is that of the log-probability times the reward above an exponential moving average, which has this reward already, and
no bias to the first ones; Adam without momentum turns it into steps whose length does not depend on the rewards' scale.
As in tunas/controller.py, custom_layers.py, tpu_optimizer_ops.py and mobile_architecture_search.py: logits that begin
with zeros, beta1 = 0, beta2 = 0.999, a baseline of decay 0.95, no entropy bonus. What differs:

- the learning rate is 0.2 from the first batch on, for searches of tens to thousands of samples. TuNAS, with 27,050
  updates beside shared weights, has 0 in the first quarter and then 0.0048 to 0.048 (0.0003 to 0.003 for 256 images a
  step); with mode=joint, so have we (`nas.supernet.phases.Joint`);
- TuNAS averages the squares of gradients over shards with a network each; here a batch's gradients are averaged first;
- an entropy bonus, if there is one, counts all choices, in units of the rewards' mean deviation; TuNAS's counts those
  that matter for the sample, in the reward's own units.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.controllers.contract import Number, check_count, check_settings, check_state, setting, told
from nas_runtime.console import counted
from search_spaces.space import SearchSpace

__all__ = ["Reinforce", "ReinforceSettings"]


_MOST_LOGITS = 2**23  # 64 MiB, of which there are some copies
_EPSILON = 1e-8  # of Adam, as "epsilon hat" in its paper
_AT_ONCE = 2**22  # numbers that are drawn or added up in one piece


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings:
    """Settings of the controller."""

    lr: float = setting(
        0.2, Number(0, 100, above=True), "learning rate of Adam without momentum; with mode=joint TuNAS's schedule"
    )
    beta2: float = setting(0.999, Number(0, 1, below=True), "Adam's decay of squared gradients")
    baseline_decay: float = setting(0.95, Number(0, 1, below=True), "of the moving average of rewards")
    entropy: float = setting(
        0.0, Number(0, 1000), "weight of the entropy bonus, in units of the rewards' moving mean deviation"
    )

    def __post_init__(self) -> None:
        check_settings("reinforce", self)


class Reinforce:
    """The controller; see the module's text.

    Attributes:
        logits: (C, O) of the options of every choice; -inf where a choice has fewer than O options.
        lr: as in the settings; may be changed between steps.
    """

    def __init__(self, space: SearchSpace, settings: ReinforceSettings | None = None, *, rng_seed: int = 0) -> None:
        self._space = space
        self._settings = settings or ReinforceSettings()
        self.lr = self._settings.lr
        self._rng = np.random.default_rng(rng_seed)
        sizes = np.array([len(choice.options) for choice in space.choices])
        if len(sizes) * sizes.max() > _MOST_LOGITS:
            size = f"{counted(len(sizes), 'choice')} of up to {sizes.max()} options"
            raise ValueError(
                f"controller reinforce: space {space.name!r} has {size}; their product must be at most {_MOST_LOGITS}: "
                "use controller=evolution"
            )
        self._exists = np.arange(sizes.max()) < sizes[:, None]
        self.logits = np.where(self._exists, 0.0, -np.inf)
        self._second = np.zeros(self.logits.shape)  # Adam's second moment
        self._steps = 0
        self._baseline: float | None = None
        self._scale = 0.0

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors drawn from the policy."""
        return self.draw(n, self._rng)

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """As `propose`, by another generator."""
        check_count(n)
        found = np.empty((n, len(self.logits)), dtype=np.int64)
        for rows in self._pieces(n):
            noise = rng.gumbel(size=(rows.stop - rows.start, *self.logits.shape))
            found[rows] = (self.logits + noise).argmax(axis=2)
        return found

    def observe(self, indices: np.ndarray, rewards: np.ndarray, *, chosen: np.ndarray | None = None) -> None:
        """One step on a batch: indices (n, C), rewards (n,); NaN rewards are left out.

        Args:
            chosen: (C,) bools, the choices that the policy made itself; from others it does not learn.
        """
        indices, rewards = told(self._space, indices, rewards)
        known = ~np.isnan(rewards)
        if not known.any():
            return
        indices, rewards = indices[known], rewards[known]
        decay = self._settings.baseline_decay
        self._baseline = self._averaged(float(rewards.mean()))
        above = rewards - self._baseline
        self._scale = decay * self._scale + (1 - decay) * float(np.abs(above).mean())
        gradient = np.zeros(self.logits.shape)
        for rows in self._pieces(len(above)):
            gradient += (above[rows, None, None] * self.log_prob_gradient(indices[rows])).sum(axis=0)
        gradient /= len(above)
        if chosen is not None:
            gradient[~chosen] = 0.0
        gradient += self._settings.entropy * self._scale * self._entropy_gradient()
        self._steps += 1
        beta2 = self._settings.beta2
        self._second = beta2 * self._second + (1 - beta2) * gradient**2
        length = self.lr * math.sqrt(1 - beta2**self._steps)
        self.logits = self.logits + length * gradient / (np.sqrt(self._second) + _EPSILON)

    def _averaged(self, reward: float) -> float:
        """The baseline with one more reward: the mean of all, those of long ago with less weight; the first alone."""
        decay, past = self._settings.baseline_decay, self._baseline or 0.0
        weight = decay * (1 - decay**self._steps)  # of the rewards so far; 1 - decay of this one
        return (weight * past + (1 - decay) * reward) / (weight + 1 - decay)

    def probabilities(self) -> np.ndarray:
        """(C, O) of the options of every choice."""
        p = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def log_prob(self, indices: np.ndarray) -> np.ndarray:
        """(n,) log-probability of the networks `indices` (n, C): choices that do not matter do not count."""
        indices = np.asarray(indices)
        log_p = np.log(np.maximum(self.probabilities(), 1e-300))
        each = log_p[np.arange(indices.shape[1]), indices]
        return (each * self._space.active(indices)).sum(axis=1)

    def log_prob_gradient(self, indices: np.ndarray) -> np.ndarray:
        """(n, C, O) the gradient of `log_prob` in the logits."""
        indices = np.asarray(indices)
        taken = indices[:, :, None] == np.arange(self.logits.shape[1])
        return np.where(self._space.active(indices)[:, :, None], taken - self.probabilities(), 0.0)

    def most_likely(self) -> np.ndarray:
        """(C,) the likeliest option of every choice."""
        return self.logits.argmax(axis=1)

    def entropy(self) -> np.ndarray:
        """(C,) of every choice, in nats."""
        p = self.probabilities()
        return -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)

    def state_dict(self) -> dict[str, Any]:
        return {
            "rng": self._rng.bit_generator.state,
            "logits": self.logits.copy(),
            "second": self._second.copy(),
            "steps": self._steps,
            "baseline": self._baseline,
            "scale": self._scale,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        keys, shape = ("rng", "logits", "second", "steps", "baseline", "scale"), self.logits.shape
        check_state("reinforce", state, keys, shapes={"logits": shape, "second": shape})
        self._rng.bit_generator.state = state["rng"]
        self.logits, self._second = state["logits"].copy(), state["second"].copy()
        self._steps, self._baseline, self._scale = state["steps"], state["baseline"], state["scale"]

    def _pieces(self, n: int) -> Iterator[slice]:
        """Of `n` rows, each piece of as many as fit into `_AT_ONCE` logits."""
        step = max(1, _AT_ONCE // self.logits.size)
        return (slice(start, min(n, start + step)) for start in range(0, n, step))

    def _entropy_gradient(self) -> np.ndarray:
        """(C, O) of the sum of entropies in the logits: -p (log p + H)."""
        p = self.probabilities()
        return -p * (np.log(np.maximum(p, 1e-300)) + self.entropy()[:, None])
