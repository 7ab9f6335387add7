"""What a search came to: for people on a terminal, for programs in ``result.json``, and on a page with pictures."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from latency_luts import MissingUnitsError
from latency_luts.unseen import described
from nas import delivery, pareto
from nas.plan import Plan
from nas.references import references
from nas.report import summary
from nas.reward import Reward
from nas.strategies.contract import Decision
from nas.trial import Trial
from nas_runtime.console import counted, in_ms
from nas_runtime.files import read_json, write_json
from search_spaces import text
from search_spaces.arch import Arch

__all__ = ["Result", "facts", "show", "write"]


_COMPARED = 10  # samples at either end


@dataclass(frozen=True, kw_only=True)
class Result:
    """All that a search came to.

    Attributes:
        decision: the winner, and what it was compared with.
        sampled: name of a published network to its figures, see `summary.row`, by the evaluation that samples had;
            empty where they cannot have it.
        reward: the one that counted at the end.
        notes: what a person should know before believing the result.
        seconds: of this call.
    """

    trials: Sequence[Trial]
    decision: Decision
    sampled: Mapping[str, Mapping[str, Any]]
    reward: Reward
    notes: Sequence[str]
    seconds: float

    @property
    def median_ms(self) -> float:
        """Median latency of the last tenth of the samples: where the search has arrived."""
        known = [trial.latency_ms for trial in self.trials if not np.isnan(trial.latency_ms)]
        return float(np.median(known[-max(1, len(self.trials) // 10) :]))

    @property
    def mean_rewards(self) -> Mapping[str, float]:
        """Of the first good samples and of the last, ten each if there are twice as many: whether the search has
        learnt."""
        rewards = [trial.reward for trial in self.trials if trial.status == "ok"]
        count = min(_COMPARED, len(rewards) // 2)
        if not count:
            return {}
        return {"samples": count, "first": float(np.mean(rewards[:count])), "last": float(np.mean(rewards[-count:]))}


def write(run_dir: Path, plan: Plan, result: Result) -> Mapping[str, Any]:
    """Writes ``result.json``, the network, the pictures and the report.

    Returns:
        What ``result.json`` has.
    """
    from nas.report import html, interactive

    decision, trials = result.decision, result.trials
    shown = trials[decision.winner.sample]  # measured as the samples were
    record = _record(plan, result)
    write_json(run_dir / "result.json", record)
    if not decision.final:  # else its delivery has written them
        delivery.write_networks(run_dir, trained=decision.winner.arch, searched=decision.winner.arch)
    _plot(run_dir, plan, result, shown)
    compared = {name: arch for name, arch in references(plan.space).items() if name in decision.references}
    html.write_report(
        run_dir,
        record,
        trials,
        delivered=delivery.in_sentences(record["delivered"]) if record["delivered"] else (),
        pointed=interactive.dots(plan.space, trials, [shown], result.sampled, targets_ms=[plan.target_ms]),
        blocks=interactive.strips({"found": decision.winner.arch} | compared, plan.latency),
        facts=facts(run_dir, plan.rng_seed),
    )
    return record


def facts(run_dir: Path, rng_seed: int) -> str:
    """Where a run was made, a line."""
    environment = read_json(run_dir / "environment.json") or {}
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    return (
        f"{environment.get('cpu')}, Python {environment.get('python')}, {packages}; RNG seed {rng_seed}, "
        f"git commit {environment.get('git_commit')}"
    )


def _record(plan: Plan, result: Result) -> dict[str, Any]:
    """What ``result.json`` has."""
    trials, decision, winner = result.trials, result.decision, result.decision.winner
    top1_ms = np.array([[t.top1, t.latency_ms] for t in trials if t.status == "ok"])
    trained = {
        f"final_{name}": decision.final[name] for name in ("holdout_top1", "test_top1") if name in decision.final
    }
    finalists = decision.finalists
    return {
        "best": {
            "sample": winner.sample,
            **summary.row(winner.arch, winner.top1, winner.latency_ms, winner.reward),
            "choices": plan.space.describe(winner.indices),
            **trained,
            "arch": text.to_dict(winner.arch),
        },
        "references": decision.references,
        "references_as_samples": result.sampled,
        "finalists": summary.finalist_rows(finalists, result.reward) if finalists else None,
        "agreement": summary.agreement(finalists) if finalists else None,
        "final_start": decision.start,
        "delivered": decision.final.get("delivered"),
        "target_ms": plan.target_ms,
        "limits": plan.bounds.record(winner.arch),
        "latency_on": plan.counting.device,
        "devices": plan.together.record(winner.arch) if plan.together else {},
        "latency_model": described(plan.latency, winner.arch),
        "accuracy": plan.strategy.accuracy,
        "sample_accuracy": plan.strategy.sample_accuracy,
        "samples": len(trials),
        "networks_evaluated": sum(t.reused is None and t.status != "failed" for t in trials),
        "networks_stopped": sum(t.reused is None and t.status == "stopped" for t in trials),
        "pareto_front": [t.sample for t in pareto.front(trials)],
        "hypervolume": pareto.hypervolume(*top1_ms.T, reference_ms=2 * plan.target_ms),
        "median_ms_of_last_tenth": result.median_ms,
        "mean_rewards": result.mean_rewards,
        "notes": list(result.notes),
        "seconds_of_last_call": round(result.seconds, 1),
    }


def _plot(run_dir: Path, plan: Plan, result: Result, winner: Trial) -> None:
    """Writes the pictures; `winner` is measured as the samples were."""
    from nas.report import plots

    trials, target_ms, device = result.trials, plan.target_ms, plan.counting.device
    title = f"{plan.space.name}, target {in_ms(target_ms)} ms on {device}, {len(trials)} samples"
    latency_label = f"latency on {device} ({plan.latency.table.kind}), ms"
    plots.plot_pareto(
        run_dir / "pareto.png",
        trials,
        [winner],
        {name: (r["latency_ms"], r["top1"]) for name, r in result.sampled.items()},
        targets_ms=[target_ms],
        title=title,
        latency_label=latency_label,
        top1_label=plan.strategy.sample_accuracy,
    )
    plots.plot_rewards(run_dir / "rewards.png", trials, title=title)
    plots.plot_latencies(
        run_dir / "latencies.png", trials, target_ms=target_ms, title=title, latency_label=latency_label
    )
    plots.plot_entropy(run_dir / "entropy.png", trials, title=title)


def _asked(plan: Plan) -> dict[str, Callable[[Arch], str]]:
    """What is asked of networks besides the target, and how it is said of one."""
    asked: dict[str, Callable[[Arch], str]] = {}
    if plan.together:
        asked["devices"] = plan.together.in_words
    if plan.limits:
        asked["limits"] = plan.bounds.in_words
    return asked


def show(console: Console, run_dir: Path, plan: Plan, result: Result) -> None:
    """Prints the result."""
    decision, winner = result.decision, result.decision.winner
    rows = {"found": summary.row(winner.arch, winner.top1, winner.latency_ms, winner.reward), **decision.references}
    accuracy, device = plan.strategy.accuracy, plan.counting.device
    console.print(summary.result_table(rows, target_ms=plan.target_ms, accuracy=accuracy, device=device))
    if decision.finalists:
        console.print(summary.finalists_table(decision.finalists, result.reward))
        console.print(summary.agreement(decision.finalists))
    console.print(summary.blocks_table(plan.space.describe(winner.indices)))
    for what, in_words in _asked(plan).items():
        for name, arch in {"found": winner.arch, **references(plan.space)}.items():
            if name == "found" or name in decision.references:
                with suppress(MissingUnitsError):  # a table may lack the units of published networks
                    console.print(f"{what}: {name} has {in_words(arch)}")
    for model in plan.together.models.values() if plan.together else [plan.latency]:
        console.print(f"latency model: {described(model, winner.arch)}")
    if means := result.mean_rewards:
        console.print(
            f"mean reward: {means['first']:.4f} of the first {means['samples']:g} samples, "
            f"{means['last']:.4f} of the last"
        )
    console.print(
        f"the last tenth of the samples has a median latency of {in_ms(result.median_ms)} ms "
        f"({result.median_ms / plan.target_ms:.2f} of the target)"
    )
    files = "best.json (the network), "
    if final := decision.final:
        at = f" at {final['resolution_px']} px" if "resolution_px" in final else ""
        begun = ", from the shared weights on," * (decision.start == "inherited" and not at)
        console.print(
            f"after {counted(final['epochs'], 'epoch')}{at}{begun} the found network has "
            f"top-1 {final['test_top1']:.1%} on the test images ({final['holdout_top1']:.1%} on the holdout)"
        )
        files += f"{delivery.IN_WORDS}, "
    for line in result.notes:
        console.print(f"note: {line}")
    console.print(
        f"{counted(len(result.trials), 'sample')} in {result.seconds / 60:.1f} minutes; everything is in {run_dir}: "
        f"report.html, result.json, {files}journal.jsonl"
    )
