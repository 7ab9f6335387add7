"""Networks judged with shared weights: which images look at them, in which pieces, and what a process keeps."""

import contextlib
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.supernet import evaluator as module
from nas.supernet.evaluator import SharedWeights
from nas.supernet.module import Supernet
from nas.training import on_gpu
from nas.training.datasets import drawn, part
from nas.training.trainer import Trainer
from nas.trial import Evaluation
from search_spaces import torch_net
from search_spaces.arch import Classifier, ConvBN, SepConv
from search_spaces.layout import Layout
from search_spaces.space import Layer, OneOf, SearchSpace, declare
from tests.nas.test_splits import RECIPE, answers, share


def space_of(ch: int) -> SearchSpace:
    """Three stages of 3x3 or 5x5 kernels."""
    stages = [Layer(SepConv, out_ch=ch, kernel=OneOf(f"stage{i}.kernel", (3, 5)), stride=2) for i in range(3)]
    layers = [Layer(ConvBN, out_ch=8, kernel=3), *stages, Layer(Classifier, out_ch=10)]
    return declare("short", layers, resolution_px=96)


SPACE = space_of(16)
ARCH = SPACE.decode([0] * len(SPACE.choices))


def shared(data, *, kernels="centre", rng_seed=0, **changes) -> SharedWeights:
    generator = torch.Generator().manual_seed(rng_seed)
    net = Supernet(Layout(SPACE), in_ch=1, classes=3, kernels=kernels, generator=generator)
    given = {"key": f"{kernels} {rng_seed}", "images": 30, "bn_images": 48, **changes}
    return SharedWeights(
        space=SPACE,
        weights=share({name: weight.detach().numpy() for name, weight in net.weights.items()}),
        trainer=Trainer(data=data, recipe=RECIPE),
        kernels=kernels,
        **given,
    )


@pytest.fixture
def built(monkeypatch):
    """Keys of the evaluators whose weights were put into a network in this process."""
    keys, build = [], module._build

    def watched(evaluator):
        keys.append(evaluator.key)
        return build(evaluator)

    monkeypatch.setattr(module, "_build", watched)
    monkeypatch.setattr(module, "_built", {})
    return keys


def test_a_process_keeps_the_weights_that_it_used_last(stripes, built):
    a, b = shared(stripes, key="a"), shared(stripes, key="b")
    for each in (a, replace(a, images=60), b, b, a):
        each.evaluate(ARCH)
    assert built == ["a", "b", "a"]
    assert list(module._built) == ["a"]


@pytest.mark.parametrize("images", [1, 30, 60, 1000])
def test_a_network_is_judged_by_its_part_of_the_holdout(stripes, built, images):
    """By so many images that are drawn once and for all; with its own batch norm's statistics."""
    its = shared(stripes, images=images)
    holdout = part(stripes.holdout, images)
    assert len(holdout) == min(images, 60)
    right = answers(its.trainer.small(ARCH), its.inherited(ARCH), stripes, holdout) == holdout.labels
    start = time.perf_counter()
    evaluation = its.evaluate(ARCH, rng_seed=5)
    assert 0 < evaluation.seconds <= time.perf_counter() - start
    assert evaluation.top1 == pytest.approx(right.mean(), abs=2 / len(holdout) if images > 1 else 0)
    assert evaluation.top1 * len(holdout) == pytest.approx(round(evaluation.top1 * len(holdout)))
    assert its.evaluate(ARCH, rng_seed=6).top1 == evaluation.top1
    assert (evaluation.status, evaluation.note) == ("ok", "")


