"""What a search for several targets came to: in the folder of each what a search for it alone writes, and above these a
table, a picture and a page of all.
"""

import html as markup
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from latency_luts.unseen import described
from nas import delivery, outcome, pareto
from nas.finish import FROM_SCRATCH
from nas.goals import Goal, Nearest, folder
from nas.journal import Journal
from nas.objective import valued
from nas.outcome import Result
from nas.plan import Plan
from nas.report import html, interactive, plots
from nas.report.summary import NETWORKS_HEAD, network_cells, row
from nas.reward import Reward
from nas_runtime.console import counted, in_ms
from nas_runtime.files import complete, write_json

__all__ = ["show", "write"]

_HEAD = ("for ms", *NETWORKS_HEAD, "on test")
_WIDE = ("of target", "reward")  # columns that a terminal of 80 characters has no room for


def write(run_dir: Path, plan: Plan, goals: Sequence[Goal], results: Sequence[Result]) -> Sequence[Mapping[str, Any]]:
    """Writes the files of each target in its folder, and ``result.json``, ``pareto.png`` and ``report.html`` of all.

    Returns:
        What ``result.json`` has in each folder.
    """
    records = []
    for goal, result in zip(goals, results, strict=True):
        with complete(goal.run.path / "journal.jsonl") as path:
            _journal(path, plan, result)
        records.append(outcome.write(goal.run.path, plan.of(goal.reward), result))
    record = _record(plan, results, records)
    write_json(run_dir / "result.json", record)
    _plot(run_dir / "pareto.png", plan, results)
    _report(run_dir, plan, results, record)
    return records


def _journal(path: Path, plan: Plan, result: Result) -> None:
    Journal(path, plan.space.decode).append(*result.trials)


