"""`FineTuning`: the tuner of a real adaptation, which runs on an executor and records everything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nas.executor import Executor, Shared
from nas.recorder import MAX_FAILURES_IN_A_ROW, EvaluationError
from nas.training.recipe import Recipe
from nas.trial import Evaluation
from nas_runtime.records import JournalError, Records
from netadapt import weights
from netadapt.fine_tune import FineTune
from netadapt.propose import Proposal, ranking
from netadapt.weights import BY_IMAGES, IMPORTANCE_IMAGES, TrainedNet

__all__ = ["Contest", "FineTuning"]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """How the proposals of a step are compared.

    Attributes:
        recipe: of the fine-tuning; `Recipe.steps` is T.
        rungs: shares of T, rising. At each, proposals are fine-tuned that long and the better half goes on
            (successive halving); 0 is a look at the inherited network before any fine-tuning. Without any, all
            proposals are fine-tuned for T steps.
        selection: see `netadapt.propose.ranking`.
        inherit: which channels a proposal keeps, see `netadapt.inherit.inherit`.
        norm_images: see `netadapt.fine_tune.FineTune`.
        importance_images: that tell how much channels matter, where `inherit` goes by images.
    """

    recipe: Recipe
    rungs: tuple[float, ...] = ()
    selection: str = "ratio"
    inherit: str = "l2"
    norm_images: int | None = None
    importance_images: int = IMPORTANCE_IMAGES
    rng_seed: int = 0

    @property
    def updates(self) -> tuple[int, ...]:
        """After how many updates proposals are compared; the last number is T."""
        steps = self.recipe.steps or 0
        return (*(round(share * steps) for share in self.rungs), steps)


class FineTuning:
    """Fine-tunes proposals on an executor.

    Every evaluation is recorded when it is done; the kept network of the latest step lies in `folder`. Made anew with
    the same files, it evaluates nothing twice and comes to the same result. What failed is tried again, as long as
    nothing depends on it: earlier failures stay, because later proposals were made without them. All proposals of a
    step see the same images in the same order, so that they differ by what was narrowed and by little else.

    Args:
        trainer: a shared `Trainer`.
        seed: what the first step starts from.
        history: the records of this adaptation.
        on_evaluation: called with (step, done, total) when `done` of the `total` evaluations of a rung are over.
    """

    def __init__(
        self,
        *,
        executor: Executor,
        trainer: Shared,
        seed: TrainedNet,
        contest: Contest,
        history: Records,
        folder: Path,
        on_evaluation: Callable[[int, int, int], None] | None = None,
    ) -> None:
        self._executor, self._trainer, self._seed = executor, trainer, seed
        self._contest, self._history, self._folder = contest, history, folder
        self._on_evaluation = on_evaluation or (lambda step, done, total: None)
        self._failures = 0  # one after the other
        self._done = _settled(history, self._latest())
        self._best: tuple[Proposal, TrainedNet] | None = None
        self._parent: tuple[int, Shared, Shared | None] | None = None

    def evaluate(self, step: int, proposals: Sequence[Proposal], parent_top1: float) -> Mapping[int, float]:
        """See `netadapt.adapt.Tuner`. Proposals whose evaluation failed or diverged are left out.

        Raises:
            EvaluationError: `MAX_FAILURES_IN_A_ROW` evaluations of this process failed one after the other.
            ValueError: no proposal is left, or the history is another adaptation's.
        """
        alive = list(range(len(proposals)))
        top1: dict[int, float] = {}
        for rung, updates in enumerate(self._contest.updates, 1):
            top1 = self._fine_tuned(step, proposals, alive, updates, parent_top1)
            if not top1:
                notes = [r["note"] for r in self._done.values() if r["step"] == step and r.get("note")]
                latest = f"; the latest: {notes[-1]}" if notes else ""
                raise ValueError(f"no proposal of step {step} could be evaluated{latest}")
            if rung < len(self._contest.updates):
                order = self._ranked(proposals, top1, parent_top1)
                alive = sorted(order[: -(-len(order) // 2)])
        return top1

    def keep(self, step: int, proposals: Sequence[Proposal], kept: int) -> None:
        """See `netadapt.adapt.Tuner`. Its weights, if an earlier process had them, are made again."""
        latest = self._latest()
        if latest >= step:
            return
        proposal = proposals[kept]
        if self._best is not None and self._best[0] == proposal:
            net = self._best[1]
        else:
            ((_, evaluation),) = self._executor.run(self._task(step, self._contest.updates[-1]), [proposal.arch])
            if evaluation.status != "ok":
                raise ValueError(f"{proposal.group} of step {step} could not be fine-tuned again: {evaluation.note}")
            net = evaluation.state
        weights.save(net, self._file(step))
        self._file(step - 1).unlink(missing_ok=True)
        self._best = None

    def net(self, step: int) -> TrainedNet:
        """The network that was kept in the latest step, which is `step`."""
        if step == 0:
            return self._seed
        if not self._file(step).exists():
            raise ValueError(f"{self._file(step)} is missing, but the history goes on after it; use another run_dir")
        return weights.load(self._file(step))

    def _fine_tuned(
        self, step: int, proposals: Sequence[Proposal], places: Sequence[int], updates: int, parent_top1: float
    ) -> dict[int, float]:
        top1: dict[int, float] = {}
        todo = []
        for i in places:
            record = self._done.get((step, proposals[i].group, updates))
            if record is None:
                todo.append(i)
            elif (record["before"], record["after"]) != (proposals[i].before, proposals[i].after):
                raise JournalError(
                    f"{self._history.path}: {proposals[i].group} of step {step} is not what this adaptation proposes; "
                    "its settings, table or program have changed: start again in another run_dir"
                )
            elif record["status"] == "ok":
                top1[i] = record["top1"]
        if not todo:
            return top1
        task = self._task(step, updates)
        for number, (j, evaluation) in enumerate(self._executor.run(task, [proposals[i].arch for i in todo]), 1):
            i = todo[j]
            self._record(step, proposals[i], updates, evaluation)
            if evaluation.status == "ok":
                top1[i] = evaluation.top1
                if updates == self._contest.updates[-1]:
                    self._remember(proposals, top1, i, evaluation.state, parent_top1)
            self._on_evaluation(step, len(places) - len(todo) + number, len(places))
            self._failures = self._failures + 1 if evaluation.status == "failed" else 0
            if self._failures == MAX_FAILURES_IN_A_ROW:  # before a step is decided among the few that worked
                raise EvaluationError(f"the last {self._failures} evaluations failed; the latest: {evaluation.note}")
        return top1

    def _remember(
        self, proposals: Sequence[Proposal], top1: Mapping[int, float], i: int, net: TrainedNet, parent_top1: float
    ) -> None:
        """Holds the weights of the best proposal so far, and no others: each may be hundreds of megabytes."""
        if self._ranked(proposals, top1, parent_top1)[0] == i:
            self._best = (proposals[i], net)

    def _ranked(self, proposals: Sequence[Proposal], top1: Mapping[int, float], parent_top1: float) -> list[int]:
        """The proposals that `top1` knows, by position, the one to keep first."""
        known = sorted(top1)
        order = ranking([proposals[i] for i in known], [top1[i] for i in known], parent_top1, self._contest.selection)
        return [known[place] for place in order]

    def _record(self, step: int, proposal: Proposal, updates: int, evaluation: Evaluation) -> None:
        record = {
            "step": step,
            "group": proposal.group,
            "before": proposal.before,
            "after": proposal.after,
            "latency_ms": proposal.latency_ms,
            "updates": updates,
            "top1": evaluation.top1,
            "status": evaluation.status,
            "seconds": round(evaluation.seconds, 3),
            "note": evaluation.note,
        }
        self._history.append(record)
        self._done[step, proposal.group, updates] = record

    def _task(self, step: int, updates: int) -> FineTune:
        if self._parent is None or self._parent[0] != step - 1:
            net = self._executor.share(self.net(step - 1))
            self._parent = (step - 1, net, self._importance(net, step))
        return FineTune(
            trainer=self._trainer,
            parent=self._parent[1],
            importance=self._parent[2],
            recipe=replace(self._contest.recipe, steps=updates) if updates else None,
            inherit=self._contest.inherit,
            norm_images=self._contest.norm_images,
            rng_seed=self._contest.rng_seed + 1000 * step,
        )

    def _importance(self, parent: Shared, step: int) -> Shared | None:
        """Of the parent's channels, where proposals inherit by what these do with images."""
        by = self._contest.inherit
        if by not in BY_IMAGES:
            return None
        from netadapt.importance import Importance

        task = Importance(trainer=self._trainer, parent=parent, by=by, images=self._contest.importance_images)
        ((_, evaluation),) = self._executor.run(task, [self._seed.arch])
        if evaluation.status != "ok":
            raise ValueError(f"the channels of step {step} could not be weighed: {evaluation.note}")
        return self._executor.share(evaluation.state)

    def _latest(self) -> int:
        """The latest step whose network is in the folder; 0: none."""
        return max((int(path.stem.split("-")[1]) for path in self._folder.glob("step-*.safetensors")), default=0)

    def _file(self, step: int) -> Path:
        return self._folder / f"step-{step:03d}.safetensors"


def _settled(history: Records, latest: int) -> dict[tuple[int, str, int], dict]:
    """The records that an adaptation keeps, by step, group and updates. Of those of one place the latest counts.

    Args:
        latest: the latest step whose network is kept.
    """
    settled: dict[tuple[int, str, int], dict] = {}
    for record in history.records:
        try:
            place = (record["step"], record["group"], record["updates"])
            known = place in settled and settled[place]["status"] != "failed"
            complete = {"before", "after", "top1", "status"} <= record.keys()
        except (KeyError, TypeError):
            known, complete, place = False, False, (0, "", 0)
        if known or not complete:
            raise JournalError(f"{history.path} is not the history of this adaptation; use another run_dir")
        settled[place] = record
    results = [(step, updates) for (step, _, updates), r in settled.items() if r["status"] != "failed"]
    last = max(results, default=(0, 0))
    return {
        (step, group, updates): record
        for (step, group, updates), record in settled.items()
        if record["status"] != "failed" or step <= latest or (step, updates) < last
    }
