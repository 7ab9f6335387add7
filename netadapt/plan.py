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
from nas.job import Target, read_target
from nas.plan import kept_table
from nas.settings import DataSettings, ExecutorSettings, TrainerSettings, read_data, read_executor, read_trainer
from nas.strategies.trained import describe_images
from nas.training.recipe import Recipe
from nas_runtime.console import brief, counted
from nas_runtime.run import look
from nas_runtime.settings import Settings
from netadapt import seed as seeds
from netadapt.channels import KINDS
from netadapt.propose import SELECTIONS, narrowest, propose
from netadapt.weights import INHERIT
from search_spaces import cost, redesign, zoo
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.sources import DataFacts

__all__ = ["COMPARED", "FINALS", "MAY_DIFFER", "Plan", "describe", "read_plan"]

FINALS = ("scratch", "finetune")
COMPARED = ("seed", "uniform", "chance", "published")

MAY_DIFFER = (
    *("executor", "workers", "ray", "retries", "run_dir", "tables_dir", "table_error", "dry_run"),
    *("final", "final_epochs", "final_repeats", "compare"),
)
"""Settings that change how or where an adaptation runs, but not what it finds."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An adaptation, as read from the command line.

    Attributes:
        data, facts: the data set, and what is known of it before it is read.
        trainer: how networks are trained.
        config: all settings, as ``config.yaml`` keeps them.
    """

    seed: seeds.Seed
    latency: LatencyModel
    target_ms: float
    delta: float
    decay: float
    kinds: tuple[str, ...]
    selection: str
    inherit: str
    data: DataSettings
    facts: "DataFacts"
    trainer: TrainerSettings
    fine_tune: Recipe
    holdout_images: int | None
    rungs: tuple[float, ...]
    final: str
    final_epochs: int
    repeats: int
    compare: tuple[str, ...]
    rng_seed: int
    executor: ExecutorSettings
    run_dir: Path | None
    config: Mapping[str, Any]
    dry_run: bool

    @property
    def recipe(self) -> Recipe:
        """Of the seed's training."""
        return self.trainer.recipe


def read_plan(settings: Settings) -> Plan:
    """What the command line asks for. Everything is checked before this machine is measured, which happens where its
    table is asked for and it has none.

    Raises:
        ValueError: a value that is not allowed, or does not go with another; a data set that is not there; weights that
            do not fit; a target that cannot be reached; a run directory that holds something else.
    """
    if settings.value("seed") is None:
        raise ValueError("no seed: add seed=, a network of the zoo (as mnasnet_a1), a run's folder or a network's file")
    name, redesigns = settings.text("seed"), settings.value("redesign")
    seed = seeds.find(
        name,
        width=settings.number("width", above=0, high=4),
        redesigns=settings.texts("redesign", ("mobilenet_v3", *redesign.REDESIGNS)) if redesigns else [],
        weights_path=settings.path("weights"),
    )
    data, trainer = _data(settings, seed), read_trainer(settings)
    steps = settings.integer("fine_tune.steps", low=1, high=10_000_000)
    kinds = tuple(settings.texts("kinds", KINDS))
    target = read_target(settings) if settings.value("target") is not None else None
    options: dict[str, Any] = {
        "delta": settings.number("delta", above=0, high=0.5),
        "decay": settings.number("decay", above=0, high=1),
        "kinds": kinds,
        "selection": settings.choice("selection", SELECTIONS),
        "inherit": settings.choice("inherit", INHERIT),
        "holdout_images": _optional(settings, "fine_tune.holdout_images"),
        "rungs": _rungs(settings.value("rungs") or [], steps),
        "final": _final(settings, seed),
        "final_epochs": settings.integer("final_epochs", low=1, high=100_000),
        "repeats": settings.integer("final_repeats", low=1, high=1000),
        "compare": tuple(settings.texts("compare", COMPARED)) if settings.value("compare") else (),
        "rng_seed": settings.integer("rng_seed", low=0, high=2**63 - 1),
        "executor": read_executor(settings),
        "dry_run": settings.flag("dry_run"),
    }
    fine_tune = replace(trainer.recipe, steps=steps, lr=settings.number("fine_tune.lr", above=0, high=10), warmup=0.0)
    ratio = settings.number("ratio", above=0, high=1)
    facts = data.look()
    seed = seeds.with_classes(seed, name, facts.classes)
    seeds.check_fits(seed, trainer.small(seed.arch, facts), data.name)
    run_dir, config = settings.path("run_dir"), {**settings.value(""), "dataset": _plain(data)}
    resumed = look(run_dir, config, kind="netadapt", may_differ=MAY_DIFFER)
    kept = kept_table(run_dir, resumed=resumed)
    latency = _latency(settings, target.device if target else settings.text("device"), kept)
    target_ms = _target_ms(settings, seed.arch, latency, target, ratio)
    _check_target(seed.arch, latency, target_ms, kinds)
    return Plan(
        seed=seed,
        latency=latency,
        target_ms=target_ms,
        data=data,
        facts=facts,
        trainer=trainer,
        fine_tune=fine_tune,
        run_dir=run_dir,
        config=config,
        **options,
    )