def _record(plan: Plan, results: Sequence[Result], records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    trials = results[0].trials
    top1_ms = np.array([[t.top1, t.latency_ms] for t in trials if t.status == "ok"])
    shared = ("accuracy", "sample_accuracy", "samples", "networks_evaluated", "networks_stopped", "pareto_front")
    return {
        "targets": [
            {
                "target_ms": ms,
                "folder": folder(ms),
                "best": record["best"],
                "from_scratch": record["references"].get(FROM_SCRATCH),
                "delivered": record["delivered"],
            }
            for ms, record in zip(plan.targets_ms, records, strict=True)
        ],
        "references": _published(results[0].decision.references),
        "references_as_samples": _published(results[0].sampled),
        **{name: records[0][name] for name in shared},
        "latency_model": described(plan.latency, results[-1].decision.winner.arch),
        "hypervolume": pareto.hypervolume(*top1_ms.T, reference_ms=2 * plan.targets_ms[-1]),
        "notes": list(_notes(results)),
        "seconds_of_last_call": records[-1]["seconds_of_last_call"],
    }


def _published(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The figures of published networks that are the same for all targets."""
    return {
        name: {key: value for key, value in row.items() if key != "reward"}
        for name, row in rows.items()
        if name != FROM_SCRATCH
    }


def _notes(results: Sequence[Result]) -> dict[str, None]:
    """Each note once, in order; those of one target say which."""
    notes = {}
    for result in results:
        for note in result.notes:
            everywhere = all(note in other.notes for other in results)
            notes[note if everywhere else f"for {in_ms(result.reward.target_ms)} ms: {note}"] = None
    return notes


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The cells of each target's winner, then of the published networks, whose shares and rewards are for the target
    nearest to them, as a column says."""
    nearest = Nearest([result.reward for result in results])
    rows = []
    for result in results:
        winner, final = result.decision.winner, result.decision.final
        found = row(winner.arch, winner.top1, winner.latency_ms, winner.reward)
        tested = f"{final['test_top1']:.1%}" if "test_top1" in final else ""
        rows.append((*_cells("found", found, result.reward), tested))
        if scratch := result.decision.references.get(FROM_SCRATCH):
            rows.append((*_cells(FROM_SCRATCH, scratch, result.reward), ""))
    for name, published in _published(results[0].decision.references).items():
        rows.append((*_cells(name, published, nearest.of(published["latency_ms"])), ""))
    return rows


def _cells(name: str, figures: Mapping[str, Any], reward: Reward) -> tuple[str, ...]:
    value, _ = valued(reward, figures["top1"], figures["latency_ms"])
    name, *cells = network_cells({name: {**figures, "reward": value}}, target_ms=reward.target_ms)[0]
    return (in_ms(reward.target_ms), name, *cells)


def _head(results: Sequence[Result]) -> tuple[str, ...]:
    return _HEAD if any(result.decision.final for result in results) else _HEAD[:-1]


def _plot(path: Path, plan: Plan, results: Sequence[Result]) -> None:
    trials, device = results[0].trials, plan.latency.device
    plots.plot_pareto(
        path,
        trials,
        [trials[result.decision.winner.sample] for result in results],
        {name: (r["latency_ms"], r["top1"]) for name, r in results[0].sampled.items()},
        targets_ms=plan.targets_ms,
        title=f"{plan.space.name}, {len(plan.targets_ms)} targets on {device}, {len(trials)} samples",
        latency_label=f"latency on {device} ({plan.latency.table.kind}), ms",
        top1_label=plan.strategy.sample_accuracy,
    )


def _report(run_dir: Path, plan: Plan, results: Sequence[Result], record: Mapping[str, Any]) -> None:
    trials = results[0].trials
    links = [f"<a href='{folder(ms)}/report.html'>the network for {in_ms(ms)} ms</a>" for ms in plan.targets_ms]
    pointed = interactive.dots(
        plan.space,
        trials,
        [trials[result.decision.winner.sample] for result in results],
        results[0].sampled,
        targets_ms=plan.targets_ms,
    )
    winners = {f"for {in_ms(r.reward.target_ms)} ms": r.decision.winner.arch for r in results}
    body = [
        f"<h1>Networks for {', '.join(in_ms(ms) for ms in plan.targets_ms)} ms</h1>",
        f"<p>The best of {record['samples']} samples ({record['networks_evaluated']} networks evaluated) for each "
        f"target: {', '.join(links)}.</p>",
        f"<p class=model>Latency: {markup.escape(record['latency_model'])}</p>",
        f"<h2>The networks{' beside published ones' * bool(record['references'])}: {record['accuracy']}</h2>",
        html.table(_head(results), [cells[: len(_head(results))] for cells in _rows(results)]),
        *(f"<p>Note: {markup.escape(note)}</p>" for note in record["notes"]),
        f"<h2>Accuracy against latency: {record['sample_accuracy']}</h2>",
        "<p class=model>The pointer on a dot shows the network. Red: the winners; green: published networks; dashed: "
        "the targets; line: the Pareto front.</p>",
        pointed,
        f"<p>Hypervolume {record['hypervolume']:.4f}: the share of the rectangle up to twice the longest target and a "
        f"top-1 of 1 that the Pareto front of {counted(len(record['pareto_front']), 'network')} dominates.</p>",
        "<h2>Where the time goes, block by block</h2>",
        interactive.strips(winners, plan.latency),
        f"<p class=model>{markup.escape(outcome.facts(run_dir, plan.rng_seed))}</p>",
        interactive.SCRIPT,
    ]
    html.write_page(run_dir / "report.html", "Architecture search", body)


def show(console: Console, run_dir: Path, plan: Plan, results: Sequence[Result]) -> None:
    """Prints the result."""
    accuracy = plan.strategy.accuracy
    title = f"{accuracy[0].upper()}{accuracy[1:]}; latency on {plan.latency.device}"
    trained, head = any(result.decision.final for result in results), _head(results)
    shown = [i for i, name in enumerate(head) if name not in _WIDE]
    table = Table(title=title, title_justify="left")
    for i in shown:
        table.add_column(head[i], justify="right" if i != 1 else "left", no_wrap=True)
    for cells in _rows(results):
        table.add_row(*(cells[i] for i in shown), style="bold" if cells[1] == "found" else "")
    console.print(table)
    console.print(f"latency model: {described(plan.latency, results[-1].decision.winner.arch)}")
    for note in _notes(results):
        console.print(f"note: {note}")
    folders = ", ".join(folder(ms) for ms in plan.targets_ms)
    files = delivery.IN_WORDS if trained else "best.json (the network)"
    console.print(
        f"{counted(len(results[0].trials), 'sample')} in {results[0].seconds / 60:.1f} minutes; everything is in "
        f"{run_dir}: report.html, result.json, journal.jsonl; in {folders}: {files}"
    )
