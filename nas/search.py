"""`python -m nas.search +target=pixel1_small w=-0.15`: finds a network for a device.

Samples networks from a space, measures what each can do (by a short training, with weights that all networks share, or
by what a surrogate says), looks up its latency on the device, and lets a controller learn from ``ACC x (LAT/TAR)^w``
what to sample next. The best samples are trained for longer in the end, and the best of them wins.
"""

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from nas import controllers, finish
from nas.controllers import Controller
from nas.evaluators.surrogate import Surrogate
from nas.executor import Evaluate, SerialExecutor, Shared
from nas.journal import Journal
from nas.loop import search
from nas.plan import Plan, describe, read_latency, read_plan, read_space
from nas.report.live import Live
from nas.report.tensorboard import Scalars
from nas.reward import Reward, adjusted
from nas.run_dir import open_run_dir
from nas.settings import EXECUTORS, keep_table, open_executor, read_data_settings, read_evaluator
from nas.supernet.prepare import SharedPlan
from nas.training import sources
from nas.trial import Trial
from nas_runtime.console import brief, new_console
from nas_runtime.settings import Settings, run

if TYPE_CHECKING:
    from nas.evaluators.proxy_training import ProxyTraining
    from nas.evaluators.shared_weights import SharedWeights

# settings that change how, how far or where a search runs, but not what it finds
MAY_DIFFER = (
    *("samples", "executor", "workers", "ray", "retries", "run_dir", "tables_dir", "dry_run", "final", "tensorboard"),
)


def main(settings: Settings) -> None:
    console = new_console()
    started = time.perf_counter()
    space = read_space(settings)
    dry_run = settings.flag("dry_run")
    latency = read_latency(settings, space, measure=not dry_run)
    plan = read_plan(settings, space, latency)
    settings.choice("executor", EXECUTORS)
    engine = _read_engine(settings, plan)
    controller = controllers.make(
        settings.choice("controller.name", controllers.names()),
        space,
        rng_seed=plan.rng_seed,
        settings=settings.mapping("controller.settings"),
    )
    tensorboard = settings.flag("tensorboard")
    data_settings = read_data_settings(settings)
    describe(console, plan, settings, data_settings)
    if dry_run:
        return

    trainer: ProxyTraining | None = None
    if plan.recipe:
        trainer = read_evaluator(
            settings, plan.recipe, sources.load(**data_settings), allowed=("proxy_training", "shared_weights")
        )
    by_itself = functools.partial((trainer or Surrogate.load()).evaluate, rng_seed=plan.rng_seed)
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
            evaluate, references = by_itself, {}
            supernet, trained_on, inherited = None, None, None
            if not plan.shared:  # with shared weights they cannot be evaluated
                references = finish.references(run_dir, plan, by_itself, executor)
            if trainer and plan.shared:
                weights, learned = _shared_weights(run_dir, plan, trainer, console)
                controller = learned or controller
                supernet = _with_shared_weights(plan, plan.shared, trainer, executor.share(weights), run_dir)
                evaluate = supernet.evaluate
                if plan.final_start == "inherited":
                    inherited = replace(supernet, weights=SerialExecutor().share(weights)).inherited
            with ExitStack() as watching:
                live = watching.enter_context(Live(console, plan.samples, plan.reward, every=plan.batch))
                watchers = [live.on_trial]
                if tensorboard:
                    watchers.append(watching.enter_context(Scalars(run_dir / "tensorboard", plan.target_ms)).on_trial)
                common = {
                    "space": space,
                    "controller": controller,
                    "latency_ms": latency.latency_ms,
                    "latency_ms_batch": functools.partial(latency.latency_ms_batch, space),
                    "reward": plan.reward,
                    "samples": plan.samples,
                    "batch": plan.batch,
                    "journal": journal,
                    "on_trial": _all(watchers),
                }
                if engine == "tune" and trainer:
                    trials = _search_with_tune(settings, plan, trainer, run_dir, common)
                else:
                    trials = search(
                        evaluate=evaluate,
                        executor=executor,
                        adjust_after=plan.adjust_after,
                        adjust=_adjust(plan, live) if plan.adjust_after else None,
                        evaluate_again=_with_another_seed(trainer, plan) if trainer and plan.train_again else None,
                        **common,
                    )
            finalists, compared = None, references
            if trainer and plan.final_recipe:
                thoroughly = functools.partial(
                    replace(trainer, recipe=plan.final_recipe).evaluate, rng_seed=plan.rng_seed
                )
                if executor.timeout_s and plan.recipe:  # it is meant for a sample
                    executor.timeout_s *= max(1.0, plan.final_epochs / plan.recipe.epochs)
                if supernet and inherited:
                    trained_on = functools.partial(
                        replace(supernet, trainer=replace(trainer, recipe=plan.final_recipe)).trained_on,
                        rng_seed=plan.rng_seed,
                    )
                finalists, compared = finish.last_round(
                    run_dir, trials, plan, live.reward, thoroughly, executor, console, trained_on
                )
        winner = finish.best_of(trials, finalists, live.reward)
        final = None
        if trainer:
            final = finish.final_training(run_dir, winner, trainer, plan, console, inherited)
    except KeyboardInterrupt:
        console.print(f"stopped after {len(journal.trials)} samples; continue with the same command and {run_dir=!s}")
        raise
    found = finish.Found(
        trials=trials,
        winner=winner,
        references=finish.rewarded(compared, live.reward),
        sampled=finish.rewarded(references, live.reward),
        final=final,
        reward=live.reward,
        finalists=finalists,
    )
    finish.write(run_dir, plan, found, time.perf_counter() - started)
    finish.show(console, run_dir, plan, found, time.perf_counter() - started)


