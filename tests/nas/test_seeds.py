"""Seeds of samples, final trainings, adaptations, shared weights and controllers: another one, something else."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

import latency_luts
from nas import controllers
from nas.delivery import Delivery
from nas.executor import SerialExecutor
from nas.goals import Goal
from nas.job import read_job
from nas.search_options import SearchOptions
from nas.seeds import final_seed
from nas.settings import TrainerSettings
from nas.strategies.own_training import OwnTraining
from nas.strategies.trained import Trainings
from nas.supernet import train as supernet_train
from nas.supernet.phases import PHASES, Phase
from nas.supernet.prepare import Problem, SharedPlan, prepare
from nas.training import train as training
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas.trial import Trial
from nas_runtime.compose import compose, plain
from nas_runtime.options import read
from nas_runtime.run import Run
from netadapt import seed
from netadapt.channels import groups, narrow
from netadapt.fine_tune import FineTune
from netadapt.weights import TrainedNet
from search_spaces import spaces
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv
from tests.conftest import random_archs
from tests.nas.test_supernet import ONLY_MIXED
from tests.nas.test_supernet import training as supernet_training


@pytest.mark.parametrize("rng_seed", [0, 1, 41, 2**32 + 5, 2**63 - 1])
def test_they_are_functions_of_the_runs_seed_and_never_a_samples(rng_seed):
    seeds = [final_seed(rng_seed, repetition) for repetition in range(200)]
    assert seeds == [final_seed(rng_seed, repetition) for repetition in range(200)]
    assert len(set(seeds)) == 200
    assert not set(seeds) & set(range(rng_seed, rng_seed + 10_000))
    assert final_seed(rng_seed) == seeds[0] != final_seed((rng_seed + 1) % 2**63)
    assert all(2**32 <= seed < 2**33 for seed in seeds)
    for each in seeds:  # both generators take it
        np.random.default_rng(each)
        torch.Generator().manual_seed(each)


def test_they_stay_as_they_are():
    """Of numpy's SeedSequence: finals that are kept are by these seeds."""
    assert (final_seed(0), final_seed(3, 2)) == (7263779006, 5255297129)


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


def test_a_finalist_begins_anew_and_the_winner_as_the_finalist_did(begun, stripes, tmp_path, monkeypatch):
    arch = random_archs(1, rng_seed=0)[0]
    trainings = Trainings(
        data=SimpleNamespace(load=lambda console, facts: stripes),
        facts=None,
        trainer=TrainerSettings(recipe=Recipe(epochs=1, batch=32), min_px=2, dropout=0.0, device="cpu", threads=1),
        final_epochs=2,
        finalists=1,
        final_start="scratch",
        delivery=Delivery(input="uint8", batch=1, opset=18, quantize="none"),
    )
    plan = SimpleNamespace(
        rng_seed=3,
        controller=None,
        space=spaces.get("mnasnet", base_width=0.35),
        reward=lambda top1, ms: top1,
        latency=latency_luts.load("pixel1"),
        device=latency_luts.load("pixel1"),
    )
    monkeypatch.setattr("nas.references.REFERENCES", {})
    beside = []
    monkeypatch.setattr(
        "nas.finish.judged_references", lambda stage, archs, evaluate, *_: beside.append(evaluate) or {}
    )
    run, executor, console = Run(tmp_path, resumed=False), SerialExecutor(), Console(quiet=True)
    judge = OwnTraining(trainings=trainings, again=True).open(plan, run, executor, console)
    how = judge.sample.keywords
    samples = [how["evaluate"](arch).top1, how["evaluate_again"](1)(arch).top1]
    winner = Trial(sample=0, indices=(0,), arch=arch, top1=samples[0], latency_ms=1.0, reward=samples[0])
    goal = Goal(reward=plan.reward, run=run)
    for _ in range(2):  # the second time nothing is trained again
        (decided,) = judge.decide([winner], [goal])
        assert decided.final["holdout_top1"] == decided.finalists[0].top1
    assert len(begun) == 4
    for name, value in (("finals", 0.9), ("final", {"holdout_top1": 0.9, "test_top1": 0.9})):  # an earlier version's
        kept = json.loads((tmp_path / f"{name}.json").read_text())
        kept["stages"][0]["identity"]["rng_seed"] = plan.rng_seed
        kept["stages"][0]["values"] = dict.fromkeys(kept["stages"][0]["values"], value)
        (tmp_path / f"{name}.json").write_text(json.dumps(kept))
    assert judge.decide([winner], [goal]) == [decided]
    assert len(begun) == 6
    sample, again, finalist, repeated = begun[:4]
    assert same(finalist, repeated)
    for one in (sample, again):
        assert not np.array_equal(one[1], finalist[1])
        weights = [name for name, value in one[0].items() if value.ndim == 4]
        assert not any(torch.equal(one[0][name], finalist[0][name]) for name in weights)
    for rng_seed, begins in ((3, sample), (4, again), (final_seed(3), finalist)):
        judge.trainer.evaluate(arch, rng_seed)
        assert same(begun[-1], begins)
    assert not same(sample, again)
    beside[0](arch)  # published networks, as samples are
    assert same(begun[-1], sample)


# ---- adaptations


BLOCKS = (ConvBN(in_ch=1, out_ch=8, kernel=3), MBConv(in_ch=8, mid_ch=24, out_ch=8, kernel=3))
TINY = Arch(name="tiny", resolution_px=12, blocks=(*BLOCKS, Classifier(in_ch=8, out_ch=3, dropout=0.0)))


