"""What a training came to: for people on a terminal, for programs in ``result.json``, and as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from nas_runtime.console import counted, picture_text
from nas_runtime.files import write_json
from search_spaces import cost, text

if TYPE_CHECKING:
    from nas.train_plan import TrainPlan
    from nas.training.checkpoint import Epoch
    from nas.training.full import FullyTrained

__all__ = ["plot", "show", "write"]


def write(
    run_dir: Path, plan: "TrainPlan", trained: "FullyTrained", delivered: Mapping[str, Any], *, seconds: float
) -> None:
    """Writes ``result.json`` and ``training.png``.

    Args:
        delivered: figures of the data set and of what is delivered.
        seconds: of this call.
    """
    arch = trained.net.arch
    result = {
        "network": plan.options.network,
        "arch": text.to_dict(arch),
        "params": cost.params(arch),
        "madds": cost.madds(arch),
        "resolution_px": arch.resolution_px,
        "classes": arch.classes,
        "delivered": delivered,
        "recipe": {"name": plan.options.recipe.name, **plan.recipe.identity()},
        "holdout_top1": trained.holdout_top1,
        "test_top1": trained.test_top1,
        "images_per_s": round(trained.images_per_s, 1),
        "seconds_of_training": round(trained.seconds, 1),
        "seconds_of_last_call": round(seconds, 1),
        "epochs": [asdict(epoch) for epoch in trained.epochs],
    }
    write_json(run_dir / "result.json", result)
    plot(run_dir / "training.png", trained.epochs, title=f"{plan.options.network} on {plan.facts.name}")


def plot(path: Path, epochs: "Sequence[Epoch]", *, title: str) -> None:
    """Loss and top-1 by epoch."""
    from nas.report.plots import BEST, INK, new_figure, save

    figure, axes = new_figure()
    x = [epoch.epoch for epoch in epochs]
    axes.plot(x, [epoch.loss for epoch in epochs], color=INK, marker="." if len(x) < 30 else "", label="loss")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean loss of the training images", color=INK)
    right = axes.twinx()
    right.plot(x, [100 * epoch.holdout_top1 for epoch in epochs], color=BEST, marker="." if len(x) < 30 else "")
    right.set_ylabel("top-1 on the holdout, %", color=BEST)
    axes.set_title(picture_text(title))
    save(figure, path)


def show(console: Console, run_dir: Path, trained: "FullyTrained") -> None:
    """Prints the result."""
    from nas.delivery import IN_WORDS

    console.print(
        f"top-1 {trained.test_top1:.1%} on the test images ({trained.holdout_top1:.1%} on the holdout) after "
        f"{counted(len(trained.epochs), 'epoch')}, {trained.seconds / 60:.1f} minutes of training at "
        f"{trained.images_per_s:,.0f} images/s; everything is in {run_dir}: result.json, training.png, {IN_WORDS}"
    )
