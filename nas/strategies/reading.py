"""What the strategies read from a search's settings."""

from typing import TYPE_CHECKING

from nas.settings import read_data, read_trainer
from nas.strategies.trained import STARTS, Trainings
from nas.supernet.phases import MODES

if TYPE_CHECKING:
    from nas_runtime.settings import Settings

__all__ = ["ENGINES", "NO_TUNE", "check_unused", "read_trainings"]

ENGINES = ("loop", "tune")
NO_TUNE = "engine=tune takes executor=ray, an evaluator that trains, duplicates=reuse, no adjust_after"


def read_trainings(settings: "Settings", *, evaluator: str) -> Trainings:
    """The data and trainings of `evaluator`.

    Raises:
        ValueError: a value that is not allowed; a data set that is not there.
    """
    data, trainer = read_data(settings), read_trainer(settings, [evaluator])
    return Trainings(
        data=data,
        facts=data.look(),
        trainer=trainer,
        final_epochs=settings.integer("final.epochs", low=1, high=100_000),
        finalists=settings.integer("final.networks", low=1, high=10_000),
        final_start=_read_start(settings, shared=evaluator == "shared_weights"),
    )


def check_unused(settings: "Settings", evaluator: str) -> None:
    """Refuses settings that mean nothing to `evaluator`.

    Raises:
        ValueError: there are some, or a value is not allowed.
    """
    if settings.choice("mode", MODES) == "joint" and evaluator != "shared_weights":
        raise ValueError("mode=joint is for evaluator=shared_weights, whose weights and controller it trains together")
    if settings.choice("duplicates", ("reuse", "train")) == "train" and evaluator != "proxy_training":
        raise ValueError("duplicates=train is for evaluator=proxy_training: others give the same answer again")
    if settings.choice("engine", ENGINES) == "tune" and evaluator != "proxy_training":
        raise ValueError(NO_TUNE)


def _read_start(settings: "Settings", *, shared: bool) -> str:
    if settings.value("final.start") is None:
        return "inherited" if shared else "scratch"
    start = settings.choice("final.start", STARTS)
    if start == "inherited" and not shared:
        raise ValueError("final.start=inherited is for evaluator=shared_weights; without, only final.start=scratch")
    return start