def _data(settings: Settings, seed: seeds.Seed) -> DataSettings:
    """The data set that the command line names; without one, that of the run which found the seed, but for what the
    command line sets otherwise."""
    named = read_data(settings)
    if Path(settings.text("seed")).is_dir() and seed.config is None and not settings.given("dataset"):
        raise ValueError(
            f"seed={settings.text('seed')}: it has no config.yaml, which says what data the network is for; restore "
            "it, or give dataset="
        )
    its = None if seed.config is None or settings.given("dataset") else seed.config.get("dataset")
    if its is None:
        return named
    try:
        found = DataSettings(**{**its, "path": None if its["path"] is None else Path(its["path"])})
    except (TypeError, KeyError):
        raise ValueError(
            f"seed={settings.value('seed')}: its config.yaml names no data set that is known here; give dataset="
        ) from None
    return replace(found, **{name: new for name, new in vars(named).items() if settings.given(f"dataset.{name}")})


def _plain(data: DataSettings) -> dict[str, Any]:
    return {**vars(data), "path": None if data.path is None else str(data.path)}


def _final(settings: Settings, seed: seeds.Seed) -> str:
    """A seed that comes with weights is worth more with them."""
    if settings.value("final") is None:
        return "finetune" if seed.weights else "scratch"
    return settings.choice("final", FINALS)


def _optional(settings: Settings, name: str) -> int | None:
    return None if settings.value(name) is None else settings.integer(name, low=1)


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


def _rungs(value: Any, steps: int) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    numbers = [x for x in values if isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x < 1]
    if numbers != values or sorted(set(numbers)) != numbers:
        raise ValueError(
            f"rungs={brief(value)}: they must be shares of fine_tune.steps, from 0 to below 1, rising: [0,0.5]"
        )
    updates = [round(x * steps) for x in numbers]
    if len({*updates, steps}) <= len(numbers):
        raise ValueError(f"rungs={value} are {updates} of {steps} updates; each must be another number")
    return tuple(map(float, numbers))


def _latency(settings: Settings, device: str, kept: LatencyModel | None) -> LatencyModel:
    """The model of the device. NetAdapt asks for every width, so that measured tables are interpolated."""
    model = kept or _load(settings, device)
    return InterpolatedModel(model.table) if isinstance(model.table, MeasuredTable) else model


def _load(settings: Settings, device: str) -> LatencyModel:
    tables_dir = settings.path("tables_dir")
    if device == "host" and "host" not in latency_luts.names(tables_dir=tables_dir) and not settings.flag("dry_run"):
        from latency_luts.build import build_for_space
        from search_spaces import spaces

        build_for_space(spaces.get("mnasnet", base_width=1.0), tables_dir=tables_dir, progress=True)
    model = latency_luts.load(device, tables_dir=tables_dir)
    model.check_error(settings.number("table_error", above=0, high=10))
    return model


def _target_ms(settings: Settings, seed: Arch, latency: LatencyModel, target: Target | None, ratio: float) -> float:
    if settings.value("target_ms") is not None:
        return settings.number("target_ms", above=0)
    if target is None:
        return ratio * latency.latency_ms(seed)
    if target.ms is not None:
        return target.ms
    assert target.like
    like = zoo.get(target.like, resolution_px=seed.resolution_px, classes=seed.blocks[-1].out_ch)
    return latency.latency_ms(like)


def describe(console: Console, plan: Plan) -> None:
    """The plan, in a few lines: also what ``dry_run=true`` prints."""
    arch, latency, held = plan.seed.arch, plan.latency, plan.facts.holdout_images
    seed_ms = latency.latency_ms(arch)
    proposals = propose(arch, latency.latency_ms, cut_ms=plan.delta * seed_ms, kinds=plan.kinds)
    count = _steps(seed_ms, plan)
    at_most = "no fixed number" if count is None else f"at most {count}"
    weights = (
        f"weights of {plan.seed.weights}"
        if plan.seed.weights
        else f"trained for {counted(plan.recipe.epochs, 'epoch')}"
    )
    console.print(
        f"seed        {arch.name}: {seed_ms:.1f} ms, {cost.madds(arch) / 1e6:.0f} M multiply-adds, "
        f"{cost.params(arch) / 1e6:.2f} M parameters; {weights} on {plan.data.name}\n"
        f"target      {plan.target_ms:.1f} ms on {latency.device}\n"
        f"latency     {described(latency, arch)}\n"
        f"images      {describe_images(arch, plan.facts)}\n"
        f"steps       {at_most}, each saving {plan.delta:.1%} of the seed's latency or more"
        + (f", decaying by {plan.decay:g}" if plan.decay < 1 else "")
        + f"; {len(proposals)} proposals in the first ({', '.join(plan.kinds)})\n"
        f"fine-tuning {plan.fine_tune.steps} updates of {plan.fine_tune.batch} images a proposal, measured on "
        + f"{min(plan.holdout_images or held, held)} images of the holdout"
        + (f", the better half after {', '.join(f'{x:.0%}' for x in plan.rungs)}" if plan.rungs else "")
        + f"; {plan.selection} selects; weights are inherited by {plan.inherit}\n"
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
        now_ms -= plan.delta * seed_ms * plan.decay**count
        count += 1
    return count
