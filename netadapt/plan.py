"""What a command line of `netadapt.run` asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import latency_luts
from latency_luts import InterpolatedModel, LatencyModel
from latency_luts.table import MeasuredTable
from latency_luts.unseen import described
from nas.delivery import Delivery
from nas.options import Data
from nas.plan import kept_table
from nas.run_data import data_of, plain
from nas.settings import ExecutorSettings, TrainerSettings, executor_of, trainer_of
from nas.strategies.trained import describe_images
from nas.training.recipe import Recipe
from nas_runtime.console import counted, in_ms
from nas_runtime.run import look
from netadapt import seed as seeds
from netadapt.adapt import Rule
from netadapt.options import NetadaptOptions
from netadapt.propose import narrowest, propose
from search_spaces import cost, zoo
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.sources import DataFacts

__all__ = ["MAY_DIFFER", "Plan", "describe", "read_plan"]

MAY_DIFFER = (
    *("executor", "workers", "ray", "retries", "run_dir", "tables_dir", "table_error", "dry_run"),
    *("final", "final_epochs", "final_repeats", "compare", "delivery"),
)
"""Settings that change how or where an adaptation runs, but not what it finds."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An adaptation, as read from the command line.

    Attributes:
        data, facts: the data set, and what is known of it before it is read.
        trainer: how networks are trained.
        delivery: the files that the adapted network is delivered as.
        config: all settings, as ``config.yaml`` keeps them.
    """

    seed: seeds.Seed
    latency: LatencyModel
    target_ms: float
    rule: Rule
    inherit: str
    data: Data
    facts: "DataFacts"
    trainer: TrainerSettings
    fine_tune: Recipe
    holdout_images: int | None
    rungs: tuple[float, ...]
    final: str
    final_epochs: int
    repeats: int
    compare: tuple[str, ...]
    delivery: Delivery
    rng_seed: int
    executor: ExecutorSettings
    run_dir: Path | None
    config: Mapping[str, Any]
    dry_run: bool

    @property
    def recipe(self) -> Recipe:
        """Of the seed's training."""
        return self.trainer.recipe


def read_plan(options: NetadaptOptions) -> Plan:
    """What the command line asks for. Everything is checked before this machine is measured, which happens where its
    table is asked for and it has none.

    Raises:
        ValueError: values that do not go with each other; a data set that is not there; weights that do not fit; a
            target that cannot be reached; a run directory that holds something else.
    """
    _check_rungs(options)
    _check_target_options(options)
    named = seeds.find(
        options.seed, width=options.width, redesigns=list(options.redesign), weights_path=options.weights
    )
    data = data_of(options.dataset, options.given, options.seed, named.config, option="seed")
    trainer = trainer_of(options.evaluator)
    if options.evaluator.resolution_px is not None:
        data = data.at(options.evaluator.resolution_px)
    facts = data.look()
    seed = seeds.with_classes(named, options.seed, facts.classes)
    seeds.check_fits(seed, trainer.small(seed.arch, facts), data.name)
    config = {**options.written, "dataset": plain(data)}
    resumed = look(options.run_dir, config, kind="netadapt", may_differ=MAY_DIFFER)
    latency = _latency(options, kept_table(options.run_dir, resumed=resumed))
    target_ms = _target_ms(options, seed.arch, latency)
    _check_target(seed.arch, latency, target_ms, options.kinds)
    return Plan(
        seed=seed,
        latency=latency,
        target_ms=target_ms,
        rule=Rule(delta=options.delta, decay=options.decay, kinds=options.kinds, selection=options.selection),
        inherit=options.inherit,
        data=data,
        facts=facts,
        trainer=trainer,
        fine_tune=replace(trainer.recipe, steps=options.fine_tune.steps, lr=options.fine_tune.lr, warmup=0.0),
        holdout_images=options.fine_tune.holdout_images,
        rungs=options.rungs,
        final=options.final or ("finetune" if seed.weights else "scratch"),
        final_epochs=options.final_epochs,
        repeats=options.final_repeats,
        compare=options.compare,
        delivery=options.delivery,
        rng_seed=options.rng_seed,
        executor=executor_of(options, options.ray),
        run_dir=options.run_dir,
        config=config,
        dry_run=options.dry_run,
    )


def _check_target_options(options: NetadaptOptions) -> None:
    for name, instead in (("device", "target.device"), ("ratio", "target_ms")):
        if options.target and options.given(name):
            raise ValueError(f"{name}= means nothing beside +target=, which says it; use {instead}=, or leave one out")


