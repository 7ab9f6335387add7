"""`JointPolicy`: draws the networks that shared weights are trained on, and learns which are good (mode=joint).

TuNAS (arXiv:2008.06120; tunas/mobile_architecture_search.py and controller.py): at every update a network of the policy
is trained on a batch of `train`; then its accuracy on images of the holdout, four times as many, gives the reward from
which REINFORCE shifts the policy. In the first quarter of the updates the policy does not learn, and the weights are
warmed up: with a probability that falls from 1 to 0, every choice of an operator is replaced by the average of all its
operators, every choice of filters by the largest (`nas.supernet.mixed`). `nas.supernet.phases.Joint` has the numbers.

What differs from TuNAS:

- one network an update, where its 32 shards have one each and average their gradients: a policy that learns from a
  thirtieth of the rewards an update, at the same learning rate, has more chance in it; and with fewer updates than its
  27,050 it ends less decided;
- weights: AdamW with a warm-up of a tenth and cosine decay, for its RMSProp (momentum 0.9, epsilon 1, a fortieth);
- points that are the same network share all weights: the third layer without the second is the second without the
  third, while TuNAS has weights for either;
- images are shifted and mirrored, for its crops of any size and shape;
- where the holdout has fewer images than a reward takes, all of them are taken; TuNAS's has 50,046;
- the latency of an average is that of `_SPREAD` of its networks, drawn at random: its linear model has the mean of all,
  and the policy's learning rate is 0 then;
- the reward is the search's own; TuNAS's is reward=absolute with beta=0.1;
- the result: TuNAS takes the most likely option of each choice. Here that network is the first sample (`Learned`), and
  the policy goes on with more, at its last learning rate, of which the best are trained;
- with phases before the last one (`nas.supernet.train`), as in the `mnasnet` space, these take the place of the warm-up
  and of the updates in which the policy does not learn, as far as they last; in `mnasnet`, of all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.controllers.reinforce import Reinforce
from nas.reward import Reward
from nas.supernet.mixed import Mixtures
from nas.supernet.module import Supernet
from nas.supernet.phases import Joint
from nas.supernet.routes import Route
from nas.training.datasets import Dataset
from nas.training.train import normalise
from nas_runtime.console import in_ms

__all__ = ["Drawn", "JointPolicy", "Learned"]

_SPREAD = 32  # networks
_EMPTY = float("nan")  # a baseline before the first reward


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A network of the policy, of which the warm-up may have replaced some choices.

    Attributes:
        point: (C,), with the largest network's option where a choice was replaced.
        chosen: (C,) bools, choices that were not replaced.
        mixed: (C,) bools, choices whose operators are averaged.
    """

    point: np.ndarray
    chosen: np.ndarray
    mixed: np.ndarray
    route: Route


class JointPolicy:
    """Independent logits for every choice, and what they learn from.

    Args:
        controller: the logits; its learning rate is set at every update.
        mixtures: gives the ways of networks through the shared weights.
        latency_ms: of points (n, C), (n,).
        reward: to maximise.
        batch: images of a training batch.
        steps: updates of the weights in all.
    """

    def __init__(
        self,
        controller: Reinforce,
        *,
        mixtures: Mixtures,
        latency_ms: Callable[[np.ndarray], np.ndarray],
        reward: Reward,
        data: Dataset,
        batch: int,
        steps: int,
        joint: Joint | None = None,
    ) -> None:
        self.controller, self.steps = controller, steps
        self._mixtures, self._latency_ms, self._reward = mixtures, latency_ms, reward
        self._joint = joint or Joint()
        self._data, self._images = data, min(self._joint.reward_batches * batch, len(data.holdout))

    def draw(self, step: int, rng: np.random.Generator) -> Drawn:
        """The network of update `step`."""
        point = self.controller.draw(1, rng)[0]
        replaced = rng.random(len(point)) < self._joint.warmup_probability(step, self.steps)
        point = np.where(replaced, self._mixtures.space.largest, point)
        mixed = replaced & self._mixtures.operators
        return Drawn(point=point, chosen=~replaced, mixed=mixed, route=self._mixtures.route(point, mixed))

    def learn(self, net: Supernet, drawn: Drawn, step: int, rng: np.random.Generator, device: str = "cpu") -> None:
        """Measures the network that was trained at update `step`, and shifts the policy by its reward."""
        if not self._joint.same_network:
            drawn = self.draw(step, rng)
        top1 = self._top1(net, drawn.route, rng, device)
        networks = drawn.point[None]
        if drawn.mixed.any():
            networks = self._mixtures.spread(drawn.point, drawn.mixed, _SPREAD, rng)
        reward = self._reward(top1, float(self._latency_ms(networks).mean()))
        self.controller.lr = self._joint.lr(step, self.steps)
        self.controller.observe(drawn.point[None], np.array([reward]), chosen=drawn.chosen)

    @torch.no_grad()
    def _top1(self, net: Supernet, route: Route, rng: np.random.Generator, device: str) -> float:
        """On some of the holdout's images, no two the same. Batch norm uses their own statistics, as TuNAS's does."""
        held = self._data.holdout
        picked = rng.permutation(len(held))[: self._images]
        x = normalise(torch.from_numpy(held.images[picked]), self._data, device)
        net.eval()  # no dropout
        answers = net(x, route).argmax(1).cpu().numpy()
        net.train()
        return float((answers == held.labels[picked]).mean())

    def learned(self) -> "Learned":
        """The controller that a search goes on with, once the weights are trained."""
        self.controller.lr = self._joint.lr(self.steps, self.steps)
        return Learned(self.controller)

    def most_likely(self) -> np.ndarray:
        """(C,) the point of the highest probability."""
        return self.controller.most_likely()

    def describe(self) -> str:
        """Where the policy is, in a few words."""
        likely_ms = float(self._latency_ms(self.most_likely()[None])[0])
        return f"entropy {self.controller.entropy().sum():.1f} nats, its likeliest network {in_ms(likely_ms)} ms"

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


class Learned:
    """A controller: `Reinforce` after its training with the weights; the first network that it proposes is the most
    likely one, which TuNAS takes as the result."""

    def __init__(self, controller: Reinforce) -> None:
        self.controller, self._begins = controller, True

    def propose(self, n: int) -> np.ndarray:
        """(n, C) index vectors."""
        indices = self.controller.propose(n)
        if self._begins:
            indices[0] = self.controller.most_likely()
        self._begins = False
        return indices

    def observe(self, indices: np.ndarray, rewards: np.ndarray) -> None:
        """As `Reinforce.observe`."""
        self.controller.observe(indices, rewards)

    def state_dict(self) -> dict[str, Any]:
        return {**self.controller.state_dict(), "begins": self._begins}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.controller.load_state_dict({name: value for name, value in state.items() if name != "begins"})
        self._begins = state["begins"]
