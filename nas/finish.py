"""The end of a search that trains networks: published ones to compare with, the last round, the winner's weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from latency_luts import LatencyModel, MissingUnitsError
from nas import delivery
from nas.devices import Latency
from nas.executor import Executor
from nas.goals import by
from nas.loop import best
from nas.objective import valued
from nas.report import summary
from nas.report.summary import Finalist
from nas.reward import Reward
from nas.training.pictures import of_arrays
from nas.trial import Trial
from nas_runtime.console import counted, in_ms
from nas_runtime.run import Run, Stage
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

    from nas.training.trainer import Trainer
    from search_spaces.torch_net import Net

__all__ = [
    "FROM_SCRATCH",
    "Delivered",
    "FinalTrainings",
    "LastRound",
    "best_of",
    "deliver",
    "judged_references",
    "rewarded",
    "top",
]


FROM_SCRATCH = "found, from scratch"  # the winner, trained as the published networks are, where it inherits weights


@dataclass(frozen=True, kw_only=True)
class FinalTrainings:
    """The trainings of the last round.

    Attributes:
        from_scratch: gives a network's accuracy after the final training.
        identity: what that depends on, besides the network, as plain data.
        trained_on: the same by a training that begins with inherited weights, if samples have it; their winner is then
            trained from scratch, too, as `FROM_SCRATCH`.
        inherited_identity: what that depends on.
    """

    from_scratch: Callable[[Arch], Any]
    identity: Mapping[str, Any]
    trained_on: Callable[[Arch], Any] | None = None
    inherited_identity: Mapping[str, Any] = field(default_factory=dict)


def judged_references(
    stage: Stage,
    archs: Mapping[str, Arch],
    evaluate: Callable[[Arch], Any],
    executor: Executor,
    latency: Latency,
    reward: Reward,
) -> dict[str, dict[str, Any]]:
    """Published networks by name, evaluated as the samples are; those whose training diverges are left out.

    Args:
        stage: by all that an accuracy by `evaluate` depends on, besides the network.
    """
    names = {arch: f"the reference {name} could not be evaluated" for name, arch in archs.items()}
    return _rows(archs, _accuracies(stage, names, evaluate, executor), latency, reward)


@dataclass(frozen=True, kw_only=True)
class LastRound:
    """The final trainings of the best samples and of what they are compared with.

    Attributes:
        epochs: of each training.
        networks: so many samples are trained.
        beside: published networks by name.
    """

    run: Run
    executor: Executor
    console: Console
    latency: Latency
    epochs: int
    networks: int
    beside: Mapping[str, Arch]

    def hold(
        self, trials: Sequence[Trial], rewards: Sequence[Reward], trainings: FinalTrainings
    ) -> list[tuple[list[Finalist], dict[str, dict[str, Any]]]]:
        """For each of the rewards: the best samples by it, and the figures of what they are compared with, after the
        final training; of the latter, those whose training diverges are left out. Where a finalist of another reward is
        better by this one, it is the last of the finalists.

        Raises:
            ValueError: no trial is good, or a training failed.
        """
        best(trials)  # or there is nothing to train
        chosen = [top(by(reward, trials), self.networks) for reward in rewards]
        samples = {f"sample {trial.sample}": trial.arch for own in chosen for trial in own}
        how_many, each = f"the best {counted(len(chosen[0]), 'sample')}", f"{counted(self.epochs, 'epoch')} each"
        if len(rewards) > 1:
            how_many += f" for each target, {counted(len(set(samples.values())), 'network')},"
        published = ", ".join(self.beside)
        if trainings.trained_on is None:
            self.console.print(f"final training, {each}: {how_many} and {published}")
            everyone = dict(self.beside)
            known = self._top1(trainings.identity, samples | everyone, trainings.from_scratch)
            finalists = _finalists(chosen, known, rewards)
            beside = [dict(self.beside) for _ in rewards]
        else:
            self.console.print(f"final training, {each}, from the shared weights on: {how_many}")
            finalists = _finalists(
                chosen, self._top1(trainings.inherited_identity, samples, trainings.trained_on), rewards
            )
            self.console.print(f"the same from scratch: the winner{'s' * (len(rewards) > 1)} and {published}")
            winners = [best_of(own, reward).arch for own, reward in zip(finalists, rewards, strict=True)]
            beside = [{FROM_SCRATCH: winner} | dict(self.beside) for winner in winners]
            everyone = _from_scratch(winners, rewards) | dict(self.beside)
            known = self._top1(trainings.identity, everyone, trainings.from_scratch)
        for name, arch in everyone.items():
            if known[arch] is None:
                self.console.print(f"the final training of {name} diverged (NaN): it is left out")
        rows = [_rows(archs, known, self.latency, reward) for archs, reward in zip(beside, rewards, strict=True)]
        return list(zip(finalists, rows, strict=True))

    def _top1(
        self, identity: Mapping[str, Any], archs: Mapping[str, Arch], evaluate: Callable[[Arch], Any]
    ) -> dict[Arch, float | None]:
        names = {arch: f"the final training of {name} failed" for name, arch in archs.items()}
        return _accuracies(self.run.stage("finals", identity), names, evaluate, self.executor)


def _from_scratch(winners: Sequence[Arch], rewards: Sequence[Reward]) -> dict[str, Arch]:
    """The winners by name, which of several targets says for which."""
    if len(rewards) == 1:
        return {FROM_SCRATCH: winners[0]}
    pairs = zip(winners, rewards, strict=True)
    return {f"{FROM_SCRATCH}, for {in_ms(reward.target_ms)} ms": winner for winner, reward in pairs}


def _finalists(
    chosen: Sequence[Sequence[Trial]], top1: Mapping[Arch, float | None], rewards: Sequence[Reward]
) -> list[list[Finalist]]:
    """Of each reward: those that were chosen by it, and, if it is better, the best of all others."""
    found = []
    for reward, own in zip(rewards, chosen, strict=True):
        mine = [Finalist(trial=trial, top1=top1[trial.arch]) for trial in own]
        others = by(reward, [trial for other in chosen for trial in other if trial.arch not in {t.arch for t in own}])
        rivals = [Finalist(trial=trial, top1=top1[trial.arch]) for trial in others if top1[trial.arch] is not None]
        if rivals:
            winner = best_of([*mine, *rivals], reward)
            mine += [rival for rival in rivals if rival.trial.sample == winner.sample][:1]
        found.append(mine)
    return found


def top(trials: Sequence[Trial], n: int) -> list[Trial]:
    """The `n` best networks, the best first; fewer if there are not so many good ones."""
    good = sorted((t for t in trials if t.status == "ok"), key=lambda t: (-t.reward, t.sample))
    distinct: dict[Arch, Trial] = {}
    for trial in good:
        distinct.setdefault(trial.arch, trial)
    return list(distinct.values())[:n]


def _accuracies(
    stage: Stage, failures: Mapping[Arch, str], evaluate: Callable[[Arch], Any], executor: Executor
) -> dict[Arch, float | None]:
    """Top-1 of each network by `evaluate`, None if its training diverged, as `stage` keeps it.

    Args:
        failures: what to say of a network whose evaluation fails.

    Raises:
        ValueError: some failed; said at the end, so that what is trained beside them is not lost.
    """
    todo = [arch for arch in failures if text.to_json(arch) not in stage.values]
    failed = []
    for i, evaluation in executor.run(evaluate, todo):
        if evaluation.status == "failed":  # no accuracy of 0, but none at all
            failed.append(f"{failures[todo[i]]}: {evaluation.note}")
        else:
            stage.keep(text.to_json(todo[i]), evaluation.top1 if evaluation.status == "ok" else None)
    if failed:
        raise ValueError("; ".join(failed))
    return {arch: stage.values[text.to_json(arch)] for arch in failures}


def _rows(
    archs: Mapping[str, Arch], top1: Mapping[Arch, float | None], latency: Latency, reward: Reward
) -> dict[str, dict[str, Any]]:
    """The figures of networks whose accuracy is known, by name; without those whose latency is not known, or that have
    no reward."""
    rows = {}
    for name, arch in archs.items():
        if (accuracy := top1[arch]) is not None:
            with suppress(MissingUnitsError):
                latency_ms = latency.latency_ms(arch)
                value, note = valued(reward, accuracy, latency_ms)
                if not note:
                    rows[name] = summary.row(arch, accuracy, latency_ms, value)
    return rows


def best_of(finalists: Sequence[Finalist], reward: Reward) -> Trial:
    """The winner: the best of the finalists by their final trainings.

    Raises:
        ValueError: all diverged.
    """
    own = by(reward, [replace(f.trial, top1=f.top1, curve=()) for f in finalists if f.top1 is not None])
    if not own:
        raise ValueError(
            f"the final trainings of all {len(finalists)} finalists diverged (NaN); the same command with a larger "
            "final.networks, or with final.start=scratch, goes on; or start again with a lower evaluator.lr"
        )
    return best(own)


def rewarded(references: Mapping[str, Mapping[str, Any]], reward: Reward) -> dict[str, dict[str, Any]]:
    """The references' figures by another reward, without those that have none."""
    known = {name: (row, *valued(reward, row["top1"], row["latency_ms"])) for name, row in references.items()}
    return {name: {**row, "reward": value} for name, (row, value, note) in known.items() if not note}


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """How the winner is delivered.

    Attributes:
        latency: what prices networks.
        others: runs that may have the same training, which is not repeated then.
    """

    options: delivery.Delivery
    latency: LatencyModel
    console: Console
    others: Sequence[Run] = ()


