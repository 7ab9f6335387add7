"""The samples of the loop, batch by batch: replayed, evaluated, or shared by equal networks."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nas.recorder import EvaluationError, Point, Recorder
from nas.trial import Evaluation, Trial
from search_spaces.arch import Arch

__all__ = ["Samples"]


class Samples:
    """The trials of a search so far, and what makes the next ones.

    Args:
        run: evaluates networks that were evaluated so often before; yields (position, evaluation) in any order.
        again: whether a network that was evaluated before is evaluated again; else its first result counts again.

    Attributes:
        trials: in order.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        run: Callable[[int, Sequence[Arch]], Iterator[tuple[int, Evaluation]]],
        again: bool,
    ) -> None:
        self.trials: list[Trial] = []
        self._recorder, self._run, self._again = recorder, run, again
        self._times: Counter[Arch] = Counter()  # samples of each network

    def add(self, indices: np.ndarray) -> None:
        """Makes the trials of the next points (n, C).

        Raises:
            JournalError: the journal has others.
            EvaluationError: the last evaluations failed, one after the other.
        """
        first = len(self.trials)
        made: dict[int, Trial] = {}
        todo: list[tuple[int, Point]] = []  # samples of its network before, point
        for sample, row in enumerate(indices, first):
            point = self._recorder.point(sample, row)
            if old := self._recorder.replayed(point):
                made[sample] = old
            else:
                todo.append((self._times[point.arch], point))
            self._times[point.arch] += 1
        for trial in self._evaluated_again(todo) if self._again else self._evaluated_once([p for _, p in todo]):
            made[trial.sample] = trial
        self.trials += [made[sample] for sample in range(first, first + len(indices))]
        if why := self._recorder.failures(self.trials[first:]):
            raise EvaluationError(why)

    def told(self, last: int) -> np.ndarray:
        """(last,) what the controller is told of the last trials (`nas.told`)."""
        return self._recorder.told(self.trials, last)

    def reward_again(self) -> None:
        """The trials so far by the reward that counts now, which is another one."""
        self.trials = self._recorder.rewarded(self.trials)

    def _evaluated_again(self, todo: Sequence[tuple[int, Point]]) -> Iterator[Trial]:
        for before in sorted({before for before, _ in todo}):
            yield from self._evaluated(before, [point for n, point in todo if n == before])

    def _evaluated_once(self, todo: Sequence[Point]) -> Iterator[Trial]:
        """One evaluation for all points of a network; if it fails, one for the next of them."""
        while todo:
            new: dict[Arch, Point] = {}
            for point in todo:
                if not self._recorder.is_known(point.arch):
                    new.setdefault(point.arch, point)
            yield from self._evaluated(0, list(new.values()))
            rest = []
            for point in todo:
                if new.get(point.arch) == point:
                    continue
                if trial := self._recorder.reused(point):
                    yield trial
                else:
                    rest.append(point)
            todo = rest

    def _evaluated(self, before: int, points: Sequence[Point]) -> Iterator[Trial]:
        able = []
        for point in points:
            if trial := self._recorder.begun(point):
                yield trial
            else:
                able.append(point)
        for i, evaluation in self._run(before, [point.arch for point in able]):
            yield self._recorder.evaluated(able[i], evaluation)
