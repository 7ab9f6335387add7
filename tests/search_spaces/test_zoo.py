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
    ("efficientnet_lite1", 600_185_232, 5_416_680),
    ("efficientnet_lite2", 859_736_272, 6_092_072),
    ("mixnet_s", 239_173_360, 4_134_606),
    ("mixnet_m", 339_172_672, 5_014_382),
    ("rexnet_1_0", 398_370_392, 4_796_873),
    ("shufflenet_v1", 137_460_672, 1_865_728),
    ("shufflenet_v2", 144_907_992, 2_278_604),
    ("resnet50", 4_089_184_256, 25_557_032),
    ("se_resnet50", 4_091_699_200, 28_088_024),
    ("googlenet", 1_498_376_192, 6_624_904),
    ("inception_v3", 5_713_216_096, 23_834_568),
    ("squeezenet_1_0", 818_924_576, 1_248_424),
    ("squeezenet_1_1", 349_151_936, 1_235_496),
    ("vgg16", 15_470_264_320, 138_357_544),
    ("alexnet", 714_188_480, 61_100_840),
    ("fbnet_a", 249_921_848, 4_321_464),
    ("fbnet_b", 296_614_728, 4_813_048),
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
        ("mobilenet_v1", 0.75, 2_585_560),
        ("mobilenet_v1", 0.25, 470_072),
        ("mobilenet_v3_large_minimalistic", 0.75, 3_050_312),
        ("mixnet_m", 1.3, 7_329_252),
        ("shufflenet_v2", 0.5, 1_366_792),
        ("shufflenet_v2", 1.5, 3_503_624),
        ("shufflenet_v2", 2.0, 7_393_996),
        ("mnasnet_b1", 1.4, 7_115_728),
        ("mnasnet_a1", 1.4, 6_105_992),
    ],
)
def test_width_multipliers_equal_the_reference(name, width, params):
    assert cost.params(zoo.get(name, width=width)) == params


@pytest.mark.parametrize(
    ("groups", "width", "madds", "params"),
    [
        (1, 1.0, 143_078_976, 1_530_936),
        (2, 1.0, 140_836_512, 1_732_848),
        (4, 1.0, 134_339_776, 1_967_344),
        (8, 1.0, 138_365_952, 2_433_768),
        (3, 0.5, 37_589_856, 717_324),
        (8, 0.5, 40_469_760, 1_010_448),
        (3, 1.5, 292_443_552, 3_441_168),
        (8, 2.0, 521_942_016, 6_521_232),
    ],
)
def test_shufflenets_equal_the_authors_code(groups, width, madds, params):
    arch = zoo.get("shufflenet_v1", groups=groups, width=width)
    assert (cost.madds(arch), cost.params(arch)) == (madds, params + 1000)  # theirs has no bias in the classifier


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "shufflenet_v1", "groups": [3]}, r"groups=\[3\]: it must be a whole number"),
        ({"name": "shufflenet_v1", "groups": 5}, "groups=5: shufflenet_v1 has 1, 2, 3, 4, 8"),
        ({"name": "shufflenet_v1", "groups": 2, "width": 0.5}, "shufflenet_v1 with 2 groups has widths 1 and 2"),
        ({"name": "shufflenet_v2", "width": 0.7}, "width=0.7: shufflenet_v2 has the scales 0.5, 1, 1.5, 2"),
        ({"name": "vgg16", "width": 0.5}, "a network with a PlainConv has no width multiplier"),
        ({"name": "resnet50", "groups": 3}, "groups=3 is for shufflenet_v1"),
    ],
)
def test_widths_and_groups_that_do_not_exist(options, message):
    with pytest.raises(ValueError, match=message):
        zoo.get(**options)


@pytest.mark.parametrize("name", zoo.names())
def test_counts_equal_the_published_ones_or_say_why_not(name):
    entry = zoo.entry(name)
    counted = {"madds": cost.madds(entry.arch) / 1e6, "params": cost.params(entry.arch) / 1e6}
    printed = {"madds": entry.madds_m, "params": entry.params_m}
    apart = {
        kind
        for kind, value in counted.items()
        if abs(value / printed[kind] - 1) > 0.005 and abs(value - printed[kind]) > rounding(printed[kind])
    }
    assert bool(apart) == bool(entry.differs), (counted, printed)


def rounding(printed: float) -> float:
    """Half of a unit of the last digit that was printed."""
    return 0.5 * 10.0 ** -len(f"{printed:g}".partition(".")[2])


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


NO_WIDTHS = {"rexnet_1_0", "resnet50", "se_resnet50", "googlenet", "inception_v3", "vgg16", "alexnet"}
NO_WIDTHS |= {"squeezenet_1_0", "squeezenet_1_1"}
SCALES = {"shufflenet_v1": (0.5, 1.0, 1.5, 2.0), "shufflenet_v2": (0.5, 1.0, 1.5, 2.0)}


@pytest.mark.parametrize("name", sorted(NO_WIDTHS))
def test_networks_without_a_width_multiplier_say_so(name):
    with pytest.raises(ValueError, match="has no width multiplier; leave width= out"):
        zoo.get(name, width=0.5)


def test_narrower_networks_cost_less():
    for name in sorted(set(zoo.names()) - NO_WIDTHS):
        sizes = [cost.madds(zoo.get(name, width=width)) for width in SCALES.get(name, (0.35, 0.5, 0.75, 1.0, 1.4))]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == len(sizes)


def test_other_classes_and_channels():
    arch = rewrite.in_channels(zoo.get("mnasnet_a1", classes=10), 1)
    assert (arch.in_ch, arch.classes) == (1, 10)
    assert cost.params(zoo.get("mnasnet_a1")) - cost.params(arch) == 990 * 1281 + 2 * 9 * 32