def test_images_come_in_pieces_that_fit(stripes, built, monkeypatch):
    its = shared(stripes)
    whole = torch.cat(list(its._batches(stripes.holdout)))
    asked = []

    def at_a_time(device, px):
        asked.append((device, px))
        return 7

    monkeypatch.setattr(on_gpu, "at_a_time", at_a_time)
    pieces = list(its._batches(stripes.holdout))
    assert asked == [("cpu", 12)]
    assert max(map(len, pieces)) <= 7
    assert len(pieces) == 9  # 60 images
    assert torch.equal(torch.cat(pieces), whole)
    assert its.evaluate(ARCH).top1 == pytest.approx(shared(stripes, key="x").evaluate(ARCH).top1)


def test_the_statistics_are_of_images_drawn_from_the_training_images(stripes, built):
    few, many = shared(stripes, bn_images=8), shared(stripes, bn_images=1000)
    name = next(name for name in few.inherited(ARCH) if name.endswith("running_mean"))
    for its, images in ((few, 8), (many, 96)):
        seen = drawn(stripes.train, its.bn_images)
        assert len(seen) == images
        state = its.inherited(ARCH)
        conv = torch_net.Net(its.trainer.small(ARCH)).blocks[0]
        conv.load_state_dict(
            {key.removeprefix("blocks.0."): value for key, value in state.items() if "blocks.0." in key}
        )
        with torch.inference_mode():
            x = torch.cat(list(its._batches(seen)))
            made = conv.conv.conv(x)
        torch.testing.assert_close(state[name], made.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
        assert {value.device.type for value in state.values()} == {"cpu"}


def test_a_final_training_begins_with_its_part_of_the_weights(stripes, built, monkeypatch):
    given = {}

    def evaluate(self, arch, rng_seed, on_epoch=None, state=None):
        given.update(arch=arch, rng_seed=rng_seed, state=state)
        return Evaluation(top1=0.5)

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    its = shared(stripes)
    assert its.trained_on(ARCH, 7).top1 == 0.5
    assert (given["arch"], given["rng_seed"]) == (ARCH, 7)
    expected = its.inherited(ARCH)
    assert given["state"].keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in given["state"].items())
    net = torch_net.build(its.trainer.small(ARCH))
    net.load_state_dict(given["state"])


@pytest.mark.parametrize("kernels", ["centre", "own"])
def test_kernels_are_shared_as_they_were_trained(stripes, built, kernels):
    """Those of a network with small kernels are the centres of the largest, or its own."""
    its = shared(stripes, kernels=kernels)
    large, own = its.inherited(SPACE.decode(SPACE.largest)), its.inherited(ARCH)
    depthwise = [name for name, value in large.items() if value.ndim == 4 and value.shape[-1] == 5]
    assert len(depthwise) == 3
    for name in depthwise:
        assert torch.equal(own[name], large[name][..., 1:-1, 1:-1]) == (kernels == "centre")


def test_it_computes_with_the_threads_of_its_trainer(stripes, built, monkeypatch):
    """And tells the device that shapes change from network to network."""
    threads, shapes = [], []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(on_gpu, "many_shapes", lambda *given: shapes.append(given) or contextlib.nullcontext())
    its = shared(stripes)
    its = replace(its, trainer=replace(its.trainer, threads=3))
    its.evaluate(ARCH)
    its.inherited(ARCH)
    assert threads == [3, 3]
    assert shapes == [("cpu", 12)] * 2


def test_a_network_of_another_space_is_refused(stripes, built):
    other = space_of(24).decode([0, 0, 0])
    for ask in (shared(stripes).evaluate, shared(stripes).inherited):
        with pytest.raises(ValueError, match="is not one of space 'short'"):
            ask(other)


def test_the_shared_arrays_are_not_copied_and_stay_as_they_are(stripes, built):
    its = shared(stripes)
    arrays = its.weights.get()
    before = {name: array.copy() for name, array in arrays.items()}
    net = its._supernet()
    assert not net.training
    for name, array in arrays.items():
        assert np.shares_memory(net.weights[name].detach().numpy(), array)
        assert not net.weights[name].requires_grad
    its.evaluate(ARCH)
    assert all(np.array_equal(before[name], array) for name, array in arrays.items())