def _shared_weights(
    run_dir: Path, plan: Plan, trainer: "ProxyTraining", console: Console
) -> tuple[dict[str, np.ndarray], Controller | None]:
    from nas.supernet.prepare import prepare

    assert plan.shared
    return prepare(
        run_dir,
        plan.shared,
        space=plan.space,
        latency=plan.latency,
        target_ms=plan.target_ms,
        trainer=trainer,
        rng_seed=plan.rng_seed,
        threads=plan.workers,
        console=console,
        reward=plan.reward,
    )


def _with_shared_weights(
    plan: Plan, shared: SharedPlan, trainer: "ProxyTraining", weights: Shared, run_dir: Path
) -> "SharedWeights":
    from nas.evaluators.shared_weights import SharedWeights
    from nas.supernet.prepare import FILE

    return SharedWeights(
        key=f"{run_dir.resolve()} {(run_dir / FILE).stat().st_mtime_ns}",
        space=plan.space,
        weights=weights,
        trainer=trainer,
        kernels=shared.kernels,
        images=shared.images,
        bn_images=shared.bn_images,
    )


def _search_with_tune(
    settings: Settings, plan: Plan, trainer: "ProxyTraining", run_dir: Path, common: dict[str, Any]
) -> list[Trial]:
    try:
        from nas.tune import search_with_tune
    except ImportError as e:
        raise ValueError(f"engine=tune: {brief(e, most=300)}; pip install 'ray[tune]', or use engine=loop") from None

    return search_with_tune(
        evaluator=trainer,
        rng_seed=plan.rng_seed,
        storage=run_dir.resolve(),
        workers=settings.integer("workers", low=1) if settings.value("workers") is not None else None,
        grace_epochs=settings.integer("grace_epochs", low=1),
        timeout_s=settings.number("ray.timeout_s", above=0),
        retries=settings.integer("retries", low=0),
        num_cpus=settings.number("ray.num_cpus", low=0),
        num_gpus=settings.number("ray.num_gpus", low=0),
        **common,
    )


def _read_engine(settings: Settings, plan: Plan) -> str:
    engine = settings.choice("engine", ("loop", "tune"))
    trains = settings.value("evaluator.name") == "proxy_training" and not plan.train_again
    unfit = settings.value("executor") != "ray" or plan.adjust_after or not trains
    if engine == "tune" and unfit:
        raise ValueError("engine=tune takes executor=ray, an evaluator that trains, duplicates=reuse, no adjust_after")
    settings.integer("grace_epochs", low=1)
    return engine


def _with_another_seed(trainer: "ProxyTraining", plan: Plan) -> Callable[[int], Evaluate]:
    return lambda times: functools.partial(trainer.evaluate, rng_seed=plan.rng_seed + times)


def _all(watchers: Sequence[Callable[[Trial], None]]) -> Callable[[Trial], None]:
    def on_trial(trial: Trial) -> None:
        for watch in watchers:
            watch(trial)

    return on_trial


def _adjust(plan: Plan, live: Live) -> Callable[[Sequence[Trial]], Reward]:
    """Gives the reward with which a search lands on the target."""

    def adjust(trials: Sequence[Trial]) -> Reward:
        good = [trial for trial in trials if trial.status == "ok"]
        bent = adjusted(plan.reward, [trial.top1 for trial in good], [trial.latency_ms for trial in good])
        if bent != plan.reward:
            live.change(bent, f"after {len(trials)} samples, to land on the target,")
        return bent

    return adjust


if __name__ == "__main__":
    run(main, "search")
