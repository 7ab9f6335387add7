"""What the strategies take from a search's options."""

from typing import TYPE_CHECKING

from nas.full_size import FullSize
from nas.options import SharedWeightsOptions, TrainingOptions
from nas.settings import trainer_of
from nas.strategies.trained import Trainings
from nas.train_plan import place_of

if TYPE_CHECKING:
    from nas.search_options import SearchOptions
    from nas.training.sources import DataFacts

__all__ = ["NO_TUNE", "check_unused", "read_trainings"]

_MOST_PX = 64  # of samples' images, unless it is given

NO_TUNE = "engine=tune takes executor=ray, an evaluator that trains, duplicates=reuse, no adjust_after"


def read_trainings(options: "SearchOptions", evaluator: TrainingOptions) -> Trainings:
    """The data and trainings of `evaluator`.

    Raises:
        ValueError: a value does not go with another; a data set is not there.
    """
    whole = options.dataset.look()
    px = evaluator.resolution_px or min(_MOST_PX, whole.resolution_px)
    data = options.dataset if px == whole.resolution_px else options.dataset.at(px)
    return Trainings(
        data=data,
        facts=whole if data is options.dataset else data.look(),
        trainer=trainer_of(evaluator),
        final_epochs=options.final.epochs,
        finalists=options.final.networks,
        final_start=_start(options.final.start, shared=isinstance(evaluator, SharedWeightsOptions)),
        delivery=options.delivery,
        full=_full_size(options, evaluator, whole),
    )


def _full_size(options: "SearchOptions", evaluator: TrainingOptions, facts: "DataFacts") -> FullSize | None:
    """The winner's training at the size that networks are priced for; None where smaller images stand in for those."""
    if facts.resolution_px != options.space.px:
        return None
    return FullSize(
        data=options.dataset,
        facts=facts,
        recipe=options.recipe.made(epochs=options.final.full_epochs, batch=min(evaluator.batch, facts.train_images)),
        recipe_name=options.recipe.name,
        place=place_of(evaluator.device, threads=None, readers=None),
    )


def check_unused(options: "SearchOptions") -> None:
    """Refuses options that mean nothing to the evaluator.

    Raises:
        ValueError: there are some.
    """
    evaluator = options.evaluator.name
    if options.mode == "joint" and evaluator != "shared_weights":
        raise ValueError("mode=joint is for evaluator=shared_weights, whose weights and controller it trains together")
    if options.duplicates == "train" and evaluator != "proxy_training":
        raise ValueError("duplicates=train is for evaluator=proxy_training: others give the same answer again")
    if options.engine == "tune" and evaluator != "proxy_training":
        raise ValueError(NO_TUNE)


def _start(start: str | None, *, shared: bool) -> str:
    if start is None:
        return "inherited" if shared else "scratch"
    if start == "inherited" and not shared:
        raise ValueError("final.start=inherited is for evaluator=shared_weights; without, only final.start=scratch")
    return start
