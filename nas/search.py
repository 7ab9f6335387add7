"""`python -m nas.search +target=pixel1_small w=-0.15`: finds a network for a device.

Samples networks from a space, measures what each can do (by a short training, with weights that all networks share, or
by what a surrogate says), looks up its latency on the device, and lets a controller learn from ``ACC x (LAT/TAR)^w``
what to sample next. The best samples are trained for longer in the end, and the best of them wins.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from rich.console import Console

from nas import controllers, finish, fronts, outcome
from nas.callbacks import Callbacks, Followed, following
from nas.controllers import Controller
from nas.controllers.first import begin_with
from nas.describe import describe
from nas.ends import Ends
from nas.environment import environment
from nas.goals import Goal, Nearest, by, folder
from nas.job import MAY_DIFFER, read_job
from nas.journal import Journal
from nas.objective import Objective
from nas.outcome import Result
from nas.plan import Plan, can_have, has_table, keep_table, make_plan, open_latency
from nas.recorder import Sampling
from nas.report import notes
from nas.report.watch import watching
from nas.reward import Reward, adjusted
from nas.search_options import SearchOptions
from nas.strategies.contract import Decision, Judge
from nas.trial import Trial
from nas_runtime.command import run
from nas_runtime.console import counted, in_ms, new_console
from nas_runtime.run import Run, open_run


def main(options: SearchOptions) -> None:
    console, started = new_console(), time.perf_counter()
    job = read_job(options)
    if job.dry_run and not has_table(job):
        describe(console, job)
        return
    plan = make_plan(job, open_latency(job))
    describe(console, plan)
    if plan.dry_run:
        return
    about = functools.partial(environment, plan.rng_seed)
    with open_run(plan.run_dir, plan.config, kind="search", may_differ=MAY_DIFFER, environment=about) as here:
        _keep_tables(here, plan)
        plan.warm_start.keep(here)
        if plan.warm_start.earlier:
            controllers.recall(plan.controller, plan.warm_start.earlier)
        with _journal(here, plan, console) as journal, _following(here, plan, journal, console) as callbacks:
            with plan.executor.open() as executor:
                judge = plan.strategy.open(plan.task, here, executor, console)
                trials, rewards = _search(plan, judge, journal, callbacks, console)
                goals = [Goal(reward=reward, run=_run_for(reward, here, plan)) for reward in rewards]
                decisions = judge.decide(trials, goals)
            results = [
                Result(
                    trials=by(goal.reward, trials),
                    decision=decided,
                    sampled=finish.rewarded(judge.references, goal.reward),
                    reward=goal.reward,
                    notes=_notes(plan, judge, trials, decided, goal.reward),
                    seconds=time.perf_counter() - started,
                )
                for goal, decided in zip(goals, decisions, strict=True)
            ]
            _tell(here, plan, goals, results, callbacks, console)


def _tell(
    here: Run, plan: Plan, goals: Sequence[Goal], results: Sequence[Result], callbacks: Callbacks, console: Console
) -> None:
    """Writes and prints what the search came to."""
    if plan.targets_ms:
        for goal, record in zip(goals, fronts.write(here.path, plan, goals, results), strict=True):
            callbacks.on_result(goal.run.path, record)
        fronts.show(console, here.path, plan, results)
    else:
        callbacks.on_result(here.path, outcome.write(here.path, plan, results[0]))
        outcome.show(console, here.path, plan, results[0])


def _following(here: Run, plan: Plan, journal: Journal, console: Console) -> AbstractContextManager[Callbacks]:
    search = Followed(
        folder=here.path,
        config=plan.config,
        rewards=plan.rewards,
        samples=plan.samples,
        known=len(journal.trials),
    )
    return following(plan.callbacks, search, console)


def _run_for(reward: Reward, here: Run, plan: Plan) -> Run:
    """Where the winner by a reward is delivered: in the run, or, of several targets, in a folder that is a run, too."""
    if not plan.targets_ms:
        return here
    part = here.part(folder(reward.target_ms), plan.config_for(reward))
    _keep_tables(part, plan)
    return part


def _keep_tables(here: Run, plan: Plan) -> None:
    keep_table(here, plan.latency)
    for device, model in plan.models.items():
        keep_table(here, model, device)


@contextmanager
def _journal(here: Run, plan: Plan, console: Console) -> Iterator[Journal]:
    """The journal of the search; says what it has, and, where the search is interrupted, how it goes on."""
    journal = Journal(here.path / "journal.jsonl", plan.space.decode)
    known = f" after {counted(len(journal.trials), 'sample')}" if journal.trials else ""
    console.print(f"{'continuing' if here.resumed else 'writing to'} {here.path}{known}")
    if len(journal.trials) > plan.samples:
        console.print(f"note: only the first {plan.samples} of them count, as samples={plan.samples} says")
    try:
        yield journal
    except KeyboardInterrupt:
        done = counted(len(journal.trials), "sample")
        console.print(f"stopped after {done}; continue with the same command and run_dir={here.path}")
        raise


def _search(
    plan: Plan, judge: Judge, journal: Journal, callbacks: Callbacks, console: Console
) -> tuple[Sequence[Trial], Sequence[Reward]]:
    """The trials, and the rewards for which winners are looked for."""
    ends = Ends(max_minutes=plan.max_minutes, patience=plan.patience, rewards=plan.rewards if plan.targets_ms else ())
    with watching(console, plan, callbacks, known=len(journal.trials)) as watch:

        def adjust(trials: Sequence[Trial]) -> Reward:
            good = [trial for trial in trials if trial.status == "ok"]
            bent = adjusted(plan.reward, [trial.top1 for trial in good], [trial.latency_ms for trial in good])
            if bent != plan.reward:
                watch.on_change(bent, len(trials))
            return bent

        objective: Objective[Reward | Nearest] = Objective(
            latency_ms=plan.counting.latency_ms,
            latency_ms_batch=functools.partial(plan.counting.latency_ms_batch, plan.space),
            reward=Nearest(plan.rewards) if plan.targets_ms else plan.reward,
            each=plan.rewards if plan.targets_ms else (),
            adjust_after=plan.adjust_after,
            adjust=adjust,
            costs=plan.costs,
        )
        sampling = Sampling(
            space=plan.space,
            controller=_controller(plan, judge),
            objective=objective,
            samples=plan.samples,
            batch=plan.batch,
            journal=journal,
            on_trial=watch.on_trial,
            ends=ends,
        )
        trials = judge.search(sampling)
    if len(trials) < plan.samples:
        console.print(f"sampling ends after {counted(len(trials), 'sample')}: {ends.why(trials)}")
    return trials, plan.rewards if isinstance(objective.reward, Nearest) else (objective.reward,)


def _controller(plan: Plan, judge: Judge) -> Controller:
    """What proposes networks: within the limits, and first what the search is to begin with."""
    within = plan.bounds.keep(judge.controller, rng_seed=plan.rng_seed)
    first = plan.warm_start.points(plan.space)
    if plan.limits and len(first):
        first = plan.bounds.region.led_inside(first, np.random.default_rng(plan.rng_seed))
    return begin_with(within, first)


def _upper_ends(plan: Plan, decided: Decision) -> str:
    """With ``sure=true`` what milliseconds are."""
    if not plan.sure:
        return ""
    ms = in_ms(plan.expected.latency_ms(decided.winner.arch))
    return f"Milliseconds are the upper ends of 90% intervals (sure=true); {ms} ms are expected of the winner."


def _notes(plan: Plan, judge: Judge, trials: Sequence[Trial], decided: Decision, reward: Reward) -> list[str]:
    """What a person should know before believing the result."""
    policy, trains = plan.controller_name in ("rnn_ppo", "reinforce"), bool(decided.final)
    wider, narrower = (can_have(plan, plan.base_width * factor) for factor in (1.25, 0.8))
    found = [
        *judge.notes(trials),
        _upper_ends(plan, decided),
        notes.far_from_target(decided.winner, reward, trains=trains, wider=wider, narrower=narrower),
        notes.settled(trials, space_size=plan.space.size, entropy=policy),
        *notes.failures(trials),
    ]
    return [note for note in found if note]


if __name__ == "__main__":
    run(main, SearchOptions)
