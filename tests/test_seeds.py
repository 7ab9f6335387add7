"""The seeds of final trainings."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from nas import finish, strategies
from nas.evaluators.proxy_training import ProxyTraining
from nas.executor import SerialExecutor
from nas.seeds import final_seed
from nas.training import train as training
from nas.training.recipe import Recipe
from nas.trial import Trial
from nas_runtime.run import Run
from tests.conftest import random_archs


@pytest.mark.parametrize("rng_seed", [0, 1, 41, 2**32 + 5, 2**63 - 1])
def test_they_are_functions_of_the_runs_seed_and_never_a_samples(rng_seed):
    seeds = [final_seed(rng_seed, repetition) for repetition in range(200)]
    assert seeds == [final_seed(rng_seed, repetition) for repetition in range(200)]
    assert len(set(seeds)) == 200
    assert not set(seeds) & set(range(rng_seed, rng_seed + 10_000))
    assert final_seed(rng_seed) == seeds[0] != final_seed((rng_seed + 1) % 2**63)
    for seed in seeds:  # both generators take it
        np.random.default_rng(seed)
        torch.Generator().manual_seed(seed)


@pytest.fixture
def begun(monkeypatch):
    """Of each training in this process: the weights that it begins with, and the first images that it draws."""
    found, train, picked = [], training.train, training._picked

    def spied(net, *arguments, **settings):
        found.append([{name: value.clone() for name, value in net.state_dict().items()}, None])
        return train(net, *arguments, **settings)

    def drawn(*arguments):
        for places in picked(*arguments):
            if found[-1][1] is None:
                found[-1][1] = places.copy()
            yield places

    monkeypatch.setattr(training, "train", spied)
    monkeypatch.setattr(training, "_picked", drawn)
    return found


def same(a, b) -> bool:
    return all(torch.equal(a[0][name], b[0][name]) for name in a[0]) and np.array_equal(a[1], b[1])


def test_a_finalist_begins_anew_and_the_winner_as_the_finalist_did(begun, stripes, tmp_path):
    trainer = ProxyTraining(data=stripes, recipe=Recipe(epochs=1, batch=32))
    arch = random_archs(1, rng_seed=0)[0]
    plan = SimpleNamespace(
        rng_seed=3,
        shared=None,
        train_again=True,
        controller=None,
        references={},
        reward=lambda top1, ms: top1,
        final_recipe=replace(trainer.recipe, epochs=2),
        final_epochs=2,
        final_start="scratch",
        finalists=1,
        latency=SimpleNamespace(latency_ms=lambda arch: 1.0),
    )
    run, executor, console = Run(tmp_path, resumed=False), SerialExecutor(), Console(quiet=True)
    strategy = strategies.open_strategy(run, plan, trainer, executor, console)
    samples = [strategy.evaluate(arch).top1, strategy.evaluate_again(1)(arch).top1]
    winner = Trial(sample=0, indices=(0,), arch=arch, top1=samples[0], latency_ms=1.0, reward=samples[0])
    for _ in range(2):  # the second time nothing is trained again
        finalists, _ = finish.last_round(run, [winner], plan, plan.reward, strategy.trainings, executor, console)
        final = finish.final_training(run, winner, trainer, plan, console)
        assert final["holdout_top1"] == finalists[0].top1
    assert len(begun) == 4
    for name, value in (("finals", 0.9), ("final", {"holdout_top1": 0.9, "test_top1": 0.9})):  # an earlier version's
        kept = json.loads((tmp_path / f"{name}.json").read_text())
        kept["stages"][0]["identity"]["rng_seed"] = plan.rng_seed
        kept["stages"][0]["values"] = dict.fromkeys(kept["stages"][0]["values"], value)
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    anew, _ = finish.last_round(run, [winner], plan, plan.reward, strategy.trainings, executor, console)
    assert anew == finalists
    assert finish.final_training(run, winner, trainer, plan, console) == final
    assert len(begun) == 6
    sample, again, finalist, repeated = begun[:4]
    assert same(finalist, repeated)
    for one in (sample, again):
        assert not np.array_equal(one[1], finalist[1])
        weights = [name for name, value in one[0].items() if value.ndim == 4]
        assert not any(torch.equal(one[0][name], finalist[0][name]) for name in weights)
