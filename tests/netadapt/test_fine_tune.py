"""What a fine-tuning hands on: the optimizer's moments, its seconds, and that it diverged."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from netadapt.channels import groups, narrow
from netadapt.fine_tune import AndTest, FineTune, Train
from netadapt.weights import TrainedNet
from search_spaces.arch import MBConv
from tests.nas.test_splits import TINY, share, trained

ONE = Recipe(steps=1, batch=16, lr=1e-4)


def tuned(data, parent: TrainedNet, recipe: Recipe | None = ONE, arch=TINY) -> TrainedNet:
    shared = share(Trainer(data=data, recipe=Recipe()))
    evaluation = FineTune(trainer=shared, parent=share(parent), recipe=recipe, inherit="l2", rng_seed=0)(arch)
    assert evaluation.top1 == evaluation.state.top1
    return evaluation.state


def with_moments(parent: TrainedNet) -> TrainedNet:
    """1000 and 1e6 are the means of gradients and of their squares, whatever they were; after 5 updates."""
    trainable = [name for name in parent.weights if "running" not in name and "num_batches" not in name]
    first = {name: np.full_like(parent.weights[name], 1000) for name in trainable}
    return replace(parent, first=first, second={name: 1000 * value for name, value in first.items()}, updates=5)


def test_a_fine_tuning_goes_on_with_the_moments_of_its_parent(stripes):
    """Means of gradients decay by 0.9, those of squares by 0.999; the gradients themselves are small beside them."""
    parent = with_moments(trained())
    after = tuned(stripes, parent)
    assert after.updates == 6
    assert set(after.first) == set(after.second) == set(parent.first)
    for name in after.first:
        np.testing.assert_allclose(after.first[name], 900, rtol=0.1)
        np.testing.assert_allclose(after.second[name], 999_000, rtol=1e-3)
    # along them: -lr * (900 / (1 - 0.9^6)) / sqrt(999000 / (1 - 0.999^6)) for biases, which do not decay
    step = 1e-4 * 900 / (1 - 0.9**6) / np.sqrt(999_000 / (1 - 0.999**6))
    bias = next(name for name in parent.first if name.endswith("bias"))
    np.testing.assert_allclose(parent.weights[bias] - after.weights[bias], step, rtol=0.1)
    assert tuned(stripes, trained()).updates == 1


def test_a_narrower_network_has_its_part_of_weights_and_moments(stripes):
    parent = with_moments(trained())
    group = next(g for g in groups(TINY) if g.kind == "expansion")
    child = narrow(TINY, group, 16)
    name = "blocks.1.expand.conv.weight"
    parent.weights[name][:8] = 0  # the smallest filters go
    parent.first[name][:8], parent.second[name][:8] = -1, -1
    looked_at = tuned(stripes, parent, None, child)  # inherited, not yet fine-tuned
    assert looked_at.arch == child
    assert (looked_at.updates, float(looked_at.first[name].min()), float(looked_at.second[name].min())) == (5, 1e3, 1e6)
    np.testing.assert_array_equal(looked_at.weights[name], parent.weights[name][8:])
    assert tuned(stripes, parent, ONE, child).updates == 6
    unknown = tuned(stripes, trained(), None, child)
    assert (unknown.updates, dict(unknown.first), dict(unknown.second)) == (0, {}, {})


@pytest.mark.parametrize("kind", [Train, FineTune])
def test_a_training_that_diverges_is_a_result_without_a_network(stripes, kind):
    shared = share(Trainer(data=stripes, recipe=Recipe()))
    more = {"parent": share(trained()), "inherit": "l2"} if kind is FineTune else {}
    task = kind(trainer=shared, recipe=replace(ONE, steps=3, lr=1e20), rng_seed=0, **more)
    start = time.perf_counter()
    evaluation = AndTest(shared, task)(TINY)
    elapsed_s = time.perf_counter() - start
    assert (evaluation.status, evaluation.top1, evaluation.state) == ("diverged", 0.0, None)
    assert evaluation.note == "the loss became NaN or infinite"
    assert 0 < evaluation.seconds <= elapsed_s
    good = AndTest(shared, replace(task, recipe=ONE))
    start = time.perf_counter()
    assert 0 < good(TINY).seconds <= time.perf_counter() - start


@pytest.mark.parametrize(("own", "threads"), [(None, 1), (3, 3)])
def test_a_training_has_threads_of_its_own_or_the_trainers(stripes, monkeypatch, own, threads):
    """And is the training of the network as it is on the data's images."""
    shared = share(Trainer(data=stripes, recipe=Recipe()))
    wide = replace(TINY, resolution_px=224, blocks=(replace(TINY.blocks[0], in_ch=3), *TINY.blocks[1:]))
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    state = Train(trainer=shared, recipe=ONE, rng_seed=0, threads=own)(wide).state
    assert seen == [threads]
    assert (state.arch.resolution_px, state.arch.in_ch, state.updates) == (12, 1, 1)
    assert [type(block) for block in state.arch.blocks].count(MBConv) == 1
    again = tuned(stripes, state, None)
    np.testing.assert_array_equal(again.first["blocks.0.conv.conv.weight"], state.first["blocks.0.conv.conv.weight"])
