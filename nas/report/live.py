"""What a person sees while a search runs."""

from collections import deque
from collections.abc import Sequence
from math import isnan
from statistics import median
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nas import pareto
from nas.goals import by
from nas.reward import Reward
from nas.trial import Trial
from nas_runtime.console import in_ms

__all__ = ["Live"]

_QUIET_S = 1.0


class Live:
    """A progress bar with the best network so far, the latency of late against the target, the size of the Pareto front
    and the time that is left; and a line for each new best network. With several targets, the best for each of them.

    On a terminal the bar is redrawn in place; elsewhere a line is printed every `every` samples, at most one a second.
    """

    def __init__(
        self, console: Console, samples: int, rewards: Sequence[Reward], *, known: int = 0, every: int = 8
    ) -> None:
        self._console = console
        self._samples = samples
        self._known = known  # samples of earlier calls, which took no time in this one
        self._rewards = tuple(rewards)
        self._every = every
        self._best: dict[Reward, Trial] = {}
        self._seen = self._front = 0
        self._said_s = -_QUIET_S
        self._trials: list[Trial] = []
        self._recent_ms: deque[float] = deque(maxlen=max(20, samples // 20))
        self._progress = Progress(
            TextColumn("search", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("search", total=samples, best="")

    def __enter__(self) -> "Live":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def on_change(self, reward: Reward, samples: int) -> None:
        """Another reward after so many samples; what was best before may not be now."""
        self._progress.console.print(
            f"after {samples} samples, to land on the target, the reward is from now on {reward.describe()}"
        )
        self._rewards, self._best = (reward,), {}

    def on_trial(self, trial: Trial) -> None:
        self._seen += 1
        if not isnan(trial.latency_ms):
            self._recent_ms.append(trial.latency_ms)
        self._trials.append(trial)
        if self._seen % max(self._every, self._samples // 100) == 0:
            self._front = len(pareto.front(self._trials))
        if trial.status == "ok":
            self._look_at(trial)
        elif trial.status in ("diverged", "failed"):
            self._progress.console.print(f"sample {trial.sample:4d}: {trial.status}: {trial.note}")
        text = self._so_far()
        self._progress.update(self._task, completed=self._seen, best=text)
        elapsed = self._progress.tasks[0].elapsed or 0.0
        due = self._seen % self._every == 0 and elapsed - self._said_s >= _QUIET_S
        if not self._console.is_terminal and (due or self._seen == self._samples):
            self._said_s = elapsed
            done = self._seen - self._known
            left = f", {elapsed / done * (self._samples - self._seen):.0f} s left" if done > 0 else ""
            self._console.print(f"{self._seen}/{self._samples} samples, {text}, {elapsed:.0f} s{left}")

    def _look_at(self, trial: Trial) -> None:
        """Says for which targets a good trial is the best so far."""
        better: list[Reward] = []
        for reward in self._rewards:
            (its,) = by(reward, [trial]) if len(self._rewards) > 1 else (trial,)
            if its.status == "ok" and (reward not in self._best or its.reward > self._best[reward].reward):
                self._best[reward] = its
                better.append(reward)
        figures = f"top-1 {trial.top1:.1%}, {in_ms(trial.latency_ms)} ms"
        if better and len(self._rewards) > 1:
            targets = ", ".join(in_ms(reward.target_ms) for reward in better)
            self._progress.console.print(f"sample {trial.sample:4d}: {figures}  new best for {targets} ms")
        elif better:
            share = trial.latency_ms / better[0].target_ms
            self._progress.console.print(
                f"sample {trial.sample:4d}: reward {trial.reward:.4f}, {figures} ({share:.2f} of the target)  new best"
            )

    def _so_far(self) -> str:
        """The best, the latencies of late, and the size of the front, in words."""
        parts = []
        for reward, best in self._best.items():
            network = f"{best.top1:.1%} at {in_ms(best.latency_ms)} ms"
            several = len(self._rewards) > 1
            parts.append(
                f"for {in_ms(reward.target_ms)} ms {network}" if several else f"best {best.reward:.4f}: {network}"
            )
        if self._recent_ms and len(self._rewards) == 1:
            parts.append(f"lately {median(self._recent_ms) / self._rewards[0].target_ms:.2f} of the target")
        if self._front:
            parts.append(f"{self._front} on the front")
        return ", ".join(parts)
