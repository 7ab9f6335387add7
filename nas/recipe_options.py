"""The options of recipes; conf/recipe has their values, with where they are from."""

from typing import Literal

from pydantic import Field

from nas.training.augment import AugmentOptions
from nas.training.recipe import Recipe
from nas_runtime.compose import values_of
from nas_runtime.kinds import Text
from nas_runtime.options import Options

__all__ = ["FINE_TUNE", "RecipeOptions", "usual"]

FINE_TUNE = "fine_tune"
"""The recipe of trainings that begin with weights."""


class RecipeOptions(Options):
    """How a network is trained at the size at which it is used."""

    name: Text = Field(description="of the recipe")
    optimizer: Literal["adamw", "sgd", "rmsprop"] = Field(
        description="adamw; sgd with Nesterov's momentum; rmsprop as TensorFlow has it, epsilon inside the root"
    )
    lr: float = Field(gt=0, le=100, description="peak learning rate")
    lr_batch: int | None = Field(
        ge=1, le=10**6, description="images of the update that lr is for; it is scaled to batch=; null: lr is as it is"
    )
    momentum: float = Field(ge=0, le=0.9999, description="of sgd and rmsprop")
    squares_decay: float = Field(ge=0, le=0.9999, description="of rmsprop's mean of squared gradients")
    epsilon: float | None = Field(gt=0, le=1, description="of adamw and rmsprop; null: 1e-8 and 1e-3")
    weight_decay: float = Field(ge=0, le=10, description="decoupled with adamw, L2 with the others")
    decayed: Literal["weights", "all"] = Field(
        description="weights: of convolutions and linear layers; all: biases and batch norms decay, too"
    )
    schedule: Literal["cosine", "exponential", "constant"] = Field(description="of the learning rate after the warm-up")
    warmup: float = Field(ge=0, le=1, description="the share of the updates in which the learning rate rises")
    warmup_epochs: float | None = Field(
        ge=0, le=100_000, description="epochs in which it rises, instead; null: warmup says it"
    )
    factor: float = Field(gt=0, le=1, description="of schedule=exponential: the learning rate is multiplied by it")
    factor_epochs: float = Field(gt=0, le=100_000, description="of schedule=exponential: every so many epochs")
    for_epochs: float | None = Field(
        gt=0,
        le=1e6,
        description="for how many epochs these are; with others they are in proportion; null: they are as they are",
    )
    label_smoothing: float = Field(ge=0, le=0.9, description="the share of a label that goes to all classes alike")
    dropout: float | None = Field(ge=0, le=0.9, description="before the last layer; null: the network's own")
    ema: float | None = Field(
        ge=0,
        le=0.999999,
        description="decay of the moving average of weights, which is delivered; (1+n)/(10+n) at first; null: none",
    )
    norm_momentum: float | None = Field(
        gt=0,
        le=1,
        description="the share of a batch's statistics in the running ones of batch norms; 0.01 is TensorFlow's 0.99; "
        "null: the network's own",
    )
    teacher_weight: float = Field(ge=0, le=1, description="with teacher=, its share of the loss; labels have the rest")
    temperature: float = Field(gt=0, le=100, description="of the softmax of teacher and network")
    augment: AugmentOptions

    def made(self, *, epochs: int, batch: int, micro_batch: int | None = None) -> Recipe:
        """The recipe for a training of so many epochs, and images an update."""
        values = {name: value for name, value in self if name not in ("name", "augment")}
        return Recipe(**values, epochs=epochs, batch=batch, micro_batch=micro_batch, augmentation=self.augment.made())


def usual(name: str) -> RecipeOptions:
    """The recipe of that name, as conf/recipe/ has it: for trainings that the command line says nothing of."""
    return RecipeOptions.model_validate(values_of("recipe", name))
