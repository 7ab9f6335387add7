"""Published networks as slow as a found one, by what is measured."""

import pytest

import latency_luts
from experiments import photographs
from search_spaces import zoo

SIZES = {"resolution_px": 224, "classes": 1000}


@pytest.mark.parametrize("off", [1.0, 0.8, 1.3])
def test_a_width_takes_as_long_as_is_measured(off):
    """However far the table is off for the network: the next wider one would be slower."""
    model = latency_luts.load("pixel1")
    winner = zoo.get("mnasnet_small", **SIZES)

    def measured(archs):
        return [model.latency_ms(arch) * (1.0 if arch == winner else off) for arch in archs]

    width = photographs._width("mobilenet_v2", winner, model, measured)
    one, wider, winner_ms = measured(
        [*(zoo.get("mobilenet_v2", width=w, **SIZES) for w in (width, round(width + 0.01, 2))), winner]
    )
    assert one <= winner_ms < wider
