"""The network of a space that is most like a given one."""

import numpy as np
import pytest

from search_spaces import cost, spaces, zoo
from search_spaces.nearest import apart, nearest
from search_spaces.space import SearchSpace

MNASNET = spaces.get("mnasnet", base_width=0.35, resolution_px=64, classes=10)


def test_equal_networks_are_not_apart_and_others_are_both_ways():
    rng = np.random.default_rng(0)
    nets = [MNASNET.decode(point) for point in MNASNET.sample(rng, 12)]
    for a in nets:
        assert apart(a, a) == 0
        for b in nets:
            assert apart(a, b) == pytest.approx(apart(b, a))
            assert (apart(a, b) > 0) == (a != b)


def test_a_block_more_is_a_gap_and_a_kernel_is_little():
    plain = MNASNET.encode({choice.name: choice.options[0] for choice in MNASNET.choices})
    options = MNASNET.describe(plain)
    wider = MNASNET.decode(MNASNET.encode({**options, "block3.kernel": 5}))
    assert 0 < apart(MNASNET.decode(plain), wider) <= 0.2 * 4
    longer = MNASNET.decode(MNASNET.encode({**options, "block3.layers": 1}))
    blocks = len(longer.blocks) - len(MNASNET.decode(plain).blocks)
    assert blocks == 2
    assert apart(MNASNET.decode(plain), longer) == pytest.approx(1.5 * blocks)


def test_a_network_of_the_space_is_found_again():
    """All but one, by changes of single choices."""
    found = 0
    for point in MNASNET.sample(np.random.default_rng(1), 4):
        net = MNASNET.decode(point)
        found += apart(MNASNET.decode(nearest(MNASNET, net)), net) < 0.3
    assert found >= 3


def test_published_networks_in_the_spaces_of_their_kind():
    """MnasNet-A1 is all but a point of its space, and MobileNetV3 nearly one of TuNAS's."""
    for name, base_width, network in (
        ("mnasnet", 1.0, "mnasnet_a1"),
        ("mobilenet_v3", 0.5, "mobilenet_v3_small"),
        ("mobilenet_v3", 1.0, "mobilenet_v3_large"),
    ):
        space = spaces.get(name, base_width=base_width, resolution_px=128, classes=10)
        wanted = zoo.get(network, resolution_px=128, classes=10)
        like = space.decode(nearest(space, wanted))
        assert cost.madds(like) == pytest.approx(cost.madds(wanted), rel=0.1)
        assert cost.params(like) == pytest.approx(cost.params(wanted), rel=0.1)


def test_a_space_that_is_a_function_alone():
    alone = SearchSpace(name="alone", choices=MNASNET.choices, decode=MNASNET.decode)
    net = MNASNET.decode(MNASNET.largest)
    assert apart(alone.decode(nearest(alone, net)), net) < 3
