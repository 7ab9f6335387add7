"""What a command line of `netadapt.run` asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_luts import LatencyModel
from nas.delivery import Delivery
from nas.options import Data
from nas.plan import kept_table
from nas.recipe_options import FINE_TUNE, usual
from nas.run_data import data_of, plain
from nas.settings import ExecutorSettings, TrainerSettings, executor_of, trainer_of
from nas.train_plan import place_of
from nas.training.place import Place
from nas.training.recipe import Recipe
from nas_runtime.cluster import available_cpus
from nas_runtime.run import look
from netadapt import latency as latencies
from netadapt import seed as seeds
from netadapt.adapt import Rule
from netadapt.final_full import FullSize
from netadapt.options import NetadaptOptions
from netadapt.propose import narrowest
from search_spaces import zoo
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.sources import DataFacts

__all__ = ["MAY_DIFFER", "Plan", "read_plan"]

MAY_DIFFER = (
    *("executor", "workers", "ray", "retries", "run_dir", "tables_dir", "table_error", "dry_run"),
    *("final", "final_epochs", "final_repeats", "compare", "delivery", "recipe"),
)
"""Settings that change how or where an adaptation runs, but not what it finds; a seed that another recipe trains is
another one, which is noticed when it is."""

_MOST_PX = 96  # of images on which proposals are compared, unless it is given
_NORM_IMAGES = 256  # as it is where networks are trained at full size
_SMALL_EPOCHS, _TUNED_EPOCHS, _NEW_EPOCHS = 6, 3, 30


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An adaptation, as read from the command line.

    Attributes:
        data, facts: the data set, and what is known of it before it is read.
        trainer: how networks are trained.
        full: how networks are trained at the size that they are priced for; None: trainings are on small images that
            stand in for those.
        epochs: of the seed's training.
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
    full: FullSize | None
    epochs: int
    fine_tune: Recipe
    norm_images: int | None
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
        """Of trainings on small images, by themselves."""
        return replace(self.trainer.recipe, epochs=self.epochs)


def read_plan(options: NetadaptOptions) -> Plan:
    """What the command line asks for. Everything is checked before this machine is measured, which happens where its
    table is asked for and it has none.

    Raises:
        ValueError: values that do not go with each other; a data set that is not there; weights that do not fit; a
            target that cannot be reached; a run directory that holds something else.
    """
    _check_rungs(options)
    _check_target_options(options)
    seed, data, facts, full = _data(options)
    trainer = trainer_of(options.evaluator)
    if full is None:
        seeds.check_fits(seed, trainer.small(seed.arch, facts), data.name)
    final = options.final or ("finetune" if seed.found else "scratch")
    said = options.epochs or (options.evaluator.epochs if options.given("evaluator.epochs") else None)
    epochs = said or _epochs(full, from_weights=seed.found is not None)
    config = {
        **options.written,
        "dataset": plain(full.data if full else data),
        "epochs": epochs,
        "evaluator": {**options.written["evaluator"], "epochs": epochs},
    }
    resumed = look(options.run_dir, config, kind="netadapt", may_differ=MAY_DIFFER)
    latency = _latency(options, seed.arch, kept_table(options.run_dir, resumed=resumed))
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
        full=full,
        epochs=epochs,
        norm_images=options.fine_tune.norm_images or (_NORM_IMAGES if full else None),
        fine_tune=replace(trainer.recipe, steps=options.fine_tune.steps, lr=options.fine_tune.lr, warmup=0.0),
        holdout_images=options.fine_tune.holdout_images,
        rungs=options.rungs,
        final=final,
        final_epochs=options.final_epochs or _epochs(full, from_weights=final == "finetune"),
        repeats=options.final_repeats,
        compare=_compared(full, final) if options.compare is None else options.compare,
        delivery=options.delivery,
        rng_seed=options.rng_seed,
        executor=executor_of(options, options.ray),
        run_dir=options.run_dir,
        config=config,
        dry_run=options.dry_run,
    )


def _data(options: NetadaptOptions) -> tuple[seeds.Seed, Data, "DataFacts", FullSize | None]:
    """The seed; the images that proposals are compared on; and how networks are trained at full size, if they are."""
    named = seeds.named(options.seed, width=options.width, redesigns=list(options.redesign))
    data = data_of(options.dataset, options.given, options.seed, named.config, option="seed")
    asked = options.given("dataset") and not options.given("dataset.resolution_px")
    if asked and data.resolution_px is not None and named.name not in zoo.names():
        data = data.at(named.arch.resolution_px)  # pictures of any size at the network's own
    whole = data.look()
    seed = seeds.find(named, options.weights, data, whole)
    px, full = options.evaluator.resolution_px, None
    if seed.arch.resolution_px == whole.resolution_px:
        full = _full_size(options, data, whole, seed)
        px = min(px or _MOST_PX, whole.resolution_px)
    if px is not None:
        data = data.at(px)
    return seed, data, data.look(), full


def _full_size(options: NetadaptOptions, data: Data, facts: "DataFacts", seed: seeds.Seed) -> FullSize:
    """Trainings on the pictures that networks are priced for."""
    evaluator, crop = options.evaluator, seed.found.crop if seed.found else None
    if crop is not None and data.crop is None:
        data = data.model_copy(update={"crop": crop})
    batch, tunes = min(evaluator.batch, facts.train_images), options.recipe.name == FINE_TUNE
    tune, new = (options.recipe, usual("cosine")) if tunes else (usual(FINE_TUNE), options.recipe)
    return FullSize(
        data=data,
        facts=facts,
        tune=tune.made(epochs=1, batch=batch),
        tune_name=tune.name,
        new=new.made(epochs=1, batch=batch),
        new_name=new.name,
        place=_place(evaluator.device, dry_run=options.dry_run),
    )


def _place(device: str, *, dry_run: bool) -> Place:
    """Where trainings at full size run; a plan may be made elsewhere."""
    if dry_run:
        return Place(device=device, threads=available_cpus())
    return place_of(device, option="evaluator.device")


def _epochs(full: FullSize | None, *, from_weights: bool) -> int:
    """Of a training that nobody has said the length of."""
    return _SMALL_EPOCHS if full is None else _TUNED_EPOCHS if from_weights else _NEW_EPOCHS


def _compared(full: FullSize | None, final: str) -> tuple[str, ...]:
    """What the adapted network is compared with: nothing that the few epochs of a tuning would have to train anew."""
    return ("seed", "uniform") if full and final == "finetune" else ("seed", "uniform", "published")


def _check_target_options(options: NetadaptOptions) -> None:
    target = options.target
    if target and options.given("device"):
        raise ValueError("device= means nothing beside +target=, which says it; use target.device=, or leave one out")
    if options.target_ms is not None and options.given("ratio"):
        raise ValueError("target_ms= and ratio= both say how fast; leave one out")
    if target and options.given("ratio") and (target.target_ms is not None or target.like is not None):
        raise ValueError(
            f"ratio= means nothing beside +target={target.name}, which says how fast; use target_ms=, or leave one out"
        )


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
            f"{latency.device} with {' and '.join(kinds)} as small as they may be; choose a target above that, more "
            "kinds, or a smaller seed"
        )


def _check_rungs(options: NetadaptOptions) -> None:
    steps, rungs = options.fine_tune.steps, list(options.rungs)
    updates = [round(x * steps) for x in rungs]
    if len({*updates, steps}) <= len(rungs):
        raise ValueError(f"rungs={rungs} are {updates} of {steps} updates; each must be another number")


def _latency(options: NetadaptOptions, seed: Arch, kept: LatencyModel | None) -> LatencyModel:
    """The model of the device, for networks of any width."""
    if kept is None:
        device = options.target.device if options.target else options.device
        may = not options.dry_run
        kept = latencies.load(device, seed, tables_dir=options.tables_dir, kinds=options.kinds, measure=may)
        kept.check_error(options.table_error)
    return latencies.for_every_width(kept)


def _target_ms(options: NetadaptOptions, seed: Arch, latency: LatencyModel) -> float:
    target = options.target.asked(options.given) if options.target else None
    if options.target_ms is not None:
        return options.target_ms
    if target is None or (target.target_ms is None and target.like is None):
        return options.ratio * latency.latency_ms(seed)
    if target.target_ms is not None:
        return target.target_ms
    assert target.like
    like = zoo.get(target.like, resolution_px=seed.resolution_px, classes=seed.blocks[-1].out_ch)
    return latency.latency_ms(like)
