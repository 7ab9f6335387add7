"""What shared weights begin with, and which part of them a network takes."""

import math

import pytest
import torch

from nas.supernet.module import Supernet
from search_spaces import rewrite, spaces
from search_spaces.arch import MBConv
from search_spaces.layout import Layout


def make(kernels: str) -> Supernet:
    space = spaces.get("mnasnet", base_width=0.35)
    return Supernet(Layout(space), in_ch=3, classes=10, kernels=kernels, generator=torch.Generator().manual_seed(0))


def test_weights_begin_as_those_of_a_network_alone():
    """Convolutions He-normal by fan-out, which of a depthwise one is its window; scales 1, shifts and biases 0, linear
    layers 0.01."""
    checked = {"pointwise": 0, "depthwise": 0, "linear": 0}
    for name, parameter in make("centre").weights.items():
        value = parameter.detach()
        kind = name.rsplit("/", 1)[1]
        if kind != "weight":
            assert (value == (kind == "gamma")).all(), name
            continue
        if value.ndim == 2:
            what, std = "linear", 0.01
        elif value.shape[1] == 1:
            what, std = "depthwise", math.sqrt(2 / (value.shape[2] * value.shape[3]))
        else:
            what, std = "pointwise", math.sqrt(2 / (value.shape[0] * value.shape[2] * value.shape[3]))
        count = value.numel()
        assert float(value.square().mean().sqrt()) == pytest.approx(std, rel=5 / math.sqrt(2 * count)), name
        checked[what] += 1
    assert all(checked.values())


@pytest.mark.parametrize("kernels", ["own", "centre"])
def test_a_network_takes_the_first_channels_and_the_centre_or_a_kernel_of_its_own(kernels):
    """Block 3 of the space as MBConv with kernel 3 and with 5, in the narrowest and the widest width."""
    supernet = make(kernels)
    space = supernet.layout.space
    options = {choice.name: choice.options[0] for choice in space.choices} | {"block3.op": "mbconv3"}
    taken = {}
    for kernel in (3, 5):
        for filters in (0.75, 1.25):
            arch = space.decode(space.encode({**options, "block3.kernel": kernel, "block3.filters": filters}))
            small = rewrite.classes(rewrite.small_image(arch, 32, min_px=2), 10)
            route = supernet.route(arch, small)
            state = supernet.state_dict_of(route, supernet.calibrate(route, [torch.ones(2, 3, 32, 32)]))
            number = supernet.layout.positions(arch).index((3, 0))
            assert isinstance(arch.blocks[number], MBConv)
            taken[kernel, filters] = [state[f"blocks.{number}.{op}.conv.weight"] for op in ("depthwise", "project")]
    for kernel in (3, 5):
        for narrow, wide in zip(taken[kernel, 0.75], taken[kernel, 1.25], strict=True):
            assert narrow.shape[0] <= wide.shape[0]
            assert torch.equal(narrow, wide[: narrow.shape[0], : narrow.shape[1]])
    assert taken[3, 0.75][1].shape[0] < taken[3, 1.25][1].shape[0]
    centre = taken[5, 1.25][0][:, :, 1:4, 1:4]
    assert torch.equal(taken[3, 1.25][0], centre) == (kernels == "centre")
    assert torch.equal(taken[3, 1.25][1], taken[5, 1.25][1])  # the projection is the same
