"""Training on a GPU: what of it can be checked without one, and the rest where there is one."""

import numpy as np
import pytest
import torch

from nas.training import on_gpu, sources
from nas.training.datasets import make
from nas.training.recipe import Recipe
from nas.training.train import _moves, _shift_and_flip, augmented, new_net, top1, train
from search_spaces import rewrite, torch_net, zoo
from search_spaces.ops import Conv

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
    product = torch_net._by_product(x, weight, bias, op.stride, op.padding)
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
    monkeypatch.setattr("nas.training.train.schedule", lambda step, warmup_steps, steps: float(step < 6))
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
