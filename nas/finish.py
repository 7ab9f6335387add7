"""What a search does besides searching: published networks to compare with, the final training, results for people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from nas import delivery, pareto
from nas.executor import Executor
from nas.loop import best
from nas.plan import Plan, epochs
from nas.report import summary
from nas.report.summary import Finalist
from nas.reward import Reward
from nas.trial import Trial
from nas_runtime.files import read_json, write_json, write_text
from nas_runtime.run import Run, Stage
from search_spaces import text
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

    from nas.evaluators.proxy_training import ProxyTraining

__all__ = [
    "FROM_SCRATCH",
    "FinalTrainings",
    "Found",
    "best_of",
    "final_training",
    "last_round",
    "references",
    "rewarded",
    "show",
    "top",
    "write",
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


@dataclass(frozen=True, kw_only=True)
class Found:
    """The outcome of a search.

    Attributes:
        references: name of a published network, or `FROM_SCRATCH`, to its figures, see `summary.row`, after the final
            training.
        sampled: the same by the evaluation that samples had; empty where they cannot have it.
        final: of the winner's final training; None if nothing is trained.
        finalists: the best trials, and what each has after the final training; None if nothing is trained.
        reward: the one that counted at the end.
    """

    trials: list[Trial]
    winner: Trial
    references: Mapping[str, Mapping[str, Any]]
    sampled: Mapping[str, Mapping[str, Any]]
    final: Mapping[str, Any] | None
    reward: Reward
    finalists: list[Finalist] | None = None

    @property
    def median_ms(self) -> float:
        """Median latency of the last tenth of the samples: where the search has arrived."""
        known = [trial.latency_ms for trial in self.trials if not np.isnan(trial.latency_ms)]
        return float(np.median(known[-max(1, len(self.trials) // 10) :]))


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
    each = f"{epochs(plan.final_epochs)} each"
    trained_on = trainings.trained_on
    if trained_on is None:
        console.print(f"final training, {each}: the best {len(chosen)} samples and {', '.join(beside)}")
        top1 = _finals(run, trainings.identity, samples | beside, trainings.from_scratch, executor)
        finalists = [Finalist(trial=trial, top1=top1[trial.arch]) for trial in chosen]
    else:
        console.print(f"final training, {each}, from the shared weights on: the best {len(chosen)} samples")
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
    """
    todo = [arch for arch in failures if text.to_json(arch) not in stage.values]
    for i, evaluation in executor.run(evaluate, todo):
        if evaluation.status == "failed":  # no accuracy of 0, but none at all
            raise ValueError(f"{failures[todo[i]]}: {evaluation.note}")
        stage.keep(text.to_json(todo[i]), evaluation.top1 if evaluation.status == "ok" else None)
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
        replace(f.trial, top1=f.top1, reward=reward(f.top1, f.trial.latency_ms))
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
    run_dir: Path,
    winner: Trial,
    evaluator: "ProxyTraining",
    plan: Plan,
    console: Console,
    inherited: "Callable[[Arch], Mapping[str, Tensor]] | None" = None,
) -> dict[str, Any]:
    """Repeats the winner's final training, measures it on `test`, and delivers it (`nas.delivery`).

    Args:
        inherited: gives the weights that it begins with; None: from scratch.
    """
    record_path = run_dir / "final.json"
    arch = evaluator.small(winner.arch)
    identity = {"arch": text.to_dict(arch), "epochs": plan.final_epochs, "start": plan.final_start}
    record = read_json(record_path)
    same = record and {name: {"start": "scratch", **record}.get(name) for name in identity} == identity
    data, searched = evaluator.data, winner.arch
    if same and delivery.restored(run_dir, data, searched=searched, trained=arch, training=identity):
        return record
    console.print("repeating the winner's final training, for its weights and its top-1 on the test images")
    net, holdout_top1, test_top1 = evaluator.train_fully(
        winner.arch,
        epochs=plan.final_epochs,
        threads=evaluator.threads,
        rng_seed=plan.rng_seed,
        state=inherited(winner.arch) if inherited else None,
    )
    record_path.unlink(missing_ok=True)  # it would vouch for files of another training, if this ended here
    delivery.deliver(run_dir, net, data, searched=searched, training=identity)
    record = {**identity, "holdout_top1": holdout_top1, "test_top1": test_top1}
    write_json(record_path, record)
    return record


