"""`python -m nas.search +target=pixel1_small w=-0.15`: finds a network for a device.

Samples networks from a space, measures what each can do (by a short training, with weights that all networks share, or
by what a surrogate says), looks up its latency on the device, and lets a controller learn from ``ACC x (LAT/TAR)^w``
what to sample next. The best samples are trained for longer in the end, and the best of them wins.
"""

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas import finish, outcome
from nas.describe import describe
from nas.environment import environment
from nas.evaluators.surrogate import Surrogate
from nas.executor import Executor
from nas.job import MAY_DIFFER, read_job
from nas.journal import Journal
from nas.loop import search
from nas.objective import Objective
from nas.outcome import Found
from nas.plan import Plan, can_have, has_table, keep_table, make_plan, open_latency
from nas.report import notes
from nas.report.live import Live
from nas.report.tensorboard import Scalars
from nas.reward import Reward
from nas.strategies import Strategy, open_strategy
from nas.trial import Trial
from nas_runtime.console import brief, counted, new_console
from nas_runtime.run import Run, open_run
from nas_runtime.settings import Settings, run

if TYPE_CHECKING:
    from nas.evaluators.proxy_training import ProxyTraining


def main(settings: Settings) -> None:
    console = new_console()
    started = time.perf_counter()
    job = read_job(settings)
    if job.dry_run and not has_table(job):
        describe(console, job)
        return
    plan = make_plan(job, open_latency(job))
    describe(console, plan)
    if plan.dry_run:
        return
    trainer = None
    if plan.trainer and plan.data and plan.facts:
        trainer = plan.trainer.on(plan.data.load(console, plan.facts))
    about = functools.partial(environment, plan.rng_seed)
    with open_run(plan.run_dir, plan.config, kind="search", may_differ=MAY_DIFFER, environment=about) as here:
        keep_table(here, plan.latency)
        journal = Journal(here.path / "journal.jsonl", plan.space.decode)
        known = len(journal.trials)
        console.print(
            f"{'continuing' if here.resumed else 'writing to'} {here.path}"
            + (f" after {counted(known, 'sample')}" if known else "")
        )
        try:
            found = _find(here, plan, trainer, journal, console)
        except KeyboardInterrupt:
            done = counted(len(journal.trials), "sample")
            console.print(f"stopped after {done}; continue with the same command and run_dir={here.path}")
            raise
        outcome.write(here.path, plan, found, time.perf_counter() - started)
        outcome.show(console, here.path, plan, found, time.perf_counter() - started)


def _find(here: Run, plan: Plan, trainer: "ProxyTraining | None", journal: Journal, console: Console) -> Found:
    """Searches, trains the best samples, and then the winner."""
    with plan.executor.open() as executor:
        strategy = open_strategy(here, plan, trainer, executor, console)
        trials, reward = _search(here, plan, strategy, executor, journal, console)
        finalists, compared = None, strategy.references
        if trainings := strategy.trainings:
            if executor.timeout_s and plan.trainer:  # it is meant for a sample
                executor.timeout_s *= max(1.0, plan.final_epochs / plan.trainer.recipe.epochs)
            finalists, compared = finish.last_round(here, trials, plan, reward, trainings, executor, console)
    winner = finish.best_of(trials, finalists, reward)
    final = None
    if strategy.trainer:
        final = finish.final_training(here, winner, strategy.trainer, plan, console, strategy.inherited)
    return Found(
        trials=trials,
        winner=winner,
        references=finish.rewarded(compared, reward),
        sampled=finish.rewarded(strategy.references, reward),
        final=final,
        reward=reward,
        finalists=finalists,
        notes=_notes(plan, trials, winner, reward),
    )


def _notes(plan: Plan, trials: Sequence[Trial], winner: Trial, reward: Reward) -> tuple[str, ...]:
    trains, policy = plan.trainer is not None, plan.controller_name in ("rnn_ppo", "reinforce")
    wider, narrower = (can_have(plan, plan.base_width * factor) for factor in (1.25, 0.8))
    found = [
        None if trains else Surrogate.load().caution(),
        notes.far_from_target(winner, reward, trains=trains, wider=wider, narrower=narrower),
        notes.settled(trials, space_size=plan.space.size, entropy=policy),
        notes.at_chance(trials, plan.facts.classes) if plan.facts else None,
        *notes.failures(trials),
    ]
    return tuple(note for note in found if note)


def _search(
    here: Run, plan: Plan, strategy: Strategy, executor: Executor, journal: Journal, console: Console
) -> tuple[list[Trial], Reward]:
    """The trials, and the reward that counts for them."""
    with ExitStack() as watching:
        live = watching.enter_context(Live(console, plan.samples, plan.reward, every=plan.batch))
        watchers = [live.on_trial]
        if plan.tensorboard:
            watchers.append(watching.enter_context(Scalars(here.path / "tensorboard", plan.target_ms)).on_trial)
        objective = Objective(plan.reward, live.on_change)
        common: dict[str, Any] = {
            "space": plan.space,
            "controller": strategy.controller,
            "latency_ms": plan.latency.latency_ms,
            "latency_ms_batch": functools.partial(plan.latency.latency_ms_batch, plan.space),
            "reward": plan.reward,
            "samples": plan.samples,
            "batch": plan.batch,
            "journal": journal,
            "on_trial": _all(watchers),
        }
        if plan.engine == "tune" and strategy.trainer:
            return _search_with_tune(here, plan, strategy.trainer, common), objective.reward
        trials = search(
            evaluate=strategy.evaluate,
            executor=executor,
            adjust_after=plan.adjust_after,
            adjust=objective.adjust if plan.adjust_after else None,
            evaluate_again=strategy.evaluate_again,
            **common,
        )
        return trials, objective.reward


def _search_with_tune(here: Run, plan: Plan, trainer: "ProxyTraining", common: dict[str, Any]) -> list[Trial]:
    try:
        from nas.tune import search_with_tune
    except ImportError as e:
        raise ValueError(f"engine=tune: {brief(e, most=300)}; pip install 'ray[tune]', or use engine=loop") from None

    executor = plan.executor
    return search_with_tune(
        evaluator=trainer,
        rng_seed=plan.rng_seed,
        storage=here.path.resolve(),
        workers=executor.workers,
        grace_epochs=plan.grace_epochs,
        timeout_s=executor.timeout_s,
        retries=executor.retries,
        num_cpus=executor.num_cpus,
        num_gpus=executor.num_gpus,
        **common,
    )


def _all(watchers: Sequence[Callable[[Trial], None]]) -> Callable[[Trial], None]:
    def on_trial(trial: Trial) -> None:
        for watch in watchers:
            watch(trial)

    return on_trial


if __name__ == "__main__":
    run(main, "search")
