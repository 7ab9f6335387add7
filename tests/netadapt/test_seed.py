"""Where an adaptation starts: whose trained seed is taken again, and whose is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from nas.networks import Found
from nas.training.datasets import Split
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas_runtime.run import Run
from netadapt import run, seed, weights
from search_spaces import zoo

SEED = seed.Seed(arch=zoo.get("mnasnet_small", width=0.35))


def test_a_trained_seed_is_that_of_its_labels(stripes, tmp_path, monkeypatch):
    monkeypatch.setattr(seed, "cache_dir", lambda: tmp_path)
    turned = Split(stripes.train.images, 2 - stripes.train.labels)
    for data, kept in ((stripes, 1), (stripes, 1), (replace(stripes, train=turned), 2)):
        evaluator = Trainer(data=data, recipe=Recipe())
        seed.trained_net(SEED, evaluator, Recipe(batch=48), threads=1, rng_seed=0)
        assert len(list(tmp_path.iterdir())) == kept


@pytest.mark.parametrize("change", [{"norm_eps": 1e-3}, {"blocks": zoo.get("mnasnet_small", width=0.5).blocks}])
def test_an_adaptation_goes_on_with_the_seed_that_it_began_with(change, stripes, tmp_path):
    evaluator = Trainer(data=stripes, recipe=Recipe())
    begun = weights.TrainedNet(arch=evaluator.small(SEED.arch), weights={}, first={}, second={}, updates=0, top1=0.5)
    weights.save(begun, tmp_path / "steps" / "seed.safetensors")

    def goes_on(now: seed.Seed) -> weights.TrainedNet:
        return run._seed_net(Console(quiet=True), Run(tmp_path), SimpleNamespace(seed=now), evaluator)

    assert goes_on(SEED).arch == begun.arch
    with pytest.raises(ValueError, match="began with another seed than the one that is given now; use another run_dir"):
        goes_on(replace(SEED, arch=replace(SEED.arch, **change)))


def test_images_are_normalised_as_those_were_that_the_seed_was_trained_with(stripes):
    def found(mean, std) -> seed.Seed:
        return replace(SEED, found=Found(arch=SEED.arch, weights={}, source="a run", mean=mean, std=std))

    assert seed.normalised(SEED, stripes) is stripes
    assert seed.normalised(found(None, None), stripes) is stripes
    assert seed.normalised(found((0.1, 0.2, 0.3), (1.0, 1.0, 1.0)), stripes) is stripes  # of other images
    its = seed.normalised(found((0.25,), (0.5,)), stripes)
    assert (its.mean, its.std, its.train) == ((0.25,), (0.5,), stripes.train)