def write(run_dir: Path, plan: Plan, found: Found, seconds: float) -> None:
    """Writes ``result.json``, the network, the pictures and the report."""
    from nas.report import html, interactive, plots

    latency, trials, winner = plan.latency, found.trials, found.winner
    shown, beside = trials[winner.sample], found.sampled  # measured as the samples were
    top1_ms = np.array([[t.top1, t.latency_ms] for t in trials if t.status == "ok"])
    trained = (
        {"final_holdout_top1": found.final["holdout_top1"], "final_test_top1": found.final["test_top1"]}
        if found.final
        else {}
    )
    result = {
        "best": {
            "sample": winner.sample,
            **summary.row(winner.arch, winner.top1, winner.latency_ms, winner.reward),
            "choices": plan.space.describe(winner.indices),
            **trained,
            "arch": text.to_dict(winner.arch),
        },
        "references": found.references,
        "references_as_samples": found.sampled,
        "finalists": summary.finalist_rows(found.finalists, found.reward) if found.finalists else None,
        "agreement": summary.agreement(found.finalists) if found.finalists else None,
        "final_start": plan.final_start,
        "target_ms": plan.target_ms,
        "latency_model": latency.describe(),
        "accuracy": plan.accuracy,
        "sample_accuracy": plan.sample_accuracy,
        "samples": len(trials),
        "networks_evaluated": sum(t.reused is None and t.status != "failed" for t in trials),
        "pareto_front": [t.sample for t in pareto.front(trials)],
        "hypervolume": pareto.hypervolume(*top1_ms.T, reference_ms=2 * plan.target_ms),
        "median_ms_of_last_tenth": found.median_ms,
        "seconds_of_last_call": round(seconds, 1),
    }
    write_json(run_dir / "result.json", result)
    write_text(run_dir / "best.json", text.to_json(winner.arch))
    title = f"{plan.space.name}, target {plan.target_ms:.1f} ms on {latency.device}, {len(trials)} samples"
    latency_label = f"latency on {latency.device} ({latency.table.kind}), ms"
    plots.plot_pareto(
        run_dir / "pareto.png",
        trials,
        shown,
        {name: (r["latency_ms"], r["top1"]) for name, r in beside.items()},
        target_ms=plan.target_ms,
        title=title,
        latency_label=latency_label,
        top1_label=plan.sample_accuracy,
    )
    plots.plot_rewards(run_dir / "rewards.png", trials, title=title)
    plots.plot_latencies(
        run_dir / "latencies.png", trials, target_ms=plan.target_ms, title=title, latency_label=latency_label
    )
    plots.plot_entropy(run_dir / "entropy.png", trials, title=title)
    compared = {name: arch for name, arch in plan.references.items() if name in found.references}
    environment = read_json(run_dir / "environment.json") or {}
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    html.write_report(
        run_dir,
        result,
        trials,
        pointed=interactive.dots(plan.space, trials, shown, beside, target_ms=plan.target_ms),
        blocks=interactive.strips({"found": winner.arch} | compared, latency),
        facts=f"{environment.get('cpu')}, Python {environment.get('python')}, {packages}; RNG seed {plan.rng_seed}, "
        f"git commit {environment.get('git_commit')}",
    )


def show(console: Console, run_dir: Path, plan: Plan, found: Found, seconds: float) -> None:
    """Prints the result."""
    winner, final = found.winner, found.final
    rows = {"found": summary.row(winner.arch, winner.top1, winner.latency_ms, winner.reward), **found.references}
    console.print(
        summary.result_table(rows, target_ms=plan.target_ms, accuracy=plan.accuracy, device=plan.latency.device)
    )
    if found.finalists:
        console.print(summary.finalists_table(found.finalists, found.reward))
        console.print(summary.agreement(found.finalists))
    console.print(summary.blocks_table(plan.space.describe(winner.indices)))
    console.print(f"latency model: {plan.latency.describe()}")
    console.print(
        f"the last tenth of the samples has a median latency of {found.median_ms:.1f} ms "
        f"({found.median_ms / plan.target_ms:.2f} of the target)"
    )
    if final:
        trained = epochs(final["epochs"]) + ", from the shared weights on," * (plan.final_start == "inherited")
        console.print(
            f"after {trained} the found network has top-1 {final['test_top1']:.1%} on the test images "
            f"({final['holdout_top1']:.1%} on the holdout)"
        )
    for line in summary.advice(winner, found.trials, found.reward):
        console.print(f"note: {line}")
    files = f"best.json (the network), {f'{delivery.IN_WORDS}, ' if final else ''}"
    console.print(
        f"{len(found.trials)} samples in {seconds / 60:.1f} minutes; everything is in {run_dir}: report.html, "
        f"result.json, {files}journal.jsonl"
    )
