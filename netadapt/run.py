"""`python -m netadapt.run seed=mnasnet_a1`: adapts a network to a device, layer by layer.

Starts from a network with its weights and narrows one thing at a time until the latency is reached (NetAdapt, with
MobileNetV3's rule), then trains the result and sets it beside its seed, the seed scaled uniformly and MobileNetV3.
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas.environment import environment
from nas.executor import Executor
from nas.plan import keep_table
from nas.training import datasets
from nas_runtime.command import run
from nas_runtime.console import counted, new_console
from nas_runtime.files import write_json
from nas_runtime.records import Records
from nas_runtime.run import Run, open_run
from netadapt import final, final_small, report, weights
from netadapt import seed as seeds
from netadapt.adapt import Adaptation, adapt
from netadapt.describe import describe
from netadapt.final_full import FullTrainings
from netadapt.fine_tune import measured_top1
from netadapt.options import NetadaptOptions
from netadapt.plan import MAY_DIFFER, Plan, read_plan
from netadapt.tuner import Contest, FineTuning
from netadapt.weights import TrainedNet

if TYPE_CHECKING:
    from nas.training.trainer import Trainer

_OTHER_SEED = "{} began with another seed than the one that is given now; use another run_dir"


def main(options: NetadaptOptions) -> None:
    console = new_console()
    started = time.perf_counter()
    plan = read_plan(options)
    describe(console, plan)
    if plan.dry_run:
        return
    trainer = plan.trainer.on(seeds.normalised(plan.seed, plan.data.load(console, plan.facts)))
    about = functools.partial(environment, plan.rng_seed)
    with open_run(plan.run_dir, plan.config, kind="netadapt", may_differ=MAY_DIFFER, environment=about) as here:
        keep_table(here, plan.latency)
        history = here.records("history.jsonl", "history")
        known = len(history.records)
        console.print(
            f"{'continuing' if here.resumed else 'writing to'} {here.path}"
            + (f" after {counted(known, 'evaluation')}" if known else "")
        )
        try:
            with history.writing():
                full = FullTrainings(plan, plan.full, here, trainer, console) if plan.full else None
                trained: Mapping[str, list[dict[str, Any]]] = {}
                if full is None:
                    start = seed = _seed_net(console, here, plan, trainer)
                else:
                    seed = full.seed()
                    start = _seed_for_smaller_images(console, here, plan, trainer, seed)
                with plan.executor.open() as executor:
                    adaptation, tuner = _adapt(console, here, plan, trainer, executor, start, history)
                    contenders = final.contenders(plan, adaptation)
                    _say_final(console, plan, contenders)
                    adapted = tuner.net(len(adaptation.steps))
                    if full is None:
                        trained = final_small.train(here, plan, contenders, executor, executor.share(trainer), adapted)
                if full is not None:  # each of its trainings takes the whole machine
                    trained = full.train(contenders, seed, adapted)
        except KeyboardInterrupt:
            console.print(f"stopped; nothing is lost: continue with the same command and run_dir={here.path}")
            raise
        if full is None:
            final_small.deliver(here, plan, adaptation.arch, trained, trainer, console)
        else:
            full.deliver(adaptation.arch, trained)
        here_ms = final.time_here(here, contenders)
        result = final.result(plan, adaptation, contenders, trained, here_ms)
        result["seconds_of_last_call"] = round(time.perf_counter() - started, 1)
        write_json(here.path / "result.json", result)
        report.write(here.path, result, adaptation)
        report.show(console, here.path, result)


def _say_final(console: Console, plan: Plan, contenders: Sequence[final.Contender]) -> None:
    names = ", ".join(contender.name for contender in contenders if contender.start != "given")
    times = f", {plan.repeats} times" if plan.repeats > 1 else ""
    console.print(f"final training: {names}, {counted(plan.final_epochs, 'epoch')} each{times}")


def _seed_net(console: Console, here: Run, plan: Plan, trainer: "Trainer") -> TrainedNet:
    """The seed with its weights. The run keeps them: an adaptation that is continued has to begin with the same."""
    path = here.path / "steps" / "seed.safetensors"
    if path.exists():
        start = weights.load(path)
        if start.arch != trainer.small(plan.seed.arch) or not seeds.unchanged(plan.seed, start):
            raise ValueError(_OTHER_SEED.format(here.path))
        return start
    if plan.seed.found:
        start = seeds.given_net(plan.seed, trainer)
        console.print(f"the seed has top-1 {start.top1:.1%} on the holdout")
    else:
        begun = time.perf_counter()
        console.print(f"training the seed for {counted(plan.recipe.epochs, 'epoch')}, unless that was done before")
        threads = plan.executor.workers_here
        start = seeds.trained_net(plan.seed, trainer, plan.recipe, threads=threads, rng_seed=plan.rng_seed)
        console.print(f"the seed has top-1 {start.top1:.1%} on the holdout ({time.perf_counter() - begun:.0f} s)")
    weights.save(start, path)
    return start


def _seed_for_smaller_images(
    console: Console, here: Run, plan: Plan, trainer: "Trainer", seed: TrainedNet
) -> TrainedNet:
    """The seed of full size, tuned for the images that proposals are compared on, if these are smaller: else what
    proposals learn of these, and the seed does not know, would count as a gain. Kept, as the seed is."""
    path, tuned = (here.path / "steps" / f"seed{name}.safetensors" for name in ("", "_tuned"))
    if path.exists() and not seeds.same_weights(weights.load(path), seed):
        raise ValueError(_OTHER_SEED.format(here.path))
    if tuned.exists():
        return weights.load(tuned)
    weights.save(seed, path)
    px = trainer.data.resolution_px
    if plan.full is None or px == plan.full.facts.resolution_px:
        return seed
    threads, norm_images = plan.executor.workers_here, plan.norm_images
    start = seeds.tuned_net(
        seed, trainer, plan.fine_tune, norm_images=norm_images, threads=threads, rng_seed=plan.rng_seed
    )
    console.print(f"tuned for an epoch of {px} px, on which proposals are compared, it has {start.top1:.1%} there")
    weights.save(start, tuned)
    return start


def _adapt(
    console: Console,
    here: Run,
    plan: Plan,
    trainer: "Trainer",
    executor: Executor,
    start: TrainedNet,
    history: Records,
) -> tuple[Adaptation, FineTuning]:
    """The adaptation. Proposals are measured on the plan's part of the holdout, and so is the seed."""
    holdout = datasets.part(trainer.data.holdout, plan.holdout_images or len(trainer.data.holdout))
    trainer = replace(trainer, data=replace(trainer.data, holdout=holdout))
    progress = report.Live(console)
    tuner = FineTuning(
        executor=executor,
        trainer=executor.share(trainer),
        seed=start,
        contest=Contest(
            recipe=plan.fine_tune,
            rungs=plan.rungs,
            selection=plan.rule.selection,
            inherit=plan.inherit,
            norm_images=plan.norm_images,
            rng_seed=plan.rng_seed,
        ),
        history=history,
        folder=here.path / "steps",
        on_evaluation=progress.on_evaluation,
    )
    adaptation = adapt(
        plan.seed.arch,
        tuner,
        seed_top1=measured_top1(start, trainer, holdout),
        latency_ms=plan.latency.latency_ms,
        target_ms=plan.target_ms,
        rule=plan.rule,
        on_step=lambda step: progress.on_step(step, plan.target_ms),
    )
    return adaptation, tuner


if __name__ == "__main__":
    run(main, NetadaptOptions)
