"""A training as the command line asks for it, read and checked before anything is read, trained or written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas import networks
from nas.estimate import full_training_s, in_words
from nas.options import Data
from nas.run_data import data_of, plain
from nas.train_options import TrainOptions
from nas.training.place import Place, Workers
from nas.training.recipe import Recipe
from nas_runtime.cluster import available_cpus
from nas_runtime.console import brief, counted
from nas_runtime.run import Run, look
from search_spaces import cost, rewrite
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from nas.training.sources import DataFacts

__all__ = ["MAY_DIFFER", "MIN_PX", "TrainPlan", "describe", "fitted", "place_of", "read_plan"]

MAY_DIFFER = (
    *("device", "threads", "readers", "retries", "ray", "run_dir", "dry_run"),
    *("checkpoint_minutes", "tensorboard", "delivery"),
)
"""Settings that change how or where a training runs, or what is made of it, but not what is learnt."""

_READERS = 4  # at most, where networks are trained on the CPU: they only work in gaps (experiments/data_throughput.py)
_LEAST = 2  # images of a micro-batch: the statistics of batch norms are those of several
_FEW_UPDATES = 1000  # for RMSProp as the papers have it
_FEW_FROM_SCRATCH = 300  # for any recipe
MIN_PX = 2
"""Feature maps of small images are not halved below this size, as those of samples are not."""


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """A training, ready to begin.

    Attributes:
        data: the data set, at the size of the training: without one on the command line the run's that found the
            network; pictures of any size at the network's own, unless the command line says another.
        arch: for the images of the data; its classes too.
        source: where the network is from, in words.
        facts: what is known of the data before it is read.
        resumed: whether the run directory holds it already.
        config: all settings, as ``config.yaml`` keeps them.
    """

    options: TrainOptions
    data: Data
    arch: Arch
    source: str
    facts: "DataFacts"
    recipe: Recipe
    place: Place
    resumed: bool
    config: Mapping[str, Any]


def read_plan(options: TrainOptions) -> TrainPlan:
    """What the command line asks for. Writes and trains nothing.

    Raises:
        ValueError: a value does not go with another; a network, data set or GPU is not there; a run directory holds
            something else.
    """
    named = networks.named(options.network, width=options.width)
    data = data_of(options.dataset, options.given, options.network, named.config, option="network")
    if data.resolution_px is not None and not options.given("dataset.resolution_px"):
        data = data.at(named.arch.resolution_px)
    facts = data.look()
    if not options.given("batch"):
        options = options.model_copy(update={"batch": min(options.batch, facts.train_images)})
    if options.batch > facts.train_images:
        raise ValueError(
            f"batch={options.batch} is more than the {counted(facts.train_images, 'training image')} of {facts.name}; "
            "give a smaller one"
        )
    if options.teacher is not None:
        _check_teacher(options.teacher, facts)
    recipe = options.recipe.made(epochs=options.epochs, batch=options.batch, micro_batch=_micro_batch(options))
    arch = fitted(named.arch, facts, recipe)
    config = {**options.written, "batch": options.batch, "micro_batch": recipe.micro_batch, "dataset": plain(data)}
    _check_length(options)
    return TrainPlan(
        options=options,
        data=data,
        arch=arch,
        source=named.source,
        facts=facts,
        recipe=recipe,
        place=_place(options),
        resumed=look(options.run_dir, config, kind="train", may_differ=MAY_DIFFER),
        config=config,
    )


def fitted(arch: Arch, facts: "DataFacts", recipe: Recipe) -> Arch:
    """`arch` for the images and classes of the data, with the dropout of the recipe."""
    small = rewrite.small_image(arch, facts.resolution_px, min_px=MIN_PX)
    small = rewrite.classes(rewrite.in_channels(small, facts.channels), facts.classes)
    return small if recipe.dropout is None else rewrite.dropout(small, recipe.dropout)


def _check_teacher(name: str, facts: "DataFacts") -> None:
    teacher = networks.named(name, option="teacher")
    if (classes := teacher.arch.classes) != facts.classes:
        raise ValueError(
            f"teacher={brief(name)} knows {counted(classes, 'class')}, and {facts.name} has {facts.classes}; give one "
            "that was trained on these classes"
        )
    if other := networks.other_class(networks.class_names(teacher.file), facts.class_names):
        raise ValueError(
            f"teacher={brief(name)} knows other classes than {facts.name} has: {other}; give one that was trained on "
            "these classes, in this order"
        )


def _micro_batch(options: TrainOptions) -> int | None:
    """Images that are worked on at once."""
    workers, batch = options.ray.train_workers, options.batch
    size = options.micro_batch or max(_LEAST, -(-batch // workers))
    if size > batch:
        raise ValueError(f"micro_batch={size} is more than batch={batch}; give a smaller one")
    if (parts := -(-batch // size)) < workers:
        instead = "lower micro_batch" if options.micro_batch else f"give batch={workers * size}, or fewer workers"
        raise ValueError(
            f"ray.train_workers={workers}: batch={batch} has {counted(parts, 'part')} of micro_batch={size}, and each "
            f"worker needs one; {instead}"
        )
    return None if size == batch else size


def _place(options: TrainOptions) -> Place:
    ray = options.ray
    together = ray.train_workers > 1 or ray.address is not None
    if options.device == "cuda" and together and not ray.num_gpus:
        raise ValueError("device=cuda with several workers: give ray.num_gpus=1, for each")
    device, readers = options.device, options.readers
    if together:  # the workers' device, and each one's CPUs; this process has none of them
        device = "cuda" if ray.num_gpus else "cpu"
        readers = _readers(device, max(1, int(ray.num_cpus))) if readers is None else readers
    place = place_of(
        "cpu" if together else device,
        threads=options.threads,
        readers=readers,
        checkpoint_s=60 * options.checkpoint_minutes,
        tensorboard=options.tensorboard,
    )
    if not together:
        return place
    workers = Workers(count=ray.train_workers, num_cpus=ray.num_cpus, num_gpus=ray.num_gpus, retries=options.retries)
    return replace(place, device=device, workers=workers, address=ray.address)


def place_of(
    device: str,
    *,
    threads: int | None = None,
    readers: int | None = None,
    checkpoint_s: float = 300.0,
    tensorboard: bool = False,
    option: str = "device",
) -> Place:
    """Where a training runs that takes this whole machine.

    Args:
        device: ``cpu`` or ``cuda``.
        threads, readers: None: as many as are of use.
        option: that says `device`, for messages.

    Raises:
        ValueError: a GPU is asked for where there is none.
    """
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"{option}=cuda: torch finds no GPU here; use {option}=cpu")
    cpus = available_cpus()
    return Place(
        device=device,
        threads=threads or cpus,
        readers=_readers(device, cpus) if readers is None else readers,
        checkpoint_s=checkpoint_s,
        tensorboard=tensorboard,
    )


def _readers(device: str, cpus: int) -> int:
    """As many as are of use to a process that trains on `device` and has so many CPUs."""
    return cpus if device == "cuda" else min(_READERS, cpus) * (cpus > 1)


def _check_length(options: TrainOptions) -> None:
    """Refuses other epochs for a run that there is, with what to do instead."""
    before = Run(options.run_dir).config if options.run_dir and options.run_dir.is_dir() else None
    epochs = before.get("epochs") if before else None
    if isinstance(epochs, int) and epochs != options.epochs:
        raise ValueError(
            f"{options.run_dir} holds a training of {counted(epochs, 'epoch')}: the schedule goes by its length, so "
            f"that one of {options.epochs} is another training; give another run_dir, and to begin with its weights "
            f"network={options.run_dir} weights=own"
        )


def describe(console: Console, plan: TrainPlan) -> None:
    """Prints the plan, in a few lines."""
    options, facts, recipe, place = plan.options, plan.facts, plan.recipe, plan.place
    in_epoch = facts.train_images // recipe.batch
    minutes = (
        full_training_s(
            plan.arch,
            images=recipe.epochs * in_epoch * recipe.batch,
            looked_at=recipe.epochs * facts.holdout_images,
            device=place.device,
            cores=place.cores,
        )
        / 60
    )
    tested = f", {facts.test_images:,} for the final figure" if facts.test_images else ""
    cut = f" ({facts.split})" if facts.split else ""
    start = "from scratch" if options.weights is None else f"from the weights {brief(options.weights)} on"
    taught = f", with {brief(options.teacher)} as its teacher" if options.teacher else ""
    where = f"{place.device}, {counted(place.threads, 'thread')}, {counted(place.readers, 'reader')}"
    if its := place.workers:
        each = f"{its.num_gpus:g} GPU" if its.num_gpus else f"{its.num_cpus:g} CPU"
        each += "s" * ((its.num_gpus or its.num_cpus) != 1)
        where = f"{counted(its.count, 'worker')} by Ray Train, each with {each} and {counted(place.readers, 'reader')}"
    console.print(
        f"network     {plan.source}: {plan.arch.resolution_px} px, {counted(plan.arch.classes, 'class')}, "
        f"{cost.params(plan.arch) / 1e6:.2f} M parameters, {cost.madds(plan.arch) / 1e6:.0f} M multiply-adds\n"
        f"data        {facts.name}: {counted(facts.train_images, 'image')} to train on, "
        f"{facts.holdout_images:,} for the holdout{tested}{cut}\n"
        f"training    {start}{taught}; recipe {options.recipe.name}: {recipe.describe()}\n"
        f"            {counted(recipe.epochs, 'epoch')} of {counted(in_epoch, 'update')} of {recipe.batch} images\n"
        f"where       {where}\n"
        f"estimate    {in_words(minutes)}"
    )
    for note in (*facts.notes, *_notes(options, updates=recipe.epochs * in_epoch)):
        console.print(f"note: {note}")


def _notes(options: TrainOptions, *, updates: int) -> list[str]:
    """What a person should know of the recipe for this training."""
    notes, name = [], options.recipe.name
    if options.weights is not None and name != "fine_tune":
        notes.append(f"recipe={name} is for weights that are new; recipe=fine_tune for given ones")
    if options.recipe.optimizer == "rmsprop" and updates < _FEW_UPDATES:
        notes.append(
            f"{counted(updates, 'update')} are few for recipe={name}, which was made for a hundred thousand; more "
            "epochs=, a smaller batch=, or recipe=cosine, which learns from fewer"
        )
    elif options.weights is None and updates < _FEW_FROM_SCRATCH:
        notes.append(
            f"{counted(updates, 'update')} are few for weights that are new; more epochs=, a smaller batch=, or "
            "weights that have learnt: network=efficientnet_lite0 weights=pretrained recipe=fine_tune"
        )
    return notes