def _check_target(seed: Arch, latency: LatencyModel, target_ms: float, kinds: tuple[str, ...]) -> None:
    seed_ms, least_ms = latency.latency_ms(seed), latency.latency_ms(narrowest(seed, kinds))
    if not target_ms < seed_ms:
        raise ValueError(
            f"the target is {target_ms:.4g} ms, but the seed {seed.name} takes {seed_ms:.4g} ms on {latency.device}; "
            "choose a target below that, or a wider seed (width=...)"
        )
    if target_ms < least_ms:
        raise ValueError(
            f"the target of {target_ms:.4g} ms cannot be reached: {seed.name} takes {least_ms:.4g} ms on "
            f"{latency.device} with every {' and '.join(kinds)} at 8 channels; choose a target above that, more kinds, "
            "or a smaller seed"
        )


def _check_rungs(options: NetadaptOptions) -> None:
    steps, rungs = options.fine_tune.steps, list(options.rungs)
    updates = [round(x * steps) for x in rungs]
    if len({*updates, steps}) <= len(rungs):
        raise ValueError(f"rungs={rungs} are {updates} of {steps} updates; each must be another number")


def _latency(options: NetadaptOptions, kept: LatencyModel | None) -> LatencyModel:
    """The model of the device. NetAdapt asks for every width, so that measured tables are interpolated."""
    model = kept or _load(options)
    return InterpolatedModel(model.table) if isinstance(model.table, MeasuredTable) else model


def _load(options: NetadaptOptions) -> LatencyModel:
    tables_dir, device = options.tables_dir, options.target.device if options.target else options.device
    if device == "host" and "host" not in latency_luts.names(tables_dir=tables_dir) and not options.dry_run:
        from latency_luts.build import build_for_space
        from search_spaces import spaces

        build_for_space(spaces.get("mnasnet", base_width=1.0), tables_dir=tables_dir, progress=True)
    model = latency_luts.load(device, tables_dir=tables_dir)
    model.check_error(options.table_error)
    return model


def _target_ms(options: NetadaptOptions, seed: Arch, latency: LatencyModel) -> float:
    target = options.target.asked(options.given) if options.target else None
    if options.target_ms is not None:
        return options.target_ms
    if target is None:
        return options.ratio * latency.latency_ms(seed)
    if target.target_ms is not None:
        return target.target_ms
    assert target.like
    like = zoo.get(target.like, resolution_px=seed.resolution_px, classes=seed.blocks[-1].out_ch)
    return latency.latency_ms(like)


def describe(console: Console, plan: Plan) -> None:
    """The plan, in a few lines: also what ``dry_run=true`` prints."""
    arch, latency, held = plan.seed.arch, plan.latency, plan.facts.holdout_images
    seed_ms = latency.latency_ms(arch)
    proposals = propose(arch, latency.latency_ms, cut_ms=plan.rule.cut_ms(1, seed_ms), kinds=plan.rule.kinds)
    count = _steps(seed_ms, plan)
    at_most = "no fixed number" if count is None else f"at most {count}"
    weights = (
        f"weights of {plan.seed.weights}"
        if plan.seed.weights
        else f"trained for {counted(plan.recipe.epochs, 'epoch')}"
    )
    console.print(
        f"seed        {arch.name}: {in_ms(seed_ms)} ms, {cost.madds(arch) / 1e6:.0f} M multiply-adds, "
        f"{cost.params(arch) / 1e6:.2f} M parameters; {weights} on {plan.data.name}\n"
        f"target      {in_ms(plan.target_ms)} ms on {latency.device}\n"
        f"latency     {described(latency, arch)}\n"
        f"images      {describe_images(arch, plan.facts)}\n"
        f"steps       {at_most}, each saving {plan.rule.delta:.1%} of the seed's latency or more"
        + (f", decaying by {plan.rule.decay:g}" if plan.rule.decay < 1 else "")
        + f"; {len(proposals)} proposals in the first ({', '.join(plan.rule.kinds)})\n"
        f"fine-tuning {plan.fine_tune.steps} updates of {plan.fine_tune.batch} images a proposal, measured on "
        + f"{min(plan.holdout_images or held, held)} images of the holdout"
        + (f", the better half after {', '.join(f'{x:.0%}' for x in plan.rungs)}" if plan.rungs else "")
        + f"; {plan.rule.selection} selects; weights are inherited by {plan.inherit}\n"
        f"final       {plan.final}, {counted(plan.final_epochs, 'epoch')}; executor {plan.executor.describe()}"
    )
    for note in plan.facts.notes:
        console.print(f"note: {note}")


def _steps(seed_ms: float, plan: Plan) -> int | None:
    """How many of the least cuts it takes; None if decaying ones never add up to enough."""
    now_ms, count = seed_ms, 0
    while now_ms > plan.target_ms:
        if count == 10_000:
            return None
        count += 1
        now_ms -= plan.rule.cut_ms(count, seed_ms)
    return count
