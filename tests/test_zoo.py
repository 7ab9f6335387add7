"""The zoo against its reference implementations, and what is derived from a network against torch."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import cost, lower, onnx_net, rewrite, text, torch_net, zoo
from search_spaces.arch import Arch
from tests.conftest import random_archs

GOLDEN = [  # torchvision's and timm's counts
    ("mobilenet_v3_large", 216_589_760, 5_483_032),
    ("mobilenet_v3_small", 56_510_400, 2_542_856),
    ("mobilenet_v2", 300_774_272, 3_504_872),
    ("mnasnet_a1", 311_579_072, 3_887_038),
    ("mnasnet_small", 68_339_184, 2_030_264),
    ("proxyless_r", 320_427_584, 4_080_512),
    ("mobilenet_v1", 568_740_352, 4_231_976),
    ("mobilenet_v3_large_minimalistic", 209_136_704, 3_924_288),
    ("mobilenet_v3_small_minimalistic", 52_288_448, 2_044_736),
    ("mnasnet_b1", 314_415_872, 4_383_312),
    ("fbnet_c", 384_960_160, 5_572_200),
    ("single_path_nas", 333_467_072, 4_421_616),
    ("efficientnet_b0", 385_814_752, 5_288_548),
    ("efficientnet_lite0", 385_187_552, 4_652_008),
]


@pytest.mark.parametrize(("name", "madds", "params"), GOLDEN)
def test_counts_equal_the_reference(name, madds, params):
    arch = zoo.get(name)
    assert (cost.madds(arch), cost.params(arch)) == (madds, params)


def test_every_network_has_golden_counts():
    assert {name for name, _, _ in GOLDEN} == set(zoo.names())


@pytest.mark.parametrize(
    ("name", "width", "params"),
    [
        ("mobilenet_v3_large", 0.75, 3_993_528),
        ("mobilenet_v3_small", 0.75, 2_041_872),
        ("mobilenet_v2", 0.35, 1_677_128),
        ("mobilenet_v2", 0.5, 1_968_680),
        ("mobilenet_v2", 1.4, 6_108_776),
        ("mnasnet_a1", 0.5, 2_082_006),
        ("mobilenet_v1", 1.25, 6_270_840),
        ("mnasnet_b1", 0.5, 2_218_512),
        ("mnasnet_b1", 1.4, 7_115_728),
        ("mnasnet_a1", 1.4, 6_105_992),
    ],
)
def test_width_multipliers_equal_the_reference(name, width, params):
    assert cost.params(zoo.get(name, width=width)) == params


@pytest.mark.parametrize("name", zoo.names())
def test_counts_are_near_the_published_ones(name):
    entry = zoo.entry(name)
    if entry.differs:
        return
    assert cost.madds(entry.arch) / 1e6 == pytest.approx(entry.madds_m, rel=0.06)
    assert cost.params(entry.arch) / 1e6 == pytest.approx(entry.params_m, rel=0.08)


ARCHS = [zoo.get(name, resolution_px=96) for name in zoo.names()] + random_archs(12, rng_seed=1)


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_torch_onnx_and_counts_agree(arch: Arch):
    generator = torch.Generator().manual_seed(0)
    net = torch_net.build(arch, generator=generator).eval()
    for module in net.modules():  # statistics as after training, so that folding has something to fold
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
    x = torch.randn(1, arch.in_ch, arch.resolution_px, arch.resolution_px, generator=generator)

    shapes = []
    for block in net.blocks:
        block.register_forward_hook(lambda module, inputs, y: shapes.append(tuple(y.shape[1:])))
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        y = net(x)

    lowered = [unit.out_shape for unit in lower.lower(arch)]
    assert shapes[:-1] == lowered[:-1]
    assert shapes[-1] == lowered[-1][:1]
    assert flops.get_total_flops() / 2 == cost.madds(arch)
    assert sum(p.numel() for p in net.parameters()) == cost.params(arch)

    session = onnxruntime.InferenceSession(onnx_net.model(arch, net=net).SerializeToString())
    (z,) = session.run(None, {"input": x.numpy()})
    scale = float(y.abs().max())
    assert scale > 0
    np.testing.assert_allclose(z / scale, y.numpy() / scale, atol=1e-4)


@pytest.mark.parametrize("arch", ARCHS, ids=lambda arch: arch.name)
def test_json_round_trip(arch: Arch):
    again = text.from_json(text.to_json(arch))
    assert again == arch
    assert again.name == arch.name
    assert hash(again) == hash(arch)


def test_each_unit_runs_alone_in_onnx_runtime():
    for unit in lower.lower(random_archs(1, rng_seed=5)[0]):
        alone = Arch(name="unit", resolution_px=unit.in_shape[1], blocks=(unit.block,))
        session = onnxruntime.InferenceSession(onnx_net.model(alone).SerializeToString())
        (y,) = session.run(None, {"input": np.ones((1, *unit.in_shape), np.float32)})
        assert y.shape[1:] in (unit.out_shape, unit.out_shape[:1])


def test_a_net_of_another_arch_is_refused():
    small = zoo.get("mobilenet_v3_small")
    net = torch_net.build(small)
    with pytest.raises(ValueError, match="belong to 'mobilenet_v3_small', not to 'mnasnet_small'"):
        onnx_net.model(zoo.get("mnasnet_small"), net=net)


def test_peak_activation_of_mobilenet_v2():
    # block 2 expands 112x112x16 to 96 channels, then its depthwise convolution halves the map: 96 channels twice
    assert cost.peak_activation_bytes(zoo.get("mobilenet_v2")) == 4 * 96 * (112 * 112 + 56 * 56)


def test_unknown_network():
    with pytest.raises(ValueError, match="no network 'mobilnet_v2' in the zoo; did you mean mobilenet_v2"):
        zoo.get("mobilnet_v2")


def test_narrower_networks_cost_less():
    for name in zoo.names():
        sizes = [cost.madds(zoo.get(name, width=width)) for width in (0.35, 0.5, 0.75, 1.0, 1.4)]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == len(sizes)


def test_other_classes_and_channels():
    arch = rewrite.in_channels(zoo.get("mnasnet_a1", classes=10), 1)
    assert (arch.in_ch, arch.classes) == (1, 10)
    assert cost.params(zoo.get("mnasnet_a1")) - cost.params(arch) == 990 * 1281 + 2 * 9 * 32