def changes_with_the_seed(made) -> None:
    """That `made` of two equal seeds is equal, and of another one is not: arrays by name."""
    first, equal, other = made(5), made(5), made(6)
    assert all(np.array_equal(value, equal[name]) for name, value in first.items())
    assert not all(np.array_equal(value, other[name]) for name, value in first.items())


def net(arch: Arch) -> TrainedNet:
    weights = {name: value.numpy() for name, value in training.new_net(arch, rng_seed=0).state_dict().items()}
    return TrainedNet(arch=arch, weights=weights, first={}, second={}, updates=0, top1=0.0)


def test_fine_tuning_seeds_the_batches(stripes):
    evaluator = SerialExecutor().share(Trainer(data=stripes, recipe=Recipe()))
    parent = SerialExecutor().share(net(TINY))

    def fine_tuned(rng_seed: int):
        recipe = Recipe(steps=1, batch=16, lr=0.01)
        task = FineTune(trainer=evaluator, parent=parent, recipe=recipe, inherit="l2", rng_seed=rng_seed)
        return task(TINY).state.weights

    changes_with_the_seed(fine_tuned)


def test_channels_that_a_parent_does_not_have_are_drawn_by_the_seed(stripes):
    evaluator = SerialExecutor().share(Trainer(data=stripes, recipe=Recipe()))
    narrower = narrow(TINY, groups(TINY, ["expansion"])[0], 16)
    parent = SerialExecutor().share(net(narrower))

    def inherited(rng_seed: int):
        return FineTune(trainer=evaluator, parent=parent, recipe=None, inherit="l2", rng_seed=rng_seed)(
            TINY
        ).state.weights

    changes_with_the_seed(inherited)


def test_the_training_of_a_seed_network_seeds_weights_and_batches(stripes, tmp_path, monkeypatch, begun):
    def trained(rng_seed: int):
        monkeypatch.setattr(seed, "cache_dir", lambda: tmp_path / str(len(begun)))  # trained each time
        evaluator = Trainer(data=stripes, recipe=Recipe())
        given = seed.Seed(arch=TINY)
        return seed.trained_net(given, evaluator, Recipe(batch=32), threads=1, rng_seed=rng_seed).weights

    changes_with_the_seed(trained)
    assert [same(begun[0], other) for other in begun] == [True, True, False]
    weights = [name for name, value in begun[0][0].items() if value.ndim == 4]
    assert not any(torch.equal(begun[0][0][name], begun[2][0][name]) for name in weights)
    assert not np.array_equal(begun[0][1], begun[2][1])


# ---- searches


def test_shared_weights_are_initialised_and_trained_by_the_seed(stripes, tmp_path):
    space = spaces.get("mnasnet", base_width=0.35)
    phases = {name: Phase(share=name == "mixed", lr=1e-9) for name in PHASES}
    shared = SharedPlan(
        recipe=Recipe(steps=1, batch=16), phases=phases, kernels="centre", band=0.9, images=60, bn_images=96
    )

    def trained(rng_seed: int):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        weights, _ = prepare(
            folder,
            shared,
            Problem(space=space, latency=latency_luts.load("pixel1"), target_ms=10.0),
            trainer=Trainer(data=stripes, recipe=Recipe()),
            rng_seed=rng_seed,
            threads=1,
            console=Console(quiet=True),
        )
        return weights

    changes_with_the_seed(trained)


def test_all_that_a_training_of_shared_weights_draws_is_drawn_by_the_seed(tmp_path, monkeypatch):
    """The network of an update, its images and how they are shifted, and the images that the policy is shown."""
    todo = supernet_training(tmp_path, steps=1, phases=ONLY_MIXED, joint=True)
    policy, augmented, seen = type(todo.policy), supernet_train.augmented, {}

    def draw(self, step, rng):
        seen["network"] = state_of(rng)
        return policy_draw(self, step, rng)

    def learn(self, net, drawn, step, rng, device="cpu"):
        seen["measured"] = state_of(rng)

    def shifted(split, picked, data, *, rng, **how):
        seen["images"], seen["shifts"] = np.array(picked), state_of(rng)
        return augmented(split, picked, data, rng=rng, **how)

    policy_draw = policy.draw
    monkeypatch.setattr(policy, "draw", draw)
    monkeypatch.setattr(policy, "learn", learn)
    monkeypatch.setattr(supernet_train, "augmented", shifted)

    def drawn(rng_seed: int):
        todo.file.unlink(missing_ok=True)
        replace(todo, rng_seed=rng_seed).run()
        return dict(seen)

    runs = {name: drawn(rng_seed) for name, rng_seed in (("first", 5), ("same", 5), ("other", 6))}
    for what in ("network", "images", "shifts", "measured"):
        assert np.array_equal(runs["first"][what], runs["same"][what]), what
        assert not np.array_equal(runs["first"][what], runs["other"][what]), what


def state_of(rng: np.random.Generator) -> np.ndarray:
    return np.array(str(rng.bit_generator.state["state"]["state"]))


@pytest.mark.parametrize("controller", controllers.names())
def test_a_job_seeds_its_controller(controller):
    def proposed(rng_seed: int):
        arguments = ["+target=pixel1_small", f"controller={controller}", f"rng_seed={rng_seed}"]
        job = read_job(read(SearchOptions, plain(compose("search", arguments)), arguments))
        assert job.rng_seed == rng_seed
        return {"points": job.controller.propose(4)}

    changes_with_the_seed(proposed)
