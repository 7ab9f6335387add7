"""`Policy`: draws the networks that shared weights are trained on, and learns with them which are good (TuNAS).

TuNAS (arXiv:2008.06120, section 3) alternates: a network of the policy is trained on images of `train`, another one is
measured on images of the holdout, and REINFORCE shifts the policy by its reward. Weights and policy so come to agree
on few networks, which get most of the training.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from nas.controllers.reinforce import Reinforce
from nas.reward import Reward
from nas.supernet.module import Path, Supernet
from nas.training.datasets import Dataset
from nas.training.train import normalise

__all__ = ["Policy"]

_RAMP = 0.1  # share of the updates in which the learning rate grows to its value
_EMPTY = float("nan")  # a baseline before the first reward


class Policy:
    """Independent logits for every choice, and what they learn from.

    Attributes:
        controller: the logits; its learning rate is the highest.
        path: gives the way of a point (C,) through the shared weights.
        latency_ms: of points (n, C), (n,).
        reward: to maximise.
        batch: images of the holdout for one reward.
    """

    def __init__(
        self,
        controller: Reinforce,
        *,
        path: Callable[[np.ndarray], Path],
        latency_ms: Callable[[np.ndarray], np.ndarray],
        reward: Reward,
        data: Dataset,
        batch: int,
    ) -> None:
        self.controller = controller
        self._path, self._latency_ms, self._reward = path, latency_ms, reward
        self._data, self._batch = data, min(batch, len(data.holdout))
        self._lr = controller.lr

    def draw(self, rng: np.random.Generator) -> Path:
        """A network of the policy."""
        return self._path(self.controller.draw(1, rng)[0])

    @torch.no_grad()
    def learn(self, net: Supernet, done: float, rng: np.random.Generator, device: str = "cpu") -> None:
        """Measures one network on images of the holdout, and shifts the policy by its reward.

        Args:
            done: share of this phase's updates that are done, in [0, 1].
        """
        point = self.controller.draw(1, rng)
        held = self._data.holdout
        picked = rng.integers(len(held), size=self._batch)
        x = normalise(torch.from_numpy(held.images[picked]), self._data, device)
        net.eval()  # no dropout; batch norm uses the batch's own statistics all the same
        answers = net(x, self._path(point[0])).argmax(1).cpu().numpy()
        net.train()
        top1 = float((answers == held.labels[picked]).mean())
        self.controller.lr = self._lr * min(1.0, done / _RAMP)
        self.controller.observe(point, np.array([self._reward(top1, float(self._latency_ms(point)[0]))]))

    def most_likely(self) -> np.ndarray:
        """(C,) the point of the highest probability."""
        return self.controller.logits.argmax(axis=1)

    def describe(self) -> str:
        """Where the policy is, in a few words."""
        likely_ms = float(self._latency_ms(self.most_likely()[None])[0])
        return f"entropy {self.controller.entropy().sum():.1f} nats, its likeliest network {likely_ms:.1f} ms"

    def tensors(self) -> dict[str, Tensor]:
        """All that `load` needs."""
        state = self.controller.state_dict()
        baseline = _EMPTY if state["baseline"] is None else state["baseline"]
        numbers = np.array([state["steps"], baseline, state["scale"]])
        arrays = {"logits": state["logits"], "second": state["second"], "numbers": numbers}
        return {name: torch.from_numpy(value) for name, value in arrays.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continues where `tensors` were taken."""
        steps, baseline, scale = tensors["numbers"].tolist()
        state = {
            "rng": self.controller.state_dict()["rng"],  # which nothing has drawn from
            "logits": tensors["logits"].numpy(),
            "second": tensors["second"].numpy(),
            "steps": int(steps),
            "baseline": None if np.isnan(baseline) else baseline,
            "scale": scale,
        }
        self.controller.load_state_dict(state)
