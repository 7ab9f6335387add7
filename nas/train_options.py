"""The options of a training; conf/ has their values."""

from typing import Literal

from pydantic import Field

from nas.delivery.options import Delivery
from nas.options import AnyRun, Data
from nas.recipe_options import RecipeOptions
from nas_runtime.kinds import Text
from nas_runtime.options import CommandOptions, Options

__all__ = ["TrainOptions", "TrainRay"]


class TrainRay(Options):
    """Several processes that train together; in this one alone with train_workers=1 and no address."""

    address: Text | None = Field(description="HOST:PORT of a cluster to join; null: one of our own on this machine")
    num_cpus: float = Field(gt=0, le=10_000, description="CPUs that one worker takes")
    num_gpus: int = Field(ge=0, le=64, description="GPUs that one worker takes")
    train_workers: int = Field(
        ge=1, le=10_000, description="so many train together, each on its micro-batches of every batch"
    )


class TrainOptions(CommandOptions, AnyRun):
    """Trains a network at the size at which it is used, and delivers it."""

    command, config = "nas.train", "train"

    network: Text = Field(description="a network of the zoo, the folder of a run, or a network's file")
    width: float = Field(gt=0, le=16, description="width multiplier of a network of the zoo")
    weights: Text | None = Field(
        description="to begin with: a file, own (those beside the network), pretrained (a package's); null: none"
    )
    teacher: Text | None = Field(
        description="a trained network, which this one learns from, too: a run's folder or a file; null: none"
    )
    recipe: RecipeOptions
    dataset: Data
    delivery: Delivery
    epochs: int = Field(ge=1, le=100_000, description="of the training; the schedule of the learning rate goes by it")
    batch: int = Field(ge=2, le=1_000_000, description="images of an update")
    micro_batch: int | None = Field(
        ge=2,
        le=1_000_000,
        description="images that are worked on at once, to save memory; null: the batch, or a worker's share of it",
    )
    device: Literal["cpu", "cuda"] = Field(description="what the network is trained on, without Ray")
    threads: int | None = Field(ge=1, le=1024, description="torch threads, without Ray; null: one for each CPU")
    readers: int | None = Field(
        ge=0, le=1024, description="processes that read and augment images, for each worker; null: as the device needs"
    )
    retries: int = Field(ge=0, le=1000, description="with Ray: how often the training goes on after a worker was lost")
    ray: TrainRay
    checkpoint_minutes: float = Field(gt=0, le=1e5, description="between two checkpoints, besides one after each epoch")
    tensorboard: bool = Field(description="whether scalars are written to the run directory's folder tensorboard")
