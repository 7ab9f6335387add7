"""MnasNet's controller: an LSTM that samples the tokens of an architecture one after the other, trained by PPO.

MnasNet (arXiv:1807.11626, section 4.2) takes NASNet's (arXiv:1707.07012): the embedding of the token just taken goes
into an LSTM, whose state gives the logits of the next choice. The update is proximal policy optimisation with the
clipped objective (arXiv:1707.06347, equation 7), an entropy bonus, and an exponential moving average of rewards as the
baseline.

What differs from NASNet's appendix, which is for 20,000 networks (MnasNet sampled 8,000), where a search here has some
tens to thousands:

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
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from torch import Generator
    from torch.optim import Optimizer

    from nas.controllers.rnn_policy import Policy

__all__ = ["RNNPPO", "PPOSettings"]

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

    def __post_init__(self) -> None:
        check_settings("rnn_ppo", self)


class RNNPPO:
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

    @cached_property
    def policy(self) -> "Policy":
        import torch

        from nas.controllers.rnn_policy import Policy, one_thread

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
        """(n, C) index vectors sampled from the policy."""
        import torch

        from nas.controllers.rnn_policy import one_thread

        check_count(n)
        with torch.no_grad(), one_thread():
            return self.policy.sample(n, self._generator).numpy()

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """One PPO update on a batch: indices (n, C), rewards (n,); NaN rewards are left out."""
        from nas.controllers.rnn_policy import one_thread

        indices, rewards = told(self._space, indices, rewards)
        known = ~np.isnan(rewards)
        if known.any():
            with one_thread():
                self._update(indices[known], rewards[known])

    def _update(self, points: np.ndarray, rewards: np.ndarray) -> None:
        import torch
        from torch.nn.utils import clip_grad_norm_

        tokens = torch.from_numpy(points)
        active = torch.from_numpy(self._space.active(points))
        advantages = torch.from_numpy(self._advantages(rewards)).float()
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
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        check_state("rnn_ppo", state, ("policy", "optimizer", "generator", "baseline", "scale"))
        own = {name: value.shape for name, value in self.policy.state_dict().items()}
        if {name: value.shape for name, value in state["policy"].items()} != own:
            raise ValueError("controller rnn_ppo: this is the state of another space, or of another hidden=")
        self.policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self._generator.set_state(state["generator"])
        self._baseline, self._scale = state["baseline"], state["scale"]

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
