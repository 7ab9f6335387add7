"""How much channels matter: what each measure is, and that channels of no use are those that leave."""

import pytest
import torch
from torch.nn import functional as F

from nas.executor import SerialExecutor
from nas.training.datasets import drawn
from nas.training.recipe import Recipe
from nas.training.train import calibrate_norms, normalise
from nas.training.trainer import Trainer
from netadapt.channels import groups, layers, makes_channels, narrow
from netadapt.fine_tune import FineTune, arrays_of
from netadapt.importance import Importance, by_images, by_weights
from netadapt.inherit import inherit
from netadapt.weights import BY_IMAGES, INHERIT, TrainedNet
from search_spaces import torch_net, zoo

WIDE = zoo.get("mnasnet_small", width=0.35)
BLOCK = 4


@pytest.fixture
def net(stripes):
    small = Trainer(data=stripes, recipe=Recipe()).small(WIDE)
    net = torch_net.build(small, generator=torch.Generator().manual_seed(0))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
    calibrate_norms(net, stripes.train, stripes)
    return net


def test_taylor_is_the_squared_change_of_the_loss_by_a_gate(net, stripes):
    found = by_images(net.arch, net.state_dict(), stripes, by="taylor", images=32)
    assert set(found) == {layer for layer, op in layers(net.arch).items() if makes_channels(op)}
    images = drawn(stripes.train, 32)
    x, y = normalise(torch.from_numpy(images.images), stripes, "cpu"), torch.from_numpy(images.labels)

    def loss_with(module: torch.nn.Module, channel: int, gate: float) -> float:
        scaled = [module.weight, module.bias]
        with torch.no_grad():
            before = [p[channel].clone() for p in scaled]
            for p in scaled:
                p[channel] *= gate
            loss = F.cross_entropy(net(x.double()), y).item()
            for p, value in zip(scaled, before, strict=True):
                p[channel] = value
        return loss

    net.double()  # the loss has many kinks: the step has to be tiny
    for layer, channel in (((0, "conv"), 1), ((BLOCK, "expand"), 3), ((BLOCK, "project"), 2)):
        module = dict(net.named_modules())[f"blocks.{layer[0]}.{layer[1]}.norm"]
        slope = (loss_with(module, channel, 1 + 1e-6) - loss_with(module, channel, 1 - 1e-6)) / 2e-6
        assert found[layer][channel].item() == pytest.approx(slope**2, rel=0.02)


def test_activation_is_the_mean_size_of_what_a_channel_gives(net, stripes):
    found = by_images(net.arch, net.state_dict(), stripes, by="activation", images=48)
    images = drawn(stripes.train, 48)
    seen = []
    module = dict(net.named_modules())[f"blocks.{BLOCK}.expand"]
    hook = module.register_forward_hook(lambda *its: seen.append(its[2]))
    with torch.inference_mode():
        net(normalise(torch.from_numpy(images.images), stripes, "cpu"))
    hook.remove()
    wanted = seen[0].abs().mean((0, 2, 3))
    assert torch.allclose(found[BLOCK, "expand"] / found[BLOCK, "expand"].sum(), wanted / wanted.sum(), rtol=1e-3)


def test_importance_by_weights(net):
    state = net.state_dict()
    by_scale, by_filter = (by_weights(net.arch, state, by) for by in ("bn_scale", "l2"))
    assert torch.equal(by_scale[BLOCK, "expand"], state[f"blocks.{BLOCK}.expand.norm.weight"].abs())
    filters = state[f"blocks.{BLOCK}.expand.conv.weight"]
    assert torch.allclose(by_filter[BLOCK, "expand"], filters.flatten(1).norm(dim=1) ** 2)
    last = len(net.arch.blocks) - 1, "linear"
    assert torch.allclose(by_scale[last] ** 2, by_filter[last])  # it has no batch norm


@pytest.mark.parametrize("by", sorted(set(INHERIT) - {"truncate"}))
def test_channels_of_no_use_leave_first(by, net, stripes):
    group = next(g for g in groups(net.arch) if g.name == f"expansion of block {BLOCK}")
    useless = list(range(0, group.channels, 2))
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.startswith(f"blocks.{BLOCK}.expand."):
                value[useless] = 0
    state = net.state_dict()
    child = narrow(net.arch, group, group.channels - len(useless))
    found = by_images(net.arch, state, stripes, by=by, images=64) if by in BY_IMAGES else None
    kept, _ = inherit(net.arch, child, state, by=by, importance=found)
    name = f"blocks.{BLOCK}.expand.conv.weight"
    assert torch.equal(kept[name], state[name][1::2])


def test_without_images_what_goes_by_images_says_what_is_missing(net):
    with pytest.raises(ValueError, match=r"by=taylor goes by images: give importance=netadapt.importance.by_images"):
        inherit(net.arch, net.arch, net.state_dict(), by="taylor")


def test_a_worker_weighs_the_parents_channels_for_its_proposals(net, stripes):
    executor, trainer = SerialExecutor(), Trainer(data=stripes, recipe=Recipe())
    parent = TrainedNet(arch=net.arch, weights=arrays_of(net.state_dict()), first={}, second={}, updates=0, top1=0.5)
    shared = {"trainer": executor.share(trainer), "parent": executor.share(parent)}
    weighed = Importance(**shared, by="taylor", images=32)(net.arch)
    assert weighed.status == "ok"
    assert torch.equal(
        weighed.state[0, "conv"], by_images(net.arch, net.state_dict(), stripes, by="taylor", images=32)[0, "conv"]
    )
    group = next(g for g in groups(WIDE) if g.name == f"expansion of block {BLOCK}")
    child = narrow(WIDE, group, group.channels - 8)
    tune = FineTune(
        **shared, recipe=None, inherit="taylor", importance=executor.share(weighed.state), norm_images=64, rng_seed=0
    )
    looked = tune(child)
    wanted, _ = inherit(net.arch, trainer.small(child), net.state_dict(), by="taylor", importance=weighed.state)
    name = f"blocks.{BLOCK}.expand.conv.weight"
    assert torch.equal(torch.from_numpy(looked.state.weights[name]), wanted[name])
    again = torch_net.build(trainer.small(child), weights=wanted)
    calibrate_norms(again, drawn(stripes.train, 64), stripes)
    name = f"blocks.{BLOCK}.expand.norm.running_mean"
    assert torch.equal(torch.from_numpy(looked.state.weights[name]), again.state_dict()[name])
    assert not torch.equal(again.state_dict()[name], wanted[name])