def _trained_before(runs: Sequence[Run], arch: Arch, identity: Mapping[str, Any], stage: Stage) -> "Net | None":
    """The network of a training that one of `runs` has; `stage` then keeps what it came to, too."""
    for run in runs:
        known = run.stage("final", identity).values
        if "top1" in known and (net := delivery.kept(run.path, arch, identity)):
            stage.keep("top1", known["top1"])
            return net
    return None


def deliver(
    run: Run,
    winner: Arch,
    trainer: "Trainer",
    *,
    epochs: int,
    start: str,
    rng_seed: int,
    delivered: Delivered,
    inherited: "Callable[[Arch], Mapping[str, Tensor]] | None" = None,
) -> dict[str, Any]:
    """Repeats the winner's final training, measures it on `test`, and delivers it.

    Args:
        trainer: of the samples.
        epochs: of final trainings.
        start: what they begin with, in one word.
        rng_seed: of final trainings.
        delivered: how.
        inherited: gives the weights that they begin with; None: from scratch.

    Returns:
        ``epochs``, ``holdout_top1``, ``test_top1`` and ``delivered``, all figures of what is delivered.
    """
    arch = trainer.small(winner)
    identity = {
        **trainer.identity(),
        "arch": text.to_dict(arch),
        "epochs": epochs,
        "start": start,
        "rng_seed": rng_seed,
    }
    stage = run.stage("final", identity)
    net = _trained_before((run, *delivered.others), arch, identity, stage)
    if net is None:
        delivered.console.print(
            "repeating the winner's final training, for its weights and its top-1 on the test images"
        )
        net, holdout_top1, test_top1 = trainer.train_fully(
            winner,
            epochs=epochs,
            threads=trainer.threads,
            rng_seed=rng_seed,
            state=inherited(winner) if inherited else None,
        )
        stage.keep("top1", {"holdout_top1": holdout_top1, "test_top1": test_top1})
    finished = delivery.Finished(
        net=net,
        data=of_arrays(trainer.data, identity["images"]),
        searched=winner,
        training=identity,
        recipe=delivery.in_words(replace(trainer.recipe, epochs=epochs), start),
        latency=delivered.latency,
        **stage.values["top1"],
    )
    figures = delivery.deliver(run.path, finished, delivered.options, delivered.console)
    return {"epochs": epochs, **stage.values["top1"], "delivered": {**figures, "data": finished.data.record()}}
