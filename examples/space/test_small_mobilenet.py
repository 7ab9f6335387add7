import numpy as np
from small_mobilenet import make

import latency_luts
from nas.testing import check_space
from search_spaces import spaces
from search_spaces.layout import Layout
from search_spaces.lower import lower


def test_it_is_a_space():
    check_space(make)


def test_it_is_found_by_name():
    space = spaces.get("small_mobilenet", resolution_px=96, classes=10)
    assert (space.name, space.size) == ("small_mobilenet", (2 * 2 * 3) ** 4)


def test_a_latency_table_has_few_units_for_many_networks():
    space = make()
    networks = [space.decode(point) for point in space.sample(np.random.default_rng(0), 200)]
    assert len(space.units()) < 200 < space.size
    assert space.units().issuperset(unit for arch in networks for unit in lower(arch))


def test_latencies_of_100_000_networks_at_once():
    space, model = make(), latency_luts.load("pixel1")
    ms = model.latency_ms_batch(space, space.sample(np.random.default_rng(0), 100_000))
    assert ms.shape == (100_000,)
    assert 0 < ms.min() < ms.max()


def test_its_networks_share_weights():
    space = make()
    arch = space.decode(space.largest)
    assert len(Layout(space).positions(arch)) == len(arch.blocks)
