"""What a trainer's accuracies depend on, on which images networks are trained, and what an evaluation says."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.training.datasets import Split
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from tests.nas.test_splits import TINY

RECIPE = Recipe(steps=2, batch=16)


@pytest.fixture
def trainer(stripes):
    return Trainer(data=stripes, recipe=RECIPE)


def with_one_more(split: Split, *, of: str) -> Split:
    """`split` with one number of its images or labels that is one more."""
    images, labels = split.images.copy(), split.labels.copy()
    changed = images if of == "images" else labels
    changed.flat[7] += 1
    return Split(images, labels)


@pytest.mark.parametrize("name", ["train", "holdout", "test"])
@pytest.mark.parametrize("of", ["images", "labels"])
def test_an_identity_is_of_every_image_and_label(trainer, name, of):
    split = getattr(trainer.data, name)
    other = replace(trainer, data=replace(trainer.data, **{name: with_one_more(split, of=of)}))
    assert other.identity() != trainer.identity()
    same = Split(np.asfortranarray(split.images), split.labels.copy())
    assert replace(trainer, data=replace(trainer.data, **{name: same})).identity() == trainer.identity()


@pytest.mark.parametrize(
    "changed", [{"recipe": replace(RECIPE, steps=3)}, {"min_px": 4}, {"dropout": 0.5}, {"device": "cuda"}]
)
def test_an_identity_is_of_all_that_accuracies_depend_on(trainer, changed):
    name = next(iter(changed))
    own, other = trainer.identity(), replace(trainer, **changed).identity()
    assert {key for key in own if own[key] != other[key]} == {name}
    assert replace(trainer, data=replace(trainer.data, name="x")).identity() == {**own, "data": "x"}
    assert len(own["images"]) == 8  # a checksum, in hexadecimal
    assert replace(trainer, threads=4).identity() == own  # on how fast it is, nothing depends


def test_networks_are_fitted_to_the_images(trainer):
    """12 px are halved to 6 and 3, but not below `min_px`."""
    big = replace(TINY, resolution_px=224, blocks=(replace(TINY.blocks[0], in_ch=3, stride=2), *TINY.blocks[1:]))
    fitted = replace(trainer, dropout=0.25).small(big)
    assert (fitted.resolution_px, fitted.in_ch, fitted.classes) == (12, 1, 3)
    assert fitted.blocks[-1].dropout == 0.25
    assert fitted.blocks[0].stride == 2
    assert replace(trainer, min_px=12).small(big).blocks[0].stride == 1
    assert Trainer(data=trainer.data, recipe=RECIPE).small(big).blocks[-1].dropout == 0.0


@pytest.mark.parametrize("lr", [0.01, 1e20])
def test_an_evaluation_says_how_long_it_took_and_what_came_of_it(trainer, lr):
    start = time.perf_counter()
    evaluation = replace(trainer, recipe=replace(RECIPE, lr=lr)).evaluate(TINY, 0)
    assert 0 < evaluation.seconds <= time.perf_counter() - start
    if lr == 0.01:
        assert (evaluation.status, evaluation.note) == ("ok", "")
    else:
        assert (evaluation.status, evaluation.top1) == ("diverged", 0.0)
        assert evaluation.note == "the loss became NaN or infinite"


def test_a_training_has_the_threads_that_it_was_given(trainer, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    replace(trainer, threads=3).evaluate(TINY, 0)
    trainer.evaluate(TINY, 0)
    trainer.train_fully(TINY, epochs=1, threads=2, rng_seed=0)
    assert threads == [3, 1, 2]


def test_accuracies_after_each_epoch_are_told_and_change_nothing(trainer):
    longer = replace(trainer, recipe=Recipe(epochs=3, batch=16, lr=0.01))
    told = []
    evaluation = longer.evaluate(TINY, 0, on_epoch=lambda epochs, top1: told.append((epochs, top1)))
    assert [epochs for epochs, _ in told] == [1, 2, 3]
    assert told[-1][1] == evaluation.top1 == longer.evaluate(TINY, 0).top1


def test_a_training_to_the_end_has_its_own_epochs(trainer):
    """Of 96 images in batches of 16: as the same training with as many updates."""
    by_epochs = replace(trainer, recipe=Recipe(epochs=1, batch=16, lr=0.01))
    long, *tops = by_epochs.train_fully(TINY, epochs=2, threads=1, rng_seed=3)
    same, *same_tops = replace(trainer, recipe=Recipe(epochs=2, batch=16, lr=0.01)).train_fully(
        TINY, epochs=2, threads=1, rng_seed=3
    )
    assert tops == same_tops
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in long.state_dict().items())
    assert {value.device.type for value in long.state_dict().values()} == {"cpu"}
    short, *_ = by_epochs.train_fully(TINY, epochs=1, threads=1, rng_seed=3)
    assert not all(torch.equal(value, short.state_dict()[name]) for name, value in long.state_dict().items())
    with pytest.raises(ValueError, match="^the final training diverged .NaN.; try a lower learning rate than 1e.20$"):
        replace(trainer, recipe=replace(RECIPE, lr=1e20)).train_fully(TINY, epochs=1, threads=1, rng_seed=0)
