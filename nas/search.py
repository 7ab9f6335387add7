"""`python -m nas.search +target=pixel1_small w=-0.15`: finds a network for a device.

Samples networks from a search space with a controller, measures each one's accuracy and latency, and leaves a run
directory with the best one: its architecture, its trained weights, and how it was found.
"""

import functools
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas import controllers
from nas.executor import Executor
from nas.journal import Journal
from nas.loop import best, search
from nas.plan import REFERENCES, Plan, describe, read_latency, read_plan, read_space
from nas.report import summary
from nas.report.live import Live
from nas.run_dir import open_run_dir, read_json, write_json, write_text
from nas.settings import EXECUTORS, keep_table, open_executor, read_data_settings, read_evaluator
from nas.training import sources
from nas.trial import Trial
from search_spaces import text
from search_spaces.arch import Arch
from search_spaces.command import Settings, run

if TYPE_CHECKING:
    from nas.evaluators.proxy_training import ProxyTraining

# settings that change how, how far or where a search runs, but not what it finds
MAY_DIFFER = ("samples", "executor", "workers", "ray", "run_dir", "tables_dir", "dry_run", "final")


def main(settings: Settings) -> None:
    console = Console(highlight=False, soft_wrap=True)
    started = time.perf_counter()
    space = read_space(settings)
    dry_run = settings.flag("dry_run")
    latency = read_latency(settings, space, measure=not dry_run)
    plan = read_plan(settings, space, latency)
    settings.choice("executor", EXECUTORS)
    data_settings = read_data_settings(settings)
    describe(console, plan, settings, data_settings)
    if dry_run:
        return

    data = sources.load(**data_settings)
    evaluator = read_evaluator(settings, plan.recipe, data)
    evaluate = functools.partial(evaluator.evaluate, rng_seed=plan.rng_seed)
    controller = controllers.make(
        settings.choice("controller.name", controllers.names()),
        space,
        rng_seed=plan.rng_seed,
        settings=settings.value("controller.settings"),
    )
    run_dir = settings.path("run_dir") or Path("runs") / f"search-{datetime.now():%Y%m%d-%H%M%S}"
    config = {**settings.value(""), "run_dir": str(run_dir)}
    resumed = open_run_dir(run_dir, config, may_differ=MAY_DIFFER, rng_seed=plan.rng_seed)
    keep_table(run_dir, latency)
    journal = Journal(run_dir / "journal.jsonl", space.decode)
    console.print(
        f"{'continuing' if resumed else 'writing to'} {run_dir}"
        + (f" after {len(journal.trials)} samples" if journal.trials else "")
    )
    try:
        with open_executor(settings) as executor:
            references = _references(run_dir, plan, evaluate, executor)
            with Live(console, plan.samples, plan.target_ms, every=plan.batch) as on_trial:
                trials = search(
                    space=space,
                    controller=controller,
                    evaluate=evaluate,
                    latency_ms=latency.latency_ms,
                    reward=plan.reward,
                    samples=plan.samples,
                    batch=plan.batch,
                    executor=executor,
                    journal=journal,
                    on_trial=on_trial,
                )
        winner = best(trials)
        console.print(f"training the best network for {plan.final_epochs} epochs")
        final = _final_training(run_dir, winner, evaluator, plan)
    except KeyboardInterrupt:
        console.print(f"stopped after {len(journal.trials)} samples; continue with the same command and {run_dir=!s}")
        raise
    _write_results(run_dir, plan, trials, winner, references, final, time.perf_counter() - started)
    _show_results(console, run_dir, plan, trials, winner, references, final, time.perf_counter() - started)


# ---- around the search


def _references(
    run_dir: Path, plan: Plan, evaluate: Callable[[Arch], Any], executor: Executor
) -> dict[str, dict[str, Any]]:
    """The published networks, evaluated as the samples are; kept in the run directory."""
    path = run_dir / "references.json"
    rows: dict[str, dict[str, Any]] = read_json(path) or {}
    todo = [name for name in REFERENCES if name not in rows]
    archs = [REFERENCES[name]() for name in todo]
    latencies_ms = [plan.latency.latency_ms(arch) for arch in archs]
    for i, evaluation in executor.run(evaluate, archs):
        if evaluation.status == "failed":  # no accuracy of 0, but none at all: nothing to compare with
            raise ValueError(f"the reference {todo[i]} could not be evaluated: {evaluation.note}")
        value = plan.reward(evaluation.top1, latencies_ms[i])
        rows[todo[i]] = summary.row(archs[i], evaluation.top1, latencies_ms[i], value)
        write_json(path, rows)
    return {name: rows[name] for name in REFERENCES}


