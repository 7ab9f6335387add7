"""The learning rate of each update."""

import math

from nas.training.recipe import Recipe

__all__ = ["learning_rate", "schedule"]


def learning_rate(recipe: Recipe, update: int, *, updates: int, in_epoch: int) -> float:
    """The learning rate of an update.

    It rises linearly to its peak, which the last update of the warm-up has. Then it falls to 0 along half a cosine, or
    is multiplied by a factor after every so many epochs, in steps as in MnasNet's code (which counts them from the
    first update, and its paper from the end of the warm-up, as we do), or stays.

    Args:
        update: its number, from 0.
        updates: of the whole training.
        in_epoch: of an epoch.
    """
    longer = 1.0 if recipe.for_epochs is None else updates / in_epoch / recipe.for_epochs
    epochs = recipe.warmup_epochs
    warmup = recipe.warmup * updates if epochs is None else epochs * longer * in_epoch
    warmup_steps = max(1, round(warmup))
    if update < warmup_steps or recipe.schedule == "cosine":
        return recipe.peak_lr * schedule(update, warmup_steps, updates)
    if recipe.schedule == "constant":
        return recipe.peak_lr
    steps = (update - warmup_steps) / (recipe.factor_epochs * longer * in_epoch)
    return recipe.peak_lr * recipe.factor ** math.floor(steps + 1e-9)


def schedule(step: int, warmup_steps: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up to 1, then cosine to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
