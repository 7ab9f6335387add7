"""What a search came to: for people on a terminal, for programs in ``result.json``, and on a page with pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from latency_luts.unseen import described
from nas import delivery, pareto
from nas.plan import Plan
from nas.report import summary
from nas.report.summary import Finalist
from nas.reward import Reward
from nas.trial import Trial
from nas_runtime.console import counted
from nas_runtime.files import read_json, write_json, write_text
from search_spaces import text

__all__ = ["Found", "show", "write"]


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
        notes: what a person should know before believing the result.
    """

    trials: list[Trial]
    winner: Trial
    references: Mapping[str, Mapping[str, Any]]
    sampled: Mapping[str, Mapping[str, Any]]
    final: Mapping[str, Any] | None
    reward: Reward
    finalists: list[Finalist] | None = None
    notes: tuple[str, ...] = ()

    @property
    def median_ms(self) -> float:
        """Median latency of the last tenth of the samples: where the search has arrived."""
        known = [trial.latency_ms for trial in self.trials if not np.isnan(trial.latency_ms)]
        return float(np.median(known[-max(1, len(self.trials) // 10) :]))


def write(run_dir: Path, plan: Plan, found: Found, seconds: float) -> None:
    """Writes ``result.json``, the network, the pictures and the report."""
    from nas.report import html, interactive

    trials, shown = found.trials, found.trials[found.winner.sample]  # measured as the samples were
    result = _result(plan, found, seconds)
    write_json(run_dir / "result.json", result)
    write_text(run_dir / "best.json", text.to_json(found.winner.arch))
    _plot(run_dir, plan, found, shown)
    compared = {name: arch for name, arch in plan.references.items() if name in found.references}
    environment = read_json(run_dir / "environment.json") or {}
    packages = ", ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    html.write_report(
        run_dir,
        result,
        trials,
        pointed=interactive.dots(plan.space, trials, shown, found.sampled, target_ms=plan.target_ms),
        blocks=interactive.strips({"found": found.winner.arch} | compared, plan.latency),
        facts=f"{environment.get('cpu')}, Python {environment.get('python')}, {packages}; RNG seed {plan.rng_seed}, "
        f"git commit {environment.get('git_commit')}",
    )


def _result(plan: Plan, found: Found, seconds: float) -> dict[str, Any]:
    """What ``result.json`` has."""
    trials, winner = found.trials, found.winner
    top1_ms = np.array([[t.top1, t.latency_ms] for t in trials if t.status == "ok"])
    trained = (
        {"final_holdout_top1": found.final["holdout_top1"], "final_test_top1": found.final["test_top1"]}
        if found.final
        else {}
    )
    return {
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
        "latency_model": described(plan.latency, winner.arch),
        "accuracy": plan.accuracy,
        "sample_accuracy": plan.sample_accuracy,
        "samples": len(trials),
        "networks_evaluated": sum(t.reused is None and t.status != "failed" for t in trials),
        "networks_stopped": sum(t.reused is None and t.status == "stopped" for t in trials),
        "pareto_front": [t.sample for t in pareto.front(trials)],
        "hypervolume": pareto.hypervolume(*top1_ms.T, reference_ms=2 * plan.target_ms),
        "median_ms_of_last_tenth": found.median_ms,
        "notes": list(found.notes),
        "seconds_of_last_call": round(seconds, 1),
    }


def _plot(run_dir: Path, plan: Plan, found: Found, winner: Trial) -> None:
    """Writes the pictures; `winner` is measured as the samples were."""
    from nas.report import plots

    trials, target_ms, device = found.trials, plan.target_ms, plan.latency.device
    title = f"{plan.space.name}, target {target_ms:.1f} ms on {device}, {len(trials)} samples"
    latency_label = f"latency on {device} ({plan.latency.table.kind}), ms"
    plots.plot_pareto(
        run_dir / "pareto.png",
        trials,
        winner,
        {name: (r["latency_ms"], r["top1"]) for name, r in found.sampled.items()},
        target_ms=target_ms,
        title=title,
        latency_label=latency_label,
        top1_label=plan.sample_accuracy,
    )
    plots.plot_rewards(run_dir / "rewards.png", trials, title=title)
    plots.plot_latencies(
        run_dir / "latencies.png", trials, target_ms=target_ms, title=title, latency_label=latency_label
    )
    plots.plot_entropy(run_dir / "entropy.png", trials, title=title)


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
    console.print(f"latency model: {described(plan.latency, winner.arch)}")
    console.print(
        f"the last tenth of the samples has a median latency of {found.median_ms:.1f} ms "
        f"({found.median_ms / plan.target_ms:.2f} of the target)"
    )
    if final:
        begun = ", from the shared weights on," * (plan.final_start == "inherited")
        trained = counted(final["epochs"], "epoch") + begun
        console.print(
            f"after {trained} the found network has top-1 {final['test_top1']:.1%} on the test images "
            f"({final['holdout_top1']:.1%} on the holdout)"
        )
    for line in found.notes:
        console.print(f"note: {line}")
    files = f"best.json (the network), {f'{delivery.IN_WORDS}, ' if final else ''}"
    console.print(
        f"{counted(len(found.trials), 'sample')} in {seconds / 60:.1f} minutes; everything is in {run_dir}: "
        f"report.html, result.json, {files}journal.jsonl"
    )
