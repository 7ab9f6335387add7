"""The controllers as a search algorithm of Ray Tune."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ray.tune.search import Searcher

from nas.controllers import Controller
from nas.told import Outcome, told
from nas_runtime.files import write_text
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["ControllerSearcher", "Ledger"]

_REUSES = 1000  # networks known already, one after the other; then the next is trained again


class Ledger(Protocol):
    """Knows what came of samples, which are numbered from 0."""

    def knows(self, sample: int, indices: tuple[int, ...]) -> bool:
        """Whether the next sample, the point `indices`, needs no trial: what came of it is known."""
        ...

    def told(self, count: int, last: int) -> np.ndarray:
        """(last,) what the controller is told of the last of the first `count` samples, all of which are done, as
        `nas.told` says."""
        ...


class ControllerSearcher(Searcher):
    """Proposes a controller's networks, and tells it of a batch when all of it is done.

    A trial's config has ``indices`` (a list, the point of the space), ``network`` ({choice name: option}) and
    ``sample`` (its number). What the controller is told of it says `nas.told`: of a trial that fails, nothing; one
    whose last report is NaN or infinite has diverged; one that ends after fewer reports than the longest so far was
    stopped by the scheduler, and is told as what it would have come to. So report after each epoch. A network that was
    trained is not proposed to Tune again.

    Args:
        controller: a new one, not used elsewhere: after `restore` its past is played to it again.
        metric: what the trials report; the higher the better.
        batch: proposals between two updates of the controller.
        samples: how many networks to propose; None: as many as Tune asks for.
        ledger: knows samples without, or from elsewhere than, the reports of trials; None: what they report counts.
    """

    def __init__(
        self,
        space: SearchSpace,
        controller: Controller,
        *,
        metric: str = "reward",
        batch: int = 8,
        samples: int | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        super().__init__(metric=metric, mode="max")
        if batch < 1:
            raise ValueError(f"batch={batch}; it must be at least 1")
        self._space, self._controller, self._batch, self._samples = space, controller, batch, samples
        self._reports = _Reports(space) if ledger is None else None
        self._ledger: Ledger | None = ledger
        self._batches = 0  # that the controller knows
        self._points: list[list[int]] = []  # the present batch,
        self._next = 0  # what of it was not begun,
        self._live: dict[str, int] = {}  # and what is under way (trial to sample)

    def suggest(self, trial_id: str) -> Any:
        """The next network; None while the batch is under way, which it never is without a trial that is live;
        FINISHED after the last one."""
        while True:
            if self._next == len(self._points):
                if self._live:
                    return None
                self._learn()
                self._propose()
            sample, indices = self._batch * self._batches + self._next, self._points[self._next]
            if self._samples is not None and sample >= self._samples:
                return Searcher.FINISHED
            self._next += 1
            if not self._known().knows(sample, tuple(indices)):
                break
        self._live[trial_id] = sample
        return {"sample": sample, "indices": indices, "network": self._space.describe(indices)}

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Takes what a trial reports on its way."""
        if self._reports and trial_id in self._live and self.metric in result:
            self._reports.add(self._live[trial_id], result, result[self.metric])

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Takes the last report of a trial that ended, well or not."""
        if result:
            self.on_trial_result(trial_id, result)
        sample = self._live.pop(trial_id, None)
        if self._reports and sample is not None:
            self._reports.end(sample, failed=error)

    def save(self, checkpoint_path: str) -> None:
        """Writes what `restore` needs, as JSON."""
        state = {
            "batch": self._batch,
            "batches": self._batches,
            "points": self._points,
            "next": self._next,
            "live": self._live,
            "reports": self._reports.state() if self._reports else [],
        }
        write_text(Path(checkpoint_path), json.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Brings a new searcher, with a new controller of the same seed, to where another one was saved.

        Raises:
            ValueError: the file is damaged, of an earlier version, or of another space, controller or batch.
        """
        try:
            state: Mapping[str, Any] = json.loads(Path(checkpoint_path).read_text())
            batch, batches, points, begun = (state[name] for name in ("batch", "batches", "points", "next"))
            live, reports = dict(state["live"]), _Reports(self._space, state["reports"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise ValueError(f"{checkpoint_path} is not a searcher's checkpoint ({e}); start the search anew") from None
        other = f"{checkpoint_path} is of another space, controller, seed or batch; use the same ones"
        if batch != self._batch:
            raise ValueError(other)
        self._reports = reports if self._reports else None
        for _ in range(batches):
            self._propose()
            self._learn()
        if points:
            self._propose()
        if self._points != points:
            raise ValueError(other)
        self._live, self._next = live, begun

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ledger": None}  # Tune keeps a copy, which nothing here reads

    def _known(self) -> Ledger:
        ledger = self._ledger or self._reports
        assert ledger
        return ledger

    def _propose(self) -> None:
        self._points, self._next = self._controller.propose(self._batch).tolist(), 0

    def _learn(self) -> None:
        """Tells the controller of the present batch, all of which is done."""
        if self._points:
            count = self._batch * (self._batches + 1)
            self._controller.observe(np.array(self._points), self._known().told(count, self._batch))
            self._batches += 1


class _Reports:
    """The ledger of what trials report.

    Args:
        state: what another one's `state` gave.
    """

    def __init__(self, space: SearchSpace, state: Sequence[Any] = ()) -> None:
        self._space = space
        self._rewards: dict[int, dict[int, float]] = {}  # of samples, by the number of the report
        self._statuses: dict[int, str] = {}  # of samples that ended, stopped ones as ok
        self._points: dict[int, tuple[int, ...]] = {}
        self._seen: dict[Arch, int] = {}  # networks that need no other trial, and their first samples,
        self._unseen: list[int] = []  # but for these samples
        self._reused = 0  # in a row
        for sample, status, indices, rewards in state:
            self._points[sample], self._rewards[sample] = tuple(indices), dict(map(tuple, rewards))
            if status:
                self._ended(sample, status)

    def knows(self, sample: int, indices: tuple[int, ...]) -> bool:
        self._points[sample] = indices
        for ended in self._unseen:
            self._seen.setdefault(self._space.decode(self._points[ended]), ended)
        self._unseen.clear()
        earlier = self._seen.get(self._space.decode(indices))
        if earlier is None or self._reused == _REUSES:
            self._reused, self._rewards[sample] = 0, {}
            return False
        self._reused += 1
        self._rewards[sample], self._statuses[sample] = self._rewards[earlier], self._statuses[earlier]
        return True

    def add(self, sample: int, result: Mapping[str, Any], reward: float) -> None:
        """A report. One that Tune has begun anew reports from the first on again."""
        own = self._rewards[sample]
        number = int(result.get("training_iteration", len(own) + 1))
        self._rewards[sample] = {**{n: r for n, r in own.items() if n < number}, number: float(reward)}

    def end(self, sample: int, *, failed: bool) -> None:
        reports = list(self._rewards[sample].values())
        good = "ok" if reports and math.isfinite(reports[-1]) else "diverged"
        self._ended(sample, "failed" if failed or not reports else good)

    def told(self, count: int, last: int) -> np.ndarray:
        outcomes = [self._outcome(sample) for sample in range(count)]
        longest = max((len(outcome.curve) for outcome in outcomes), default=0)
        stopped = (o.status == "ok" and len(o.curve) < longest for o in outcomes)
        return told([replace(o, status="stopped") if s else o for o, s in zip(outcomes, stopped, strict=True)], last)

    def state(self) -> list[Any]:
        """All of it, for JSON."""
        return [
            (sample, self._statuses.get(sample), indices, list(self._rewards[sample].items()))
            for sample, indices in self._points.items()
        ]

    def _ended(self, sample: int, status: str) -> None:
        self._statuses[sample] = status
        if status != "failed":
            self._unseen.append(sample)

    def _outcome(self, sample: int) -> Outcome:
        status = self._statuses.get(sample, "failed")
        rewards = self._rewards.get(sample, {}).values() if status == "ok" else ()
        return Outcome(status=status, curve=tuple(reward for reward in rewards if math.isfinite(reward)))
