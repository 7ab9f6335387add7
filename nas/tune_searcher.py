"""The controllers as a search algorithm of Ray Tune."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher

from nas.controllers import Controller
from nas_runtime.files import write_text
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["ControllerSearcher"]

_REUSES = 1000  # networks known already, one after the other; then the next is trained again


class ControllerSearcher(Searcher):
    """Proposes a controller's networks, and tells it of a batch when all of it is done.

    A trial's config has ``indices`` (a list, the point of the space), ``network`` ({choice name: option}) and
    ``sample`` (its number). A trial that fails, or reports NaN, tells the controller nothing. A network of an earlier
    batch is not proposed to Tune again: the controller is told its reward again.

    Args:
        controller: a new one, not used elsewhere: after `restore` its past is played to it again.
        metric: what the trials report; the higher the better.
        batch: proposals between two updates of the controller.
        samples: how many networks to propose; None: as many as Tune asks for.
        known: point and reward of samples of an earlier search with the same controller: not proposed again.
        on_reuse: called with sample, point and the earlier sample of a network that is not proposed again.
    """

    def __init__(
        self,
        space: SearchSpace,
        controller: Controller,
        *,
        metric: str = "reward",
        batch: int = 8,
        samples: int | None = None,
        known: Mapping[int, tuple[tuple[int, ...], float]] | None = None,
        on_reuse: Callable[[int, tuple[int, ...], int], None] | None = None,
    ) -> None:
        super().__init__(metric=metric, mode="max")
        if batch < 1:
            raise ValueError(f"batch={batch}; it must be at least 1")
        self._space, self._controller, self._batch = space, controller, batch
        self._samples, self._known, self._on_reuse = samples, known or {}, on_reuse
        self._seen: dict[Arch, tuple[int, float]] = {}  # networks of past batches: sample and reward
        self._past: list[list[float]] = []  # rewards of the batches that the controller knows
        self._points: list[list[int]] = []  # the present batch,
        self._rewards: dict[int, float] = {}  # what is known of it (position to reward),
        self._live: dict[str, int] = {}  # what is under way (trial to position),
        self._next = 0  # and what was not begun

    def suggest(self, trial_id: str) -> Any:
        """The next network; None while the batch is under way, which it never is without a trial that is live;
        FINISHED after the last one.

        Raises:
            ValueError: the known samples are not what the controller proposes.
        """
        reused = 0
        while True:
            if self._next == len(self._points):
                if self._live:
                    return None
                self._learn()
                self._propose()
            position, sample = self._next, self._batch * len(self._past) + self._next
            if self._samples is not None and sample >= self._samples:
                return Searcher.FINISHED
            self._next += 1
            if sample in self._known:
                point, self._rewards[position] = self._known[sample]
                if list(point) != self._points[position]:
                    raise ValueError(
                        f"sample {sample} is not what this search proposes; its settings or the program have changed: "
                        "start again in another run_dir"
                    )
            elif reused < _REUSES and (seen := self._seen.get(self._space.decode(self._points[position]))):
                reused += 1
                earlier, self._rewards[position] = seen
                if self._on_reuse:
                    self._on_reuse(sample, tuple(self._points[position]), earlier)
            else:
                break
        self._live[trial_id] = position
        indices = self._points[position]
        return {"sample": sample, "indices": indices, "network": self._space.describe(indices)}

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

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_reuse": None}  # Tune keeps a copy, which nothing here reads

    def _propose(self) -> None:
        self._points = self._controller.propose(self._batch).tolist()
        self._rewards, self._next = {}, 0

    def _learn(self) -> None:
        """Tells the controller of the present batch, all of which is done."""
        if self._points:
            told = [self._rewards.get(i, math.nan) for i in range(len(self._points))]
            self._controller.observe(np.array(self._points), np.array(told))
            first = self._batch * len(self._past)
            for i, (point, reward) in enumerate(zip(self._points, told, strict=True)):
                if not math.isnan(reward):
                    self._seen.setdefault(self._space.decode(point), (first + i, reward))
            self._past.append(told)
