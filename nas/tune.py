"""The controllers in Ray Tune: `ControllerSearcher` is a search algorithm for anyone's own Tuner.

    space = spaces.get("mnasnet", base_width=0.35)

    def train(config):                          # one network
        arch = space.decode(config["indices"])
        ...
        tune.report({"reward": reward.soft(top1, model.latency_ms(arch), target_ms=15.8, w=-0.15)})

    searcher = ControllerSearcher(space, controllers.make("evolution", space))
    tuner = tune.Tuner(train, tune_config=tune.TuneConfig(search_alg=searcher, num_samples=100))

Schedulers (ASHA) and `Tuner.restore` work as with Tune's own algorithms. A Tune trial costs 0.15 to 1 s beyond its
training; where that counts, `nas.loop.search` with `RayExecutor` costs 0.01 s.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from nas.controllers import Controller
from nas.run_dir import write_text
from search_spaces.space import SearchSpace

__all__ = ["ControllerSearcher"]


class ControllerSearcher(Searcher):
    """Proposes a controller's networks, and tells it of a batch when all of it is done.

    A trial's config has ``indices`` (a list, the point of the space) and ``network`` ({choice name: option}). A trial
    that fails, or reports NaN, tells the controller nothing.

    Args:
        controller: a new one, not used elsewhere: after `restore` its past is played to it again.
        metric: what the trials report; the higher the better.
        batch: proposals between two updates of the controller.
    """

    def __init__(self, space: SearchSpace, controller: Controller, *, metric: str = "reward", batch: int = 8) -> None:
        super().__init__(metric=metric, mode="max")
        if batch < 1:
            raise ValueError(f"batch={batch}; it must be at least 1")
        self._space, self._controller, self._batch = space, controller, batch
        self._past: list[list[float]] = []  # rewards of the batches that the controller knows
        self._points: list[list[int]] = []  # the present batch,
        self._rewards: dict[int, float] = {}  # what is known of it (position to reward),
        self._live: dict[str, int] = {}  # what is under way (trial to position),
        self._next = 0  # and what was not begun

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next network; None while the batch is under way, which it never is without a trial that is live."""
        if self._next == len(self._points):
            if self._live:
                return None
            self._learn()
            self._propose()
        position = self._next
        self._next += 1
        self._live[trial_id] = position
        indices = self._points[position]
        return {"indices": indices, "network": self._space.describe(indices)}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Takes the reward of a trial that ended, well or not."""
        position = self._live.pop(trial_id, None)
        if position is not None:
            reward = math.nan if error or not result else result.get(self.metric, math.nan)
            self._rewards[position] = float(reward)

    def save(self, checkpoint_path: str) -> None:
        """Writes what `restore` needs, as JSON."""
        state = {
            "batch": self._batch,
            "past": self._past,
            "points": self._points,
            "rewards": sorted(self._rewards.items()),
            "live": self._live,
            "next": self._next,
        }
        write_text(Path(checkpoint_path), json.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Brings a new searcher, with a new controller of the same seed, to where another one was saved.

        Raises:
            ValueError: the file is damaged, or of another space, controller or batch.
        """
        try:
            state: Mapping[str, Any] = json.loads(Path(checkpoint_path).read_text())
            past, points = state["past"], state["points"]
            rewards, live, begun = dict(map(tuple, state["rewards"])), dict(state["live"]), int(state["next"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ValueError(f"{checkpoint_path} is not a searcher's checkpoint ({e}); start the search anew") from None
        for told in past:
            self._propose()
            self._rewards = dict(enumerate(told))
            self._learn()
        if points:
            self._propose()
        if self._points != points or state["batch"] != self._batch:
            raise ValueError(f"{checkpoint_path} is of another space, controller, seed or batch; use the same ones")
        self._rewards, self._live, self._next = rewards, live, begun

    def _propose(self) -> None:
        self._points = self._controller.propose(self._batch).tolist()
        self._rewards, self._next = {}, 0

    def _learn(self) -> None:
        """Tells the controller of the present batch, all of which is done."""
        if self._points:
            told = [self._rewards.get(i, math.nan) for i in range(len(self._points))]
            self._controller.observe(np.array(self._points), np.array(told))
            self._past.append(told)
