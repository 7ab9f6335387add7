"""Training on a GPU: what of it can be checked without one, and the rest where there is one."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from nas.executor import SerialExecutor
from nas.supernet.evaluator import SharedWeights
from nas.supernet.module import Supernet
from nas.training import on_gpu, sources
from nas.training.datasets import make
from nas.training.recipe import Recipe
from nas.training.train import _moves, _shift_and_flip, augmented, new_net, top1, train
from nas.training.trainer import Trainer
from search_spaces import rewrite, spaces, torch_ops, zoo
from search_spaces.layout import Layout
from search_spaces.ops import Conv
from tests.commands.test_commands import ROOT, search
from tests.nas.test_supernet import training

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize(("crop_px", "flip"), [(0, False), (2, True)])
def test_images_are_moved_on_a_gpu_as_on_the_cpu(crop_px, flip):
    images = np.random.default_rng(0).integers(0, 256, (40, 7, 5, 3), dtype=np.uint8)
    picked = np.random.default_rng(1).permutation(40)[:16]
    there = np.stack([picked, *_moves(16, crop_px, flip, np.random.default_rng(2))])
    moved = on_gpu.gathered(torch.from_numpy(images), torch.from_numpy(there), crop_px)
    expected = _shift_and_flip(images[picked], crop_px, flip, np.random.default_rng(2))
    np.testing.assert_array_equal(moved.numpy(), expected)
    assert not flip or (expected != images[picked]).any()


@pytest.mark.parametrize("op", [{"kernel": 1}, {"kernel": 5}, {"kernel": 3, "stride": 2}, {"kernel": 1, "stride": 2}])
def test_a_convolution_as_a_product_of_matrices(op):
    op = Conv(name="conv", inputs=("input",), in_ch=5, out_ch=7, **op)
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((3, 5, 9, 8), (7, 5, *op.size), (7,))
    )
    expected = torch.nn.functional.conv2d(x, weight, bias, op.stride, op.padding)
    product = torch_ops._by_product(x, weight, bias, op.stride, op.padding)
    torch.testing.assert_close(product, expected)
    like = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    gradients = (torch.autograd.grad(y, (x, weight, bias), like) for y in (product, expected))
    for own, usual in zip(*gradients, strict=True):
        torch.testing.assert_close(own, usual)


@pytest.fixture(scope="module")
def small():
    arch = rewrite.small_image(zoo.get("mobilenet_v3_small", width=0.35), 28, min_px=2)
    return rewrite.dropout(rewrite.classes(rewrite.in_channels(arch, 1), 10), 0.0)


def test_settings_of_torch_come_back_after_the_last_that_changed_them():
    cuda = torch.backends.cuda.matmul
    before = torch.backends.cudnn.enabled, cuda.allow_tf32
    with on_gpu.many_shapes("cuda", 32):
        with on_gpu.many_shapes("cuda", 32), on_gpu.many_shapes("cpu", 32):
            assert (torch.backends.cudnn.enabled, cuda.allow_tf32) == (False, True)
        assert (torch.backends.cudnn.enabled, cuda.allow_tf32) == (False, True)
    assert (torch.backends.cudnn.enabled, cuda.allow_tf32) == before
    with on_gpu.many_shapes("cuda", 224):
        assert (torch.backends.cudnn.enabled, cuda.allow_tf32) == before


@needs_gpu
@pytest.mark.parametrize("kept", [True, False])
def test_batches_on_a_gpu_are_those_on_the_cpu(kept, monkeypatch):
    monkeypatch.setattr(on_gpu, "keeps", lambda array, device: kept)
    data = sources.load("fashion_mnist_mini", train_images=100)
    here, there = (
        augmented(data.train, np.arange(50), data, crop_px=2, rng=np.random.default_rng(0), device=device)
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(there[0].cpu(), here[0])
    assert (there[1].cpu() == here[1]).all()


@needs_gpu
def test_graphs_train_as_single_updates_do(small, monkeypatch):
    data = sources.load("fashion_mnist_mini", train_images=640)
    data = make("some", train=data.train, holdout=data.holdout, test=data.test, classes=10)
    recipe = Recipe(epochs=12, crop_px=1)
    accuracy = {}
    for most in (10, 10_000):  # with and without graphs
        monkeypatch.setattr("nas.training.train._FEWEST_GRAPHED", most)
        net = new_net(small, rng_seed=0)
        trained = train(net, data.train, data, recipe, rng_seed=0, device="cuda")
        assert (trained.images, trained.moments.updates, trained.diverged) == (12 * 640, 120, False)
        accuracy[most] = top1(net, data.holdout, data, device="cuda")
    assert accuracy[10] > 0.3
    assert accuracy[10] == pytest.approx(accuracy[10_000], abs=0.05)


@needs_gpu
def test_a_graph_sees_every_learning_rate(small, monkeypatch):
    """Nothing moves where the rate is 0, though it was not when the graph was made."""
    monkeypatch.setattr("nas.training.train.learning_rate", lambda recipe, step, **_: recipe.lr * (step < 6))
    data = sources.load("fashion_mnist_mini", train_images=640)
    weights = []
    for steps in (12, 30):
        net = new_net(small, rng_seed=0)
        train(net, data.train, data, Recipe(steps=steps), rng_seed=0, device="cuda")
        weights.append({name: value.detach().cpu() for name, value in net.named_parameters()})
    first = new_net(small, rng_seed=0)
    assert any((value - weights[0][name]).abs().max() > 1e-3 for name, value in first.named_parameters())
    for name, value in weights[0].items():
        assert (value - weights[1][name]).abs().mean() < 1e-3, name


@needs_gpu
def test_dropout_differs_from_launch_to_launch_of_a_graph():
    ones = torch.ones(1000, device="cuda")
    with on_gpu.stream("cuda"), torch.random.fork_rng():
        torch.manual_seed(0)
        graph = on_gpu.Graphed(lambda plan: torch.nn.functional.dropout(ones, 0.5), 1, "cuda")
        masks = [tuple(graph(np.zeros((4, 1), np.int64)).bool().tolist()) for _ in range(8)]
    assert len(set(masks)) == 8
    assert all(400 < sum(mask) < 600 for mask in masks)


@needs_gpu
def test_a_training_on_a_gpu_goes_on_with_the_moments_of_another(small, monkeypatch):
    data = sources.load("fashion_mnist_mini", train_images=640)
    ends = {}
    for most in (10, 10_000):  # with and without graphs
        monkeypatch.setattr("nas.training.train._FEWEST_GRAPHED", most)
        net = new_net(small, rng_seed=0)
        first = train(net, data.train, data, Recipe(steps=20), rng_seed=0, device="cuda")
        middle = {name: value.detach().clone() for name, value in net.named_parameters()}
        second = train(net, data.train, data, Recipe(steps=20), rng_seed=1, device="cuda", moments=first.moments)
        assert second.moments.updates == 40
        ends[most] = {name: (value.detach() - middle[name]) for name, value in net.named_parameters()}
    moved, apart = (
        torch.cat([f(name).flatten() for name in ends[10]]).square().mean().sqrt()
        for f in (ends[10].get, lambda name: ends[10][name] - ends[10_000][name])
    )
    assert apart < 0.3 * moved  # by rounding alone; without moments it is more
    net.load_state_dict({**net.state_dict(), **middle})
    train(net, data.train, data, Recipe(steps=20), rng_seed=1, device="cuda")
    parameters = net.named_parameters()
    without = torch.cat([(value.detach() - middle[name] - ends[10_000][name]).flatten() for name, value in parameters])
    assert without.square().mean().sqrt() > 2 * apart


@needs_gpu
def test_a_look_at_the_network_after_each_epoch_changes_nothing_on_a_gpu(small):
    data = sources.load("fashion_mnist_mini", train_images=640)
    data = make("some", train=data.train, holdout=data.holdout, test=data.test, classes=10)
    accuracy, seen = [], []
    for look in (False, True):
        net = new_net(small, rng_seed=0)

        def on_epoch(epochs, net=net):
            seen.append((epochs, top1(net, data.holdout, data, device="cuda")))

        train(net, data.train, data, Recipe(epochs=12), rng_seed=0, device="cuda", on_epoch=on_epoch if look else None)
        accuracy.append(top1(net, data.holdout, data, device="cuda"))
    assert [epochs for epochs, _ in seen] == list(range(1, 13))
    assert seen[-1][1] == accuracy[1] > 0.3
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.05)


@needs_gpu
def test_shared_weights_train_on_a_gpu_as_on_the_cpu(tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        losses[device] = []
        there = training(tmp_path / device, device=device, joint=True, dropout=0.2 if device == "cuda" else 0.0)
        assert there.run(lambda step, phase, loss, device=device: losses[device].append(loss))
    assert len(losses["cpu"]) == 3
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.1)


@needs_gpu
def test_inherited_accuracy_is_the_same_on_a_gpu():
    data = sources.load("fashion_mnist_mini", train_images=96, holdout=1000)
    space = spaces.get("mnasnet", base_width=0.35)
    net = Supernet(Layout(space), in_ch=1, classes=10, generator=torch.Generator().manual_seed(0))
    weights = {name: weight.detach().numpy() for name, weight in net.weights.items()}
    points = space.sample(np.random.default_rng(0), 3)
    top1s = []
    for device in ("cpu", "cuda"):
        evaluator = SharedWeights(
            key=device,
            space=space,
            weights=SerialExecutor().share(weights),
            trainer=Trainer(data=data, recipe=Recipe(), device=device),
            kernels="centre",
            images=1000,
            bn_images=96,
        )
        top1s.append([evaluator.evaluate(space.decode(point)).top1 for point in points])
    assert top1s[0] == pytest.approx(top1s[1], abs=0.02)


@needs_gpu
@pytest.mark.parametrize(
    "how",
    [
        ["executor=serial"],
        ["ray.num_gpus=0.5", "workers=2"],
        ["evaluator=shared_weights", "evaluator.shared.epochs=4", "ray.num_gpus=0.5", "samples=8"],
        ["evaluator=shared_weights", "mode=joint", "reward=absolute", "evaluator.shared.epochs=4", "samples=8"],
    ],
)
def test_a_search_on_a_gpu(tmp_path, how):
    done = search("evaluator.device=cuda", "run_dir=run", *how, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert 0 < result["best"]["top1"] <= 1
    again = search("evaluator.device=cuda", "run_dir=run", *how, cwd=tmp_path)
    assert "found" in again.stdout, again.stderr


_TOGETHER = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from nas.executor_ray import RayExecutor
from nas.supernet import parallel
from nas.training.place import Workers
from tests.nas.test_supernet import training

folder = Path(sys.argv[1])
alone, together = (training(folder / name, device="cuda", joint=True) for name in ("alone", "together"))
alone.run()
together.file.parent.mkdir(parents=True, exist_ok=True)
with RayExecutor(workers=1, num_gpus=1):
    parallel.train(replace(together, device="cpu"), Workers(count=1, num_gpus=1), print)
assert together.done() == together.steps
together.run()
ends = [torch.cat([w.detach().cpu().flatten() for w in t.supernet.weights.values()]) for t in (alone, together)]
begin = torch.cat([w.detach().flatten() for w in training(folder / "new").supernet.weights.values()])
print("moved", float((ends[0] - begin).abs().mean()), "apart", float((ends[0] - ends[1]).abs().mean()))
"""


@needs_gpu
def test_a_worker_with_a_gpu_trains_what_this_process_does(tmp_path):
    """Through Ray Train and NCCL; two workers on one GPU NCCL refuses."""
    done = subprocess.run(
        [sys.executable, "-c", _TOGETHER, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    _, moved, _, apart = done.stdout.splitlines()[-1].split()
    assert float(apart) < 0.1 * float(moved)
