"""Networks that learn while they are rounded as 8-bit integers are."""

import copy

import pytest
import torch

from nas.training.rounding import round_as_integers, rounded_inputs, rounded_weights
from search_spaces import torch_net, zoo


def test_weights_have_steps_by_output_channel():
    weight = (
        torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-3, 3, 6)[:, None, None, None]
    )
    weight[5] = 0
    rounded = rounded_weights(weight)
    for channel, whole in zip(rounded, weight, strict=True):
        largest = whole.abs().max()
        steps = channel / largest * 127 if largest else channel
        torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
        assert (channel - whole).abs().max() <= largest / 127 * 0.501
        assert channel.abs().max() == pytest.approx(float(largest), rel=1e-5)


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_inputs_have_256_steps_and_0_is_one_of_them(shift):
    x = torch.randn(4, 8, 5, 5, generator=torch.Generator().manual_seed(0)) + shift
    x[0, 0, 0, 0] = 0
    rounded = rounded_inputs(x)
    assert rounded.unique().numel() <= 256
    assert rounded[0, 0, 0, 0] == 0
    step = (max(float(x.max()), 0) - min(float(x.min()), 0)) / 255
    assert (rounded - x).abs().max() <= step * 1.01
    assert rounded_inputs(torch.zeros(2, 3)).equal(torch.zeros(2, 3))


def test_a_rounded_network_keeps_its_names_and_learns():
    net = torch_net.build(zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32, classes=10))
    plain = copy.deepcopy(net).eval()
    round_as_integers(net)
    assert net.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both = net.eval()(x), plain(x)
        again = copy.deepcopy(net)(x)
    assert again.equal(both[0])
    assert not both[0].equal(both[1])
    torch.testing.assert_close(both[0], both[1], atol=0.2 * float(both[1].abs().max()), rtol=0)
    net.train()(x).square().sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert all(g.abs().max() > 0 for name, g in gradients.items() if name.endswith("conv.weight"))


def test_gradients_pass_as_if_nothing_were_rounded():
    weight = torch.randn(3, 4, requires_grad=True)
    rounded_weights(weight).sum().backward()
    assert weight.grad.equal(torch.ones(3, 4))
    x = torch.randn(3, 4, requires_grad=True)
    rounded_inputs(x).sum().backward()
    assert (x.grad == 1).sum() >= 11  # but where a value lies half a step outside
