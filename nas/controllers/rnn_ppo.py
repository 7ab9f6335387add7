"""MnasNet's controller, an LSTM that samples the tokens of an architecture one after the other, trained by PPO; and a
model of what it has seen, from which it also learns.

MnasNet (arXiv:1807.11626, section 4.2) takes NASNet's (arXiv:1707.07012): the embedding of the token just taken goes
into an LSTM, whose state gives the logits of the next choice. The update is proximal policy optimisation with the
clipped objective (arXiv:1707.06347, equation 7), an entropy bonus, and an exponential moving average of rewards as the
baseline.

A policy needs thousands of samples; a search here has tens to hundreds. So after `random` samples it also learns from
imagined networks, as in Dyna (Sutton, 1990) and DyNA-PPO (Angermueller et al., 2020): for each batch the model that
`nas.controllers.bayesian` has, too (`nas.controllers.model`), is fitted, and the policy passes `imagined` batches of
its own samples, each rewarded by another function that is drawn from the model, with the known latencies: where the
model is not sure, rewards differ from batch to batch, and the policy does not collapse onto its mean. Evaluated are
then those of the policy's samples and of changes of the best networks that promise most to improve on the best. With
``imagined=0`` there is no model, and it is the policy alone.

What differs from NASNet's appendix, which is for 20,000 networks (MnasNet sampled 8,000):

- the learning rate is 1e-3, not 3.5e-4, and a batch is passed twice, so that few samples move the policy;
- 64 hidden units, not 100;
- the baseline's decay is 0.9, not 0.95, and it begins with the first batch's mean;
- rewards above the baseline are divided by their moving mean deviation, so that no setting depends on a reward's scale;
  the entropy's weight, 0.5 and not 1e-5, is in these units and for the mean over the choices;
- all options are equally likely at first: the last layers begin with zeros, not with uniform numbers within +-0.1;
- choices that do not matter for a network count in neither probability nor entropy, as in TuNAS (arXiv:2008.06120);
- gradients are cut to a norm of 1.

The clip of 0.2 is the PPO paper's; the ratio is that of whole networks' probabilities.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.controllers.contract import Number, Whole, check_count, check_settings, check_state, setting, told
from nas.controllers.model import Model
from nas.controllers.modelled import Modelled
from nas.controllers.proposals import Proposals
from nas.controllers.threads import one_thread
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from torch import Generator
    from torch.optim import Optimizer

    from nas.controllers.rnn_policy import Policy

__all__ = ["RNNPPO", "PPOSettings", "less_outside"]

_IMAGINED = 64  # networks of a batch
_CHILDREN, _PARENTS = 2048, 24  # as of controller bayesian
_MOST_WEIGHTS = 2**26  # of embeddings: 256 MiB, the heads as much again, and Adam two copies of both


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """Settings of the controller."""

    hidden: int = setting(64, Whole(1, 1024), "width of the LSTM and of the token embeddings")
    lr: float = setting(1e-3, Number(0, 1, above=True), "Adam's learning rate")
    clip: float = setting(
        0.2, Number(0, 10, above=True), "PPO's epsilon: a probability ratio outside 1 +- clip earns nothing more"
    )
    epochs: int = setting(2, Whole(1, 100), "passes over each batch of samples")
    entropy: float = setting(0.5, Number(0, 1000), "weight of the entropy bonus (mean over the choices, in nats)")
    baseline_decay: float = setting(0.9, Number(0, 1, below=True), "of the moving average of rewards")
    random: int = setting(16, Whole(2, 100_000), "samples before the first model")
    imagined: int = setting(
        8, Whole(0, 1000), "batches of imagined networks, by the model, that a batch of samples adds; 0: no model"
    )
    window: int = setting(
        400, Whole(2, 4096), "observations that the model is made of: the latest half of so many, and the best half"
    )

    def __post_init__(self) -> None:
        check_settings("rnn_ppo", self)


class RNNPPO(Modelled):
    """The controller; see the module's text.

    Its policy is made when it is first asked something: settings are checked, and plans printed, without torch.
    """

    def __init__(self, space: SearchSpace, settings: PPOSettings | None = None, *, rng_seed: int = 0) -> None:
        self._space = space
        self._settings = settings or PPOSettings()
        self._rng_seed = rng_seed
        self._sizes, hidden = [len(choice.options) for choice in space.choices], self._settings.hidden
        if sum(self._sizes) * hidden > _MOST_WEIGHTS:
            raise ValueError(
                f"controller rnn_ppo: space {space.name!r} has {sum(self._sizes)} options; times hidden={hidden} they "
                f"must be at most {_MOST_WEIGHTS}: use a smaller hidden, or controller=evolution"
            )
        self._baseline: float | None = None
        self._scale: float | None = None
        self._rng = np.random.default_rng(rng_seed)
        self._model = Model(space, self._settings.window)
        self._proposals = Proposals(space, self._rng)

    @property
    def has_model(self) -> bool:
        return self._settings.imagined > 0

    @cached_property
    def policy(self) -> "Policy":
        import torch

        from nas.controllers.rnn_policy import Policy

        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(self._rng_seed)
            return Policy(self._sizes, self._settings.hidden)

    @cached_property
    def _optimizer(self) -> "Optimizer":
        from torch.optim import Adam

        return Adam(self.policy.parameters(), lr=self._settings.lr)

    @cached_property
    def _generator(self) -> "Generator":
        from torch import Generator

        return Generator().manual_seed(self._rng_seed)

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors: sampled from the policy, and, once there is a model, those of the policy's samples and
        of changes of the best networks of which the model expects most."""
        check_count(n)
        with one_thread():
            found = self._by_model(n)
            if len(found) < n:
                found = np.vstack([found, self._proposals.within(self._sample(n - len(found)))])
        self._proposals.add(self._space.canonical(found))
        return found

    def _by_model(self, n: int) -> np.ndarray:
        settings, proposals = self._settings, self._proposals
        known = settings.imagined and len(proposals) + self._model.recalled >= settings.random
        fitted = self._model.fitted() if known else None
        if fitted is None:
            return np.zeros((0, len(self._space.choices)), dtype=np.int64)
        for _ in range(settings.imagined):
            points = self._space.canonical(self._sample(_IMAGINED))
            rewards = less_outside(fitted.draw(points, self._rng), proposals.excess(points))
            self._update(points, (rewards - rewards.mean()) / max(float(np.abs(rewards - rewards.mean()).mean()), 1e-8))
        children = proposals.count(_CHILDREN, n)
        others = self._space.canonical(self._sample(children // 4))
        candidates = proposals.promising(fitted, fitted.best_points(_PARENTS), others, children=children, n=n)
        return fitted.pick(candidates, n)

    def _sample(self, n: int) -> np.ndarray:
        """(n, C) from the policy."""
        import torch

        with torch.no_grad():
            return self.policy.sample(n, self._generator).numpy()

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """One PPO update on a batch: indices (n, C), rewards (n,); NaN rewards are left out."""
        indices, rewards = told(self._space, indices, rewards)
        known = ~np.isnan(rewards)
        points = self._space.canonical(indices)
        self._proposals.add(points)
        self._model.observe(points, rewards)
        if known.any():
            with one_thread():
                self._update(indices[known], self._advantages(rewards[known]))

    def _update(self, points: np.ndarray, above: np.ndarray) -> None:
        """By points (n, C) whose rewards are so far above the baseline, in units of their deviation."""
        import torch
        from torch.nn.utils import clip_grad_norm_

        tokens = torch.from_numpy(points)
        active = torch.from_numpy(self._space.active(points))
        advantages = torch.from_numpy(above).float()
        with torch.no_grad():
            before, _ = self.policy(tokens, active)
        for _ in range(self._settings.epochs):
            log_prob, entropy = self.policy(tokens, active)
            ratio = (log_prob - before).exp()
            clipped = ratio.clamp(1 - self._settings.clip, 1 + self._settings.clip)
            gain = torch.minimum(ratio * advantages, clipped * advantages).mean()
            loss = -gain - self._settings.entropy * entropy.mean()
            self._optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(self.policy.parameters(), 1.0)
            self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {  # copies: torch's own state dicts go on changing with the training
            "policy": copy.deepcopy(self.policy.state_dict()),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "generator": self._generator.get_state(),
            "baseline": self._baseline,
            "scale": self._scale,
            "rng": self._rng.bit_generator.state,
            "proposed": self._proposals.state(),
            **self._model.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        own_keys = ("policy", "optimizer", "generator", "baseline", "scale", "rng", "proposed")
        check_state("rnn_ppo", state, (*own_keys, "points", "rewards", "numbers"))
        own = {name: value.shape for name, value in self.policy.state_dict().items()}
        if {name: value.shape for name, value in state["policy"].items()} != own:
            raise ValueError("controller rnn_ppo: this is the state of another space, or of another hidden=")
        self.policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._generator.set_state(state["generator"])
        self._baseline, self._scale = state["baseline"], state["scale"]
        self._rng.bit_generator.state = state["rng"]
        self._proposals.load(state["proposed"])
        self._model.load(state)

    def _advantages(self, rewards: np.ndarray) -> np.ndarray:
        """Rewards above the moving average, in units of the moving mean deviation: the scale of a reward is no setting.

        The first batch is its own baseline.
        """
        decay = self._settings.baseline_decay
        mean = float(rewards.mean())
        self._baseline = mean if self._baseline is None else decay * self._baseline + (1 - decay) * mean
        deviation = float(np.abs(rewards - self._baseline).mean())
        self._scale = deviation if self._scale is None else decay * self._scale + (1 - decay) * deviation
        return (rewards - self._baseline) / max(self._scale, 1e-8)


def less_outside(rewards: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """Rewards (n,), where those of points with an excess (n,) are below all others, the lower the larger it is."""
    outside = excess > 0
    if not outside.any():
        return rewards
    inside = rewards[~outside]
    low, step = (float(inside.min()), float(inside.std())) if len(inside) else (0.0, 1.0)
    return np.where(outside, low - max(step, 1e-8) * (1 + excess / excess.max()), rewards)
