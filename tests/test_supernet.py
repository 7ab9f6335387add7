"""The supernet: networks of a space computed with shared weights."""

import numpy as np
import pytest
import torch

from nas.supernet.module import Supernet
from search_spaces import rewrite, spaces, torch_net
from search_spaces.arch import Arch
from search_spaces.places import Places

SPACES = ("mnasnet", "mobilenet_v3")


def small(arch: Arch) -> Arch:
    arch = rewrite.small_image(arch, 28, min_px=2)
    return rewrite.dropout(rewrite.classes(rewrite.in_channels(arch, 1), 10), 0.0)


def make(name: str, **settings: str) -> Supernet:
    places = Places(spaces.get(name, base_width=0.35))
    return Supernet(places, in_ch=1, classes=10, generator=torch.Generator().manual_seed(0), **settings)


@pytest.mark.parametrize("kernels", ["own", "centre"])
@pytest.mark.parametrize("name", SPACES)
def test_a_network_alone_computes_what_it_computes_in_the_supernet(name, kernels):
    supernet = make(name, kernels=kernels).double().eval()
    space = supernet.places.space
    x = torch.randn(16, 1, 28, 28, generator=torch.Generator().manual_seed(1)).double()
    for row in space.sample(np.random.default_rng(0), 10):
        arch = space.decode(row)
        path = supernet.path(arch, small(arch))
        statistics = supernet.calibrate(path, [x])
        net = torch_net.build(small(arch)).double()
        net.load_state_dict(supernet.state_dict_of(path, statistics))
        net.eval()
        with torch.inference_mode():
            alone, shared = net(x), supernet.folded(path, statistics)(x)
            batch = net.train()(x)
            torch.testing.assert_close(shared, alone, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(supernet(x, path), batch, rtol=1e-8, atol=1e-8)
