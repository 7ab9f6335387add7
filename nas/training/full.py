"""`train_network`: trains a network at the size at which it is used, on this machine or on a Ray cluster."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from nas.training.pictures import PictureSet
from nas.training.place import Place, Workers
from nas.training.recipe import Recipe
from nas_runtime.run import Run
from search_spaces.arch import Arch

if TYPE_CHECKING:
    from torch import Tensor

    from nas.training.checkpoint import Epoch
    from nas.training.seat import Updates
    from nas.training.session import FullTraining
    from nas.training.teacher import Teacher
    from nas.training.together import Worker
    from search_spaces.torch_net import Net

__all__ = ["FILE", "Beginning", "FullyTrained", "Place", "train_network"]

FILE = "training.safetensors"
"""The checkpoint, in the directory of a run."""


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a training begins with, besides its seed.

    Attributes:
        weights: by name; what they lack, as the last layer for other classes, is drawn. None: all is.
        teacher: what the network also learns from.
    """

    weights: "Mapping[str, Tensor] | None" = None
    teacher: "Teacher | None" = None


@dataclass(frozen=True, kw_only=True)
class FullyTrained:
    """What a training has given.

    Attributes:
        net: on the CPU; the moving average of its weights, if the recipe has one.
        holdout_top1, test_top1: its accuracy; nothing else sees the test pictures.
        seconds: of updates.
        images_per_s: that it was trained on, evaluations aside.
        epochs: what each came to.
        identity: what it depends on, as plain data.
    """

    net: "Net"
    holdout_top1: float
    test_top1: float
    seconds: float
    images_per_s: float
    epochs: "Sequence[Epoch]"
    identity: Mapping[str, object]


def train_network(
    arch: Arch,
    data: PictureSet,
    recipe: Recipe,
    *,
    place: Place,
    run: Run,
    rng_seed: int,
    console: Console,
    beginning: Beginning | None = None,
) -> FullyTrained:
    """Trains `arch` on `data.train`, and measures it on `data.holdout` after each epoch and on `data.test` in the end.

    The directory of `run` holds its checkpoint, ``training.safetensors``: what was interrupted goes on, to the same
    weights, and what is done is not done again.

    Args:
        arch: for the size, channels and classes of `data`; its dropout is the recipe's, if that has one.
        console: shows how far it is.

    Raises:
        ValueError: `arch` is for other pictures; a batch is larger than the data; the loss became NaN or infinite.
        nas.training.checkpoint.CheckpointError: the checkpoint is damaged, or of another training.
        nas.training.sources.DataError: a picture cannot be read.
        OSError: the checkpoint cannot be written, as on a full disk; the one before it stays.
    """
    import torch

    from nas.report.training_live import watching
    from nas.training import checkpoint
    from nas.training.seat import Seat
    from nas.training.session import FullTraining
    from search_spaces import rewrite

    if recipe.dropout is not None:
        arch = rewrite.dropout(arch, recipe.dropout)
    check(arch, data, recipe)
    training = FullTraining(arch=arch, data=data, recipe=recipe, rng_seed=rng_seed, **vars(beginning or Beginning()))
    file = run.path / FILE
    _, before = checkpoint.peek(file, training.identity)
    torch.set_num_threads(place.threads)
    scalars = run.path / "tensorboard" if place.tensorboard else None
    with watching(console, training.updates, training.in_epoch, before, scalars) as say:
        if place.workers is None:
            seat = Seat(file=file, device=place.device, readers=place.readers, every_s=place.checkpoint_s, say=say)
            training.run(seat)
        elif before.test_top1 is None:
            _train_together(training, place, place.workers, file, say)
    return _result(training, file)


def _train_together(
    training: "FullTraining", place: Place, workers: Workers, file: Path, say: "Callable[[Updates | Epoch], None]"
) -> None:
    """Trains to the end on a Ray cluster."""
    from nas.training import together
    from nas_runtime import cluster

    shared = _Shared(training, readers=place.readers, every_s=place.checkpoint_s)
    with cluster.join(place.address) if place.address else cluster.start(workers.count * workers.num_cpus):
        together.train(shared, file, workers, say)


@dataclass(frozen=True)
class _Shared:
    """A training as one that workers can share (`nas.training.together.Shareable`)."""

    training: "FullTraining"
    readers: int
    every_s: float

    def train_as(self, worker: "Worker") -> None:
        self.training.train_as(worker, readers=self.readers, every_s=self.every_s)


def _result(training: "FullTraining", file: Path) -> FullyTrained:
    """What a training that is done has given."""
    import torch

    from nas.training import checkpoint
    from search_spaces import torch_net

    weights, progress = checkpoint.peek(file, training.identity)
    assert progress.holdout_top1 is not None
    assert progress.test_top1 is not None
    with torch.random.fork_rng(devices=[]):  # new modules draw from torch's generator, which is the caller's
        net = torch_net.Net(training.arch)
    net.load_state_dict(weights)
    return FullyTrained(
        net=net.eval(),
        holdout_top1=progress.holdout_top1,
        test_top1=progress.test_top1,
        seconds=progress.seconds,
        images_per_s=progress.images_per_s,
        epochs=progress.epochs,
        identity=training.identity,
    )


def check(arch: Arch, data: PictureSet, recipe: Recipe) -> None:
    """Raises ValueError if `arch` is not for these pictures, or a batch is larger than the data."""
    mine = arch.resolution_px, arch.in_ch, arch.classes
    theirs = data.resolution_px, data.channels, data.classes
    if mine != theirs:
        names = ("px", "channels", "classes")
        wrong = next(i for i in range(3) if mine[i] != theirs[i])
        raise ValueError(
            f"network {arch.name!r} is for {mine[wrong]} {names[wrong]}, and {data.name} has {theirs[wrong]}; make it "
            "fit with search_spaces.rewrite"
        )
    if recipe.batch > len(data.train):
        raise ValueError(
            f"batch={recipe.batch} is more than the {len(data.train)} training images of {data.name}; lower it"
        )
