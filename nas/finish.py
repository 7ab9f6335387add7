"""What a search does besides searching: published networks to compare with, the final training, results for people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas import delivery
from nas.executor import Executor
from nas.loop import best
from nas.plan import Plan
from nas.report import summary
from nas.report.summary import Finalist
from nas.reward import Reward
from nas.seeds import final_seed
from nas.trial import Trial
from nas_runtime.console import counted
from nas_runtime.run import Run, Stage
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

    from nas.evaluators.proxy_training import ProxyTraining

__all__ = [
    "FROM_SCRATCH",
    "FinalTrainings",
    "best_of",
    "final_training",
    "last_round",
    "references",
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


def references(
    run: Run, plan: Plan, identity: Mapping[str, Any], evaluate: Callable[[Arch], Any], executor: Executor
) -> dict[str, dict[str, Any]]:
    """The published networks, evaluated as the samples are; those whose training diverges are left out.

    Args:
        identity: what an accuracy by `evaluate` depends on, besides the network.
    """
    names = {arch: f"the reference {name} could not be evaluated" for name, arch in plan.references.items()}
    top1 = _accuracies(run.stage("references", identity), names, evaluate, executor)
    return _rows(plan, plan.references, top1, plan.reward)


def last_round(
    run: Run,
    trials: Sequence[Trial],
    plan: Plan,
    reward: Reward,
    trainings: "FinalTrainings",
    executor: Executor,
    console: Console,
) -> tuple[list[Finalist], dict[str, dict[str, Any]]]:
    """The best samples and what to compare them with after the final training, see `Found`; of the latter, those whose
    training diverges are left out.

    Raises:
        ValueError: no trial is good, or a training failed.
    """
    best(trials)  # or there is nothing to train
    chosen = top(trials, plan.finalists)
    beside = dict(plan.references)
    samples = {f"sample {trial.sample}": trial.arch for trial in chosen}
    each = f"{counted(plan.final_epochs, 'epoch')} each"
    trained_on = trainings.trained_on
    if trained_on is None:
        console.print(f"final training, {each}: the best {counted(len(chosen), 'sample')} and {', '.join(beside)}")
        top1 = _finals(run, trainings.identity, samples | beside, trainings.from_scratch, executor)
        finalists = [Finalist(trial=trial, top1=top1[trial.arch]) for trial in chosen]
    else:
        console.print(f"final training, {each}, from the shared weights on: the best {counted(len(chosen), 'sample')}")
        top1 = _finals(run, trainings.inherited_identity, samples, trained_on, executor)
        finalists = [Finalist(trial=trial, top1=top1[trial.arch]) for trial in chosen]
        console.print(f"the same from scratch: the winner and {', '.join(beside)}")
        beside = {FROM_SCRATCH: best_of(trials, finalists, reward).arch} | beside
        top1 = _finals(run, trainings.identity, beside, trainings.from_scratch, executor)
    for name, arch in beside.items():
        if top1[arch] is None:
            console.print(f"the final training of {name} diverged (NaN): it is left out")
    return finalists, _rows(plan, beside, top1, reward)


def top(trials: Sequence[Trial], n: int) -> list[Trial]:
    """The `n` best networks, the best first; fewer if there are not so many good ones."""
    good = sorted((t for t in trials if t.status == "ok"), key=lambda t: (-t.reward, t.sample))
    distinct: dict[Arch, Trial] = {}
    for trial in good:
        distinct.setdefault(trial.arch, trial)
    return list(distinct.values())[:n]


def _finals(
    run: Run,
    identity: Mapping[str, Any],
    archs: Mapping[str, Arch],
    evaluate: Callable[[Arch], Any],
    executor: Executor,
) -> dict[Arch, float | None]:
    names = {arch: f"the final training of {name} failed" for name, arch in archs.items()}
    return _accuracies(run.stage("finals", identity), names, evaluate, executor)


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
    plan: Plan, archs: Mapping[str, Arch], top1: Mapping[Arch, float | None], reward: Reward
) -> dict[str, dict[str, Any]]:
    """The figures of networks whose accuracy is known, by name."""
    rows = {}
    for name, arch in archs.items():
        if (accuracy := top1[arch]) is not None:
            latency_ms = plan.latency.latency_ms(arch)
            rows[name] = summary.row(arch, accuracy, latency_ms, reward(accuracy, latency_ms))
    return rows


def best_of(trials: Sequence[Trial], finalists: Sequence[Finalist] | None, reward: Reward) -> Trial:
    """The winner: the best of the finalists by their final trainings if there are any, else the best of the trials."""
    if finalists is None:
        return best(trials)
    own = [
        replace(f.trial, top1=f.top1, curve=(), reward=reward(f.top1, f.trial.latency_ms))
        for f in finalists
        if f.top1 is not None
    ]
    if not own:
        raise ValueError(
            f"the final trainings of all {len(finalists)} finalists diverged (NaN); the same command with a larger "
            "final.networks, or with final.start=scratch, goes on; or start again with a lower evaluator.lr"
        )
    return best(own)


def rewarded(references: Mapping[str, Mapping[str, Any]], reward: Reward) -> dict[str, dict[str, Any]]:
    """The references' figures by another reward."""
    return {name: {**row, "reward": reward(row["top1"], row["latency_ms"])} for name, row in references.items()}


def final_training(
    run: Run,
    winner: Trial,
    trainer: "ProxyTraining",
    plan: Plan,
    console: Console,
    inherited: "Callable[[Arch], Mapping[str, Tensor]] | None" = None,
) -> dict[str, Any]:
    """Repeats the winner's final training, measures it on `test`, and writes its weights and ONNX graph.

    Args:
        inherited: gives the weights that it begins with; None: from scratch.

    Returns:
        ``epochs``, ``holdout_top1`` and ``test_top1``.
    """
    arch, data, rng_seed = trainer.small(winner.arch), trainer.data, final_seed(plan.rng_seed)
    identity = {
        **trainer.identity(),
        "arch": text.to_dict(arch),
        "epochs": plan.final_epochs,
        "start": plan.final_start,
        "rng_seed": rng_seed,
    }
    stage = run.stage("final", identity)
    known = "top1" in stage.values
    if not (known and delivery.restored(run.path, data, searched=winner.arch, trained=arch, training=identity)):
        console.print("repeating the winner's final training, for its weights and its top-1 on the test images")
        net, holdout_top1, test_top1 = trainer.train_fully(
            winner.arch,
            epochs=plan.final_epochs,
            threads=trainer.threads,
            rng_seed=rng_seed,
            state=inherited(winner.arch) if inherited else None,
        )
        delivery.deliver(run.path, net, data, searched=winner.arch, training=identity)
        stage.keep("top1", {"holdout_top1": holdout_top1, "test_top1": test_top1})
    return {"epochs": plan.final_epochs, **stage.values["top1"]}
