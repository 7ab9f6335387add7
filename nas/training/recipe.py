"""`Recipe`: how to train, as plain values."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nas.training.augment import Augmentation

__all__ = ["Decayed", "Optimizer", "Recipe", "Schedule"]

Optimizer = Literal["adamw", "sgd", "rmsprop"]
"""AdamW; stochastic gradient descent with Nesterov's momentum; RMSProp as TensorFlow has it
(`nas.training.optimizers.RMSPropTF`)."""

Schedule = Literal["cosine", "exponential", "constant"]
"""How the learning rate goes on after the warm-up: see `nas.training.schedules`."""

Decayed = Literal["weights", "all"]
"""What weight decay is for: the weights of convolutions and linear layers; or biases and batch norms, too."""

_ALWAYS_SAID = ("epochs", "steps", "batch", "lr", "warmup", "weight_decay", "label_smoothing", "crop_px")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the images.
        steps: updates of the weights; if given, instead of `epochs`.
        batch: images an update; a last incomplete batch is left out (batch norm suffers from tiny batches).
        lr: peak learning rate.
        warmup: share of the updates in which the learning rate rises linearly to its peak; `warmup_epochs` goes first.
        weight_decay: decoupled with AdamW; with the others L2, part of the gradient.
        label_smoothing: share of the target spread over all classes.
        crop_px: of trainings on small images in memory: each is shifted by up to this many pixels, and mirrored where
            the data set allows.
        optimizer: see `Optimizer`.
        lr_batch: images of the update that `lr` is for; with another batch it is scaled in proportion
            (arXiv:1706.02677). None: `lr` is as it is.
        momentum: of sgd and rmsprop.
        squares_decay: of rmsprop's mean of squared gradients; TensorFlow calls it decay, PyTorch alpha.
        epsilon: of adamw and rmsprop; None: 1e-8 and 1e-3.
        decayed: see `Decayed`.
        schedule: see `Schedule`.
        warmup_epochs: epochs of the warm-up; None: `warmup` says it.
        factor, factor_epochs: with ``schedule="exponential"`` the learning rate is multiplied by `factor` every so many
            epochs.
        for_epochs: how long a training `warmup_epochs` and `factor_epochs` were written for; a longer or shorter one
            has them in proportion. None: they are as they are.
        dropout: rate before the last layer; None: the network's own.
        ema: decay of the moving average of the weights, which is what the training gives; it rises to that
            (`nas.training.learner.ramped`). None: no average.
        norm_momentum: share of a batch's statistics in batch norms' running ones: 0.01 is what TensorFlow calls 0.99.
            It falls to that, as the moving average's. None: the network's own.
        micro_batch: images that are worked on at once, at most: a batch is cut into as few parts as that takes, and
            gradients and running statistics are means over them, each with the weight of its images. None: the batch.
        teacher_weight: share of the loss that a teacher has, where there is one.
        temperature: of the softmax of teacher and network in that share (arXiv:1503.02531).
        rounded: whether a full training rounds weights and values as 8-bit integers do (`nas.training.rounding`).
        augmentation: of full trainings.
    """

    epochs: int = 1
    steps: int | None = None
    batch: int = 64
    lr: float = 1.5e-3
    warmup: float = 0.1
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    crop_px: int = 0
    optimizer: Optimizer = "adamw"
    lr_batch: int | None = None
    momentum: float = 0.9
    squares_decay: float = 0.9
    epsilon: float | None = None
    decayed: Decayed = "weights"
    schedule: Schedule = "cosine"
    warmup_epochs: float | None = None
    factor: float = 0.97
    factor_epochs: float = 2.4
    for_epochs: float | None = None
    dropout: float | None = None
    ema: float | None = None
    norm_momentum: float | None = None
    micro_batch: int | None = None
    teacher_weight: float = 0.5
    temperature: float = 1.0
    rounded: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)

    def identity(self) -> dict[str, Any]:
        """What a training depends on, as plain data: what there always was to say, and what differs from the defaults,
        so that records stay true when recipes get more to say."""
        default, mine = asdict(Recipe()), asdict(self)
        return {name: value for name, value in mine.items() if name in _ALWAYS_SAID or value != default[name]}

    @property
    def peak_lr(self) -> float:
        """The highest learning rate, for this batch."""
        return self.lr if self.lr_batch is None else self.lr * self.batch / self.lr_batch

    def describe(self) -> str:
        """How it trains, in words; without the number of epochs."""
        of_batch = "" if self.lr_batch is None else f" for {self.lr_batch} images, {self.peak_lr:.3g} for {self.batch}"
        warmup = f"{self.warmup:.0%}" if self.warmup_epochs is None else f"{self.warmup_epochs:g} epochs"
        steps = f", x {self.factor:g} every {self.factor_epochs:g} epochs" if self.schedule == "exponential" else ""
        longer = "" if self.for_epochs is None else f" of {self.for_epochs:g}, in proportion"
        more = {
            "label smoothing": self.label_smoothing,
            "dropout": self.dropout,
            "moving average": self.ema,
            "batch norm momentum": self.norm_momentum,
            "micro-batch": self.micro_batch,
        }
        return ", ".join(
            [
                f"{self.optimizer}, learning rate {self.lr:g}{of_batch}",
                f"{self.schedule}{steps} after a warm-up of {warmup}{longer}",
                f"weight decay {self.weight_decay:g}",
                *(f"{name} {value:g}" for name, value in more.items() if value is not None),
                self.augmentation.describe(),
            ]
        )
