"""Recipes: what they say, optimizers against mathematics, schedules against the papers."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.recipe_options import RecipeOptions
from nas.train_options import TrainOptions
from nas.training.augment import Augmentation
from nas.training.optimizers import RMSPropTF, new_optimizer, set_state, state_of
from nas.training.recipe import Recipe
from nas.training.schedules import learning_rate
from nas_runtime.compose import choices, compose, plain
from nas_runtime.options import read

IN_EPOCH = 312  # updates of 4096 images of ImageNet's 1.28 million


def named(name: str, *, epochs: int, batch: int = 4096, **values) -> Recipe:
    config = plain(compose("train", ["network=mobilenet_v3_small", f"recipe={name}"]))
    options = read(TrainOptions, config).recipe
    return options.model_copy(update=values).made(epochs=epochs, batch=batch)


def lr_at(recipe: Recipe, epoch: float) -> float:
    """Of the first update of which so many epochs are done before."""
    return learning_rate(recipe, round(epoch * IN_EPOCH), updates=recipe.epochs * IN_EPOCH, in_epoch=IN_EPOCH)


def test_mnasnets_learning_rate():
    recipe = named("mnasnet", epochs=350)
    assert lr_at(recipe, 0) == pytest.approx(0.256 / (5 * IN_EPOCH))
    assert lr_at(recipe, 2.5) == pytest.approx(0.128, rel=0.01)
    assert lr_at(recipe, 5) == pytest.approx(0.256)
    assert lr_at(recipe, 5 + 2.39) == pytest.approx(0.256)
    assert lr_at(recipe, 5 + 2.41) == pytest.approx(0.256 * 0.97)
    assert lr_at(recipe, 5 + 24.1) == pytest.approx(0.256 * 0.97**10)
    assert (recipe.optimizer, recipe.squares_decay, recipe.momentum) == ("rmsprop", 0.9, 0.9)
    assert (recipe.weight_decay, recipe.dropout, recipe.norm_momentum) == (1e-5, 0.2, 0.01)


def test_mobilenet_v3s_learning_rate():
    recipe = named("mobilenet_v3", epochs=600)
    assert lr_at(recipe, 5) == pytest.approx(0.1)
    assert lr_at(recipe, 5 + 3.01) == pytest.approx(0.099)
    assert lr_at(recipe, 5 + 30.1) == pytest.approx(0.1 * 0.99**10)
    assert (recipe.optimizer, recipe.momentum, recipe.ema) == ("rmsprop", 0.9, 0.9999)
    assert (recipe.weight_decay, recipe.dropout) == (1e-5, 0.2)


def test_a_short_training_has_the_whole_schedule():
    """35 epochs go through the steps of 350 in a tenth of the time, unless the recipe is to be as it is."""
    short, whole = named("mnasnet", epochs=35), named("mnasnet", epochs=350)
    for share in (0.01, 0.2, 0.777):
        assert lr_at(short, share * 35 + 0.02) == pytest.approx(lr_at(whole, share * 350 + 0.2), rel=0.05)
    as_it_is = named("mnasnet", epochs=35, for_epochs=None)
    assert lr_at(as_it_is, 34) == lr_at(whole, 34)


def test_the_learning_rate_is_scaled_to_the_batch():
    assert named("mnasnet", epochs=1, batch=64).peak_lr == pytest.approx(0.004)
    assert named("cosine", epochs=1, batch=64).peak_lr == named("cosine", epochs=1).peak_lr == 2e-3


def test_other_schedules():
    recipe = Recipe(epochs=10, lr=1.0, warmup=0.1, schedule="constant")
    rates = [learning_rate(recipe, i, updates=100, in_epoch=10) for i in range(100)]
    assert rates[:10] == pytest.approx([0.1 * i for i in range(1, 11)])
    assert set(rates[10:]) == {1.0}
    cosine = replace(recipe, schedule="cosine", warmup_epochs=2.0)
    rates = [learning_rate(cosine, i, updates=100, in_epoch=10) for i in range(100)]
    assert rates[19] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 79 / 80)))


def test_every_recipe_of_conf_can_be_made():
    assert set(choices("recipe", [])) == {"cosine", "fine_tune", "mnasnet", "mobilenet_v3", "proxy"}
    for name in choices("recipe", []):
        assert named(name, epochs=2).epochs == 2
    proxy = named("proxy", epochs=4, batch=64)
    assert replace(proxy, dropout=None, epsilon=None) == Recipe(epochs=4)


def test_options_and_recipe_say_the_same():
    fields = set(RecipeOptions.model_fields) - {"name", "augment"}
    others = {"epochs", "steps", "batch", "crop_px", "micro_batch", "rounded", "augmentation"}
    assert fields | others == set(vars(Recipe()))


def test_an_identity_says_what_it_always_said_and_what_is_new():
    """Records of runs that were made before recipes had more to say must go on to match."""
    before = {
        "epochs": 1,
        "steps": None,
        "batch": 64,
        "lr": 1.5e-3,
        "warmup": 0.1,
        "weight_decay": 1e-2,
        "label_smoothing": 0.1,
        "crop_px": 0,
    }
    assert Recipe().identity() == before
    assert Recipe(ema=0.9).identity() == {**before, "ema": 0.9}
    crops = Recipe(augmentation=Augmentation(crop_area=0.5)).identity()
    assert crops["augmentation"]["crop_area"] == 0.5


def test_two_updates_of_rmsprop_by_hand():
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = RMSPropTF([{"params": [weight], "weight_decay": 0.5}], lr=0.1, decay=0.9, momentum=0.8, epsilon=0.01)
    w, s, m = 2.0, 1.0, 0.0
    for gradient, lr in ((3.0, 0.1), (-1.0, 0.05)):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        g = gradient + 0.5 * w
        s = 0.9 * s + 0.1 * g**2
        m = 0.8 * m + lr * g / math.sqrt(s + 0.01)
        w -= m
        assert weight.item() == pytest.approx(w, rel=1e-12)
    assert w == pytest.approx(2 - 0.1 * 4 / math.sqrt(2.51) - m)  # the first step, with the numbers


def quadratic(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int) -> list[float]:
    for _ in range(steps):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    return weight.tolist()


@pytest.mark.parametrize(
    ("recipe", "like"),
    [
        (Recipe(lr=0.1, weight_decay=0.1), lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1)),
        (
            Recipe(optimizer="adamw", epsilon=0.3, lr=0.1, weight_decay=0),
            lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0, eps=0.3),
        ),
        (
            Recipe(optimizer="sgd", lr=0.2, lr_batch=128, momentum=0.7, weight_decay=0.1),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.7, nesterov=True, weight_decay=0.1),
        ),
    ],
)
def test_optimizers_are_torchs(recipe, like):
    net = nn.Linear(2, 1, bias=False)
    start = [[1.0, -2.0]]
    net.weight.data = torch.tensor(start)
    ours = quadratic(new_optimizer(net, recipe), net.weight, 5)
    net.weight.data = torch.tensor(start)
    assert ours[0] == pytest.approx(quadratic(like(net.parameters()), net.weight, 5)[0])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_what_decays(optimizer):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    for decayed, others in (("weights", 0.0), ("all", 0.1)):
        groups = new_optimizer(net, Recipe(optimizer=optimizer, weight_decay=0.1, decayed=decayed)).param_groups
        assert [group["weight_decay"] for group in groups] == [0.1, others]
        assert [[p.ndim for p in group["params"]] for group in groups] == [[4], [1, 1, 1]]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
def test_an_optimizers_state_goes_on(optimizer):
    recipe, ends = Recipe(optimizer=optimizer, lr=0.1), []
    for stop in (False, True):
        net = nn.Linear(3, 1, bias=False)
        net.weight.data = torch.tensor([[1.0, -2.0, 3.0]])
        its = new_optimizer(net, recipe)
        quadratic(its, net.weight, 3)
        if stop:
            kept = {name: value.clone() for name, value in state_of(its, net).items()}
            its = new_optimizer(net, recipe)
            set_state(its, net, kept)
        ends.append(quadratic(its, net.weight, 3))
    assert ends[0] == ends[1]