def _final_training(run_dir: Path, winner: Trial, evaluator: "ProxyTraining", plan: Plan) -> dict[str, Any]:
    """Trains the winner for longer, measures it on `test`, and writes its weights and ONNX graph."""
    record_path = run_dir / "final.json"
    arch = evaluator.small(winner.arch)
    identity = {"arch": text.to_dict(arch), "epochs": plan.final_epochs}
    record = read_json(record_path)
    if record and {name: record.get(name) for name in identity} == identity:
        return record
    from safetensors.torch import save_file

    from search_spaces import onnx_net

    net, holdout_top1, test_top1 = evaluator.train_fully(
        winner.arch, epochs=plan.final_epochs, threads=plan.workers, rng_seed=plan.rng_seed
    )
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    partial = run_dir / "best.safetensors.partial"
    save_file(state, partial, metadata={"arch": text.to_json(arch)})
    partial.replace(run_dir / "best.safetensors")
    onnx_net.export(arch, run_dir / "best.onnx", net=net)
    record = {**identity, "holdout_top1": holdout_top1, "test_top1": test_top1}
    write_json(record_path, record)
    return record


def _write_results(
    run_dir: Path,
    plan: Plan,
    trials: list[Trial],
    winner: Trial,
    references: Mapping[str, Mapping[str, Any]],
    final: Mapping[str, Any],
    seconds: float,
) -> None:
    from nas.report import html, plots

    latency = plan.latency
    result = {
        "best": {
            "sample": winner.sample,
            **summary.row(winner.arch, winner.top1, winner.latency_ms, winner.reward),
            "choices": plan.space.describe(winner.indices),
            "final_holdout_top1": final["holdout_top1"],
            "final_test_top1": final["test_top1"],
            "arch": text.to_dict(winner.arch),
        },
        "references": references,
        "target_ms": plan.target_ms,
        "latency_model": latency.describe(),
        "samples": len(trials),
        "networks_trained": sum(t.reused is None and t.status != "failed" for t in trials),
        "seconds_of_last_call": round(seconds, 1),
    }
    write_json(run_dir / "result.json", result)
    write_text(run_dir / "best.json", text.to_json(winner.arch))
    title = f"{plan.space.name}, target {plan.target_ms:.1f} ms on {latency.device}, {len(trials)} samples"
    plots.plot_pareto(
        run_dir / "pareto.png",
        trials,
        winner,
        {name: (r["latency_ms"], r["top1"]) for name, r in references.items()},
        target_ms=plan.target_ms,
        title=title,
        latency_label=f"latency on {latency.device} ({latency.table.kind}), ms",
    )
    plots.plot_rewards(run_dir / "rewards.png", trials, title=title)
    html.write_report(run_dir, result, trials)


def _show_results(
    console: Console,
    run_dir: Path,
    plan: Plan,
    trials: list[Trial],
    winner: Trial,
    references: Mapping[str, Mapping[str, Any]],
    final: Mapping[str, Any],
    seconds: float,
) -> None:
    rows = {"found": summary.row(winner.arch, winner.top1, winner.latency_ms, winner.reward), **references}
    console.print(summary.result_table(rows, target_ms=plan.target_ms, device=plan.latency.device))
    console.print(summary.blocks_table(plan.space.describe(winner.indices)))
    console.print(f"latency model: {plan.latency.describe()}")
    console.print(
        f"after {final['epochs']} epochs the found network has top-1 {final['test_top1']:.1%} on the test images "
        f"({final['holdout_top1']:.1%} on the holdout)"
    )
    for line in summary.advice(winner, trials, target_ms=plan.target_ms, reward_name=plan.reward_name, w=plan.w):
        console.print(f"note: {line}")
    console.print(
        f"{len(trials)} samples in {seconds / 60:.1f} minutes; everything is in {run_dir}: report.html, result.json, "
        "best.json (the network), best.onnx and best.safetensors (trained on this data), journal.jsonl"
    )


if __name__ == "__main__":
    run(main, "search")
