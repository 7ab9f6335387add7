"""`python -m nas.train network=mobilenet_v3_small dataset=image_folder dataset.path=photos`: trains a network.

At the size at which it is used, on pictures that are read when they are needed, by a recipe of the papers or another,
from scratch or from weights on; and delivers it as a search does. What is interrupted goes on with the same command.
"""

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from nas import delivery, networks
from nas.environment import environment
from nas.plan import kept_table
from nas.report import training
from nas.train_options import TrainOptions
from nas.train_plan import MAY_DIFFER, TrainPlan, describe, fitted, read_plan
from nas.training.full import Beginning, train_network
from nas_runtime.command import run
from nas_runtime.console import new_console
from nas_runtime.run import open_run
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from latency_luts import LatencyModel
    from nas.networks import Found
    from nas.training.pictures import PictureSet


def main(options: TrainOptions) -> None:
    console, started = new_console(), time.perf_counter()
    plan = read_plan(options)
    found = _network(plan)  # weights that are not there, or do not fit, are refused before anything else
    describe(console, plan)
    for note in found.notes:
        console.print(f"note: {note}")
    if options.dry_run:
        return
    data = _data(plan, found, console)
    beginning = _beginning(plan, found)
    about = functools.partial(environment, options.rng_seed)
    with open_run(options.run_dir, plan.config, kind="train", may_differ=MAY_DIFFER, environment=about) as here:
        console.print(f"{'continuing' if here.resumed else 'writing to'} {here.path}")
        try:
            trained = train_network(
                _fitted(found.arch, plan),
                data,
                plan.recipe,
                place=plan.place,
                run=here,
                rng_seed=options.rng_seed,
                console=console,
                beginning=beginning,
            )
        except KeyboardInterrupt:
            console.print(f"stopped; continue with the same command and run_dir={here.path}")
            raise
        finished = delivery.Finished(
            net=trained.net,
            data=data,
            searched=trained.net.arch,
            training=trained.identity,
            recipe=f"{options.recipe.name}: {plan.recipe.describe()}",
            holdout_top1=trained.holdout_top1,
            test_top1=trained.test_top1,
            latency=_latency(plan, found),
            licence=found.licence,
            place=plan.place,
        )
        figures = {"data": data.record(), **delivery.deliver(here.path, finished, options.delivery, console)}
        training.write(here.path, plan, trained, figures, seconds=time.perf_counter() - started)
        training.show(console, here.path, trained)


def _network(plan: TrainPlan) -> "Found":
    """The network, with the weights that it begins with."""
    options, facts = plan.options, plan.facts
    return networks.find(
        options.network,
        width=options.width,
        resolution_px=facts.resolution_px,
        classes=facts.classes,
        channels=facts.channels,
        class_names=facts.class_names,
        weights=options.weights,
    )


def _fitted(arch: Arch, plan: TrainPlan) -> Arch:
    return fitted(arch, plan.facts, plan.recipe)


def _data(plan: TrainPlan, found: "Found", console: Console) -> "PictureSet":
    """The data, normalised and cropped as the weights ask for."""
    options = plan.data
    if found.crop is not None and options.crop is None:
        options = options.model_copy(update={"crop": found.crop})
    data = options.pictures(console, plan.facts)
    if found.mean is None or found.std is None:
        return data
    return data.normalised_by(found.mean, found.std)


def _beginning(plan: TrainPlan, found: "Found") -> Beginning:
    """The weights that the network begins with, and its teacher."""
    name, facts = plan.options.teacher, plan.facts
    if name is None:
        return Beginning(weights=found.weights)
    from nas.training.teacher import Teacher

    its = networks.find(
        name,
        resolution_px=facts.resolution_px,
        channels=facts.channels,
        weights=networks.OWN,
        option="teacher",
    )
    assert its.weights is not None
    teacher = Teacher(arch=_fitted(its.arch, plan), weights=its.weights, mean=its.mean, std=its.std)
    return Beginning(weights=found.weights, teacher=teacher)


def _latency(plan: TrainPlan, found: "Found") -> "LatencyModel | None":
    """What prices networks on the device of the run that found this one; None: it is no run's, or it has no table."""
    return None if found.config is None else kept_table(Path(plan.options.network), resumed=True)


if __name__ == "__main__":
    run(main, TrainOptions)
