"""What a command line of `netadapt.run` asks for."""

from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

import latency_luts
from latency_luts import InterpolatedModel, LatencyModel
from latency_luts.table import MeasuredTable
from nas.settings import kept_table, read_recipe, read_workers
from nas.training.recipe import Recipe
from nas_runtime.settings import Settings
from netadapt import seed as seeds
from netadapt.channels import KINDS
from netadapt.propose import SELECTIONS, narrowest, propose
from netadapt.weights import INHERIT
from search_spaces import cost, redesign, zoo

__all__ = ["COMPARED", "FINALS", "Plan", "describe", "read_plan"]

FINALS = ("scratch", "finetune")
COMPARED = ("seed", "uniform", "chance", "published")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An adaptation, as read from the command line."""

    seed: seeds.Seed
    latency: LatencyModel
    target_ms: float
    delta: float
    decay: float
    kinds: tuple[str, ...]
    selection: str
    inherit: str
    recipe: Recipe
    fine_tune: Recipe
    holdout_images: int | None
    rungs: tuple[float, ...]
    final: str
    final_epochs: int
    repeats: int
    compare: tuple[str, ...]
    rng_seed: int
    workers: int


def read_plan(settings: Settings) -> Plan:
    redesigns = settings.value("redesign")
    seed = seeds.find(
        settings.text("seed"),
        width=settings.number("width", above=0, high=4),
        redesigns=settings.texts("redesign", ("mobilenet_v3", *redesign.REDESIGNS)) if redesigns else [],
        weights_path=settings.path("weights"),
    )
    device = settings.text("target.device" if settings.value("target") is not None else "device")
    latency = _latency(settings, device)
    seed_ms = latency.latency_ms(seed.arch)
    target_ms = _target_ms(settings, latency, seed_ms)
    if not target_ms < seed_ms:
        raise ValueError(
            f"the target is {target_ms:.4g} ms, but the seed {seed.arch.name} takes {seed_ms:.4g} ms on {device}; "
            "choose a target below that, or a wider seed (width=...)"
        )
    kinds = tuple(settings.texts("kinds", KINDS))
    least_ms = latency.latency_ms(narrowest(seed.arch, kinds))
    if target_ms < least_ms:
        raise ValueError(
            f"the target of {target_ms:.4g} ms cannot be reached: {seed.arch.name} takes {least_ms:.4g} ms on {device} "
            f"with every {' and '.join(kinds)} at 8 channels; choose a target above that, more kinds, or a smaller seed"
        )
    recipe = read_recipe(settings)
    return Plan(
        seed=seed,
        latency=latency,
        target_ms=target_ms,
        delta=settings.number("delta", above=0, high=0.5),
        decay=settings.number("decay", above=0, high=1),
        kinds=kinds,
        selection=settings.choice("selection", SELECTIONS),
        inherit=settings.choice("inherit", INHERIT),
        recipe=recipe,
        fine_tune=replace(
            recipe,
            steps=settings.integer("fine_tune.steps", low=1),
            lr=settings.number("fine_tune.lr", above=0),
            warmup=0.0,
        ),
        holdout_images=(
            None
            if settings.value("fine_tune.holdout_images") is None
            else settings.integer("fine_tune.holdout_images", low=1)
        ),
        rungs=_rungs(settings.value("rungs") or [], settings.integer("fine_tune.steps", low=1)),
        final=settings.choice("final", FINALS),
        final_epochs=settings.integer("final_epochs", low=1),
        repeats=settings.integer("final_repeats", low=1),
        compare=tuple(settings.texts("compare", COMPARED)) if settings.value("compare") else (),
        rng_seed=settings.integer("rng_seed", low=0),
        workers=read_workers(settings),
    )


def _rungs(value: Any, steps: int) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    numbers = [x for x in values if isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1]
    if numbers != values or sorted(set(numbers)) != numbers:
        raise ValueError(f"rungs={value}: they must be shares of fine_tune.steps, from 0 to below 1, rising: [0,0.5]")
    updates = [round(x * steps) for x in numbers]
    if len({*updates, steps}) <= len(numbers):
        raise ValueError(f"rungs={value} are {updates} of {steps} updates; each must be another number")
    return tuple(map(float, numbers))


def _latency(settings: Settings, device: str) -> LatencyModel:
    """The model of the device. NetAdapt asks for every width, so that measured tables are interpolated."""
    model = kept_table(settings) or _load(settings, device)
    return InterpolatedModel(model.table) if isinstance(model.table, MeasuredTable) else model


def _load(settings: Settings, device: str) -> LatencyModel:
    tables_dir = settings.path("tables_dir")
    if device == "host" and "host" not in latency_luts.names(tables_dir=tables_dir) and not settings.flag("dry_run"):
        from latency_luts.build import build_for_space
        from search_spaces import spaces

        build_for_space(spaces.get("mnasnet", base_width=1.0), tables_dir=tables_dir, progress=True)
    return latency_luts.load(device, tables_dir=tables_dir)


def _target_ms(settings: Settings, latency: LatencyModel, seed_ms: float) -> float:
    if settings.value("target_ms") is not None:
        return settings.number("target_ms", above=0)
    if settings.value("target") is None:
        return settings.number("ratio", above=0, high=1) * seed_ms
    if settings.value("target.target_ms") is not None:
        return settings.number("target.target_ms", above=0)
    return latency.latency_ms(zoo.get(settings.choice("target.like", zoo.names())))


def describe(console: Console, plan: Plan, data: str, executor: str) -> None:
    """The plan, in a few lines: also what ``dry_run=true`` prints."""
    arch, latency = plan.seed.arch, plan.latency
    seed_ms = latency.latency_ms(arch)
    proposals = propose(arch, latency.latency_ms, cut_ms=plan.delta * seed_ms, kinds=plan.kinds)
    count = _steps(seed_ms, plan)
    at_most = "no fixed number" if count is None else f"at most {count}"
    weights = f"weights of {plan.seed.weights}" if plan.seed.weights else f"trained for {plan.recipe.epochs} epochs"
    console.print(
        f"seed        {arch.name}: {seed_ms:.1f} ms, {cost.madds(arch) / 1e6:.0f} M multiply-adds, "
        f"{cost.params(arch) / 1e6:.2f} M parameters; {weights} on {data}\n"
        f"target      {plan.target_ms:.1f} ms on {latency.describe()}\n"
        f"steps       {at_most}, each saving {plan.delta:.1%} of the seed's latency or more"
        + (f", decaying by {plan.decay:g}" if plan.decay < 1 else "")
        + f"; {len(proposals)} proposals in the first ({', '.join(plan.kinds)})\n"
        f"fine-tuning {plan.fine_tune.steps} updates of {plan.fine_tune.batch} images a proposal, measured on "
        + (f"{plan.holdout_images} images" if plan.holdout_images else "all images")
        + " of the holdout"
        + (f", the better half after {', '.join(f'{x:.0%}' for x in plan.rungs)}" if plan.rungs else "")
        + f"; {plan.selection} selects; weights are inherited by {plan.inherit}\n"
        f"final       {plan.final}, {plan.final_epochs} epochs; executor {executor}"
    )


def _steps(seed_ms: float, plan: Plan) -> int | None:
    """How many of the least cuts it takes; None if decaying ones never add up to enough."""
    now_ms, count = seed_ms, 0
    while now_ms > plan.target_ms:
        if count == 10_000:
            return None
        now_ms -= plan.delta * seed_ms * plan.decay**count
        count += 1
    return count
