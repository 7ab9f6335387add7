"""Trainings at the size at which networks are used: they can be stopped and continued, and what they give."""

import io
from dataclasses import replace

import pytest
import torch

from nas.training.full import Place, train_network
from nas.training.pictures import of_arrays
from nas.training.recipe import Recipe
from nas_runtime.console import new_console
from nas_runtime.run import Run
from search_spaces import rewrite, zoo

RECIPE = Recipe(epochs=3, batch=16, lr=5e-3, ema=0.99, norm_momentum=0.1, dropout=0.2)


@pytest.fixture(scope="module")
def arch():
    small = zoo.get("mobilenet_v2", width=0.35)
    return rewrite.for_images(small, resolution_px=12, channels=1, n_classes=3, min_px=2, dropout_rate=0.0)


@pytest.fixture(scope="module")
def data(stripes):
    return of_arrays(stripes, "stripes-1")


def trained(arch, data, recipe, folder, **how):
    folder.mkdir(exist_ok=True)
    given = {"place": Place(), "rng_seed": 0, "console": new_console(file=io.StringIO()), **how}
    return train_network(arch, data, recipe, run=Run(folder), **given)


def flat(net) -> torch.Tensor:
    return torch.cat([value.detach().flatten().double() for value in net.state_dict().values()])


def test_a_training_learns_and_is_not_done_twice(arch, data, tmp_path):
    done = trained(arch, data, replace(RECIPE, epochs=8), tmp_path / "run")
    assert done.holdout_top1 > 0.6  # one third by chance
    assert done.test_top1 > 0.6
    assert [epoch.epoch for epoch in done.epochs] == list(range(1, 9))
    assert done.epochs[-1].loss < done.epochs[0].loss
    assert done.epochs[-1].holdout_top1 == done.holdout_top1
    assert done.net.arch.blocks[-1].dropout == 0.2
    again = trained(arch, data, replace(RECIPE, epochs=8), tmp_path / "run")
    assert torch.equal(flat(again.net), flat(done.net))
    assert again.seconds == done.seconds
