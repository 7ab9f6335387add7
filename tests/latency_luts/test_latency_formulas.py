"""Formulas of latency models by hand: what a unit is made of, what caches save, and what a correction adds."""

import math

import numpy as np
import pytest

from latency_luts import calibrated, interpolated, residence
from latency_luts.table import Correction
from search_spaces.arch import Classifier, MBConv, SepConv
from search_spaces.lower import unit

EXPANDED = MBConv(in_ch=8, mid_ch=24, out_ch=8, kernel=3, stride=2)  # 12 px to 6
GATED = MBConv(in_ch=8, mid_ch=24, out_ch=8, kernel=5, se_ch=4, skip="identity")  # 12 px


def test_what_a_unit_costs_by_hand():
    """Dense multiply-adds, depthwise rows, bytes of activations read and written, operators."""
    dense = 8 * 24 * 144 + 24 * 8 * 36
    rows = 24 * 6 * 3
    values = (8 * 144 + 24 * 144) + (24 * 144 + 24 * 36) + (24 * 36 + 8 * 36)
    assert calibrated.features(unit(EXPANDED, 12, 12)).tolist() == [dense, rows, 4 * values, 3]

    dense = 8 * 24 * 144 + 24 * 4 + 4 * 24 + 24 * 8 * 144
    rows = 24 * 12 * 5
    values = (8 * 144 + 24 * 144) + (24 * 144 + 24 * 144)  # expansion, depthwise
    values += (24 * 144 + 24) + (24 + 4) + (4 + 24) + (24 * 144 + 24 + 24 * 144)  # pooling, two convolutions, product
    values += (24 * 144 + 8 * 144) + (8 * 144 + 8 * 144 + 8 * 144)  # projection, sum
    assert calibrated.features(unit(GATED, 12, 12)).tolist() == [dense, rows, 4 * values, 8]

    classifier = Classifier(in_ch=8, out_ch=10, dropout=0.2)  # dropout does nothing
    assert calibrated.features(unit(classifier, 6, 6)).tolist() == [80, 0, 4 * (8 * 36 + 8 + 8 + 10), 2]


def test_what_a_unit_of_any_width_costs_by_hand():
    """Dense and depthwise multiply-adds, weights, activations, depthwise rows, operators; channels padded to 16."""
    dense = 16 * 32 * 144 + 32 * 16 * 36
    weights = 16 * 32 + 32 * 16
    activations = (32 * 144 + 8 * 144) + (32 * 36 + 24 * 144) + (16 * 36 + 24 * 36)
    found = interpolated._features(unit(EXPANDED, 12, 12), 16).tolist()
    assert found == [dense, 32 * 36 * 9, weights, activations, 32 * 6, 3]
    image = SepConv(in_ch=3, out_ch=8, kernel=3)  # the image's channels are not padded
    dense, depthwise = 3 * 16 * 144, 16 * 144 * 9
    activations = (16 * 144 + 3 * 144) + (16 * 144 + 3 * 144)
    found = interpolated._features(unit(image, 12, 12), 16).tolist()
    assert found == [dense, depthwise, 3 * 16, activations, 16 * 12, 2]


def test_what_caches_save_by_hand():
    assert residence.share(0.0) == 1
    assert residence.share(6.0) == pytest.approx(1 / math.e)
    assert residence.share(3.0, cache_mib=1.5) == pytest.approx(math.exp(-2))
    weights = 8 * 24 + 9 * 24 + 24 * 8 + 2 * (24 + 24 + 8)  # and two numbers a channel
    assert residence.weights_mib(unit(EXPANDED, 12, 12), "fp32") == pytest.approx(4 * weights / 2**20)
    assert residence.weights_mib(unit(EXPANDED, 12, 12), "int8") == pytest.approx(weights / 2**20)


def test_the_correction_s_pieces_add_up_to_its_formula():
    correction = Correction(scale=1.2, per_kernel_ms=-0.01, offset_ms=0.5, saved_by_mib_ms=0.3, cache_mib=2.0)
    saved_ms = 0.3 * 4 * math.exp(-2)
    assert float(correction.saved_ms(4.0)) == pytest.approx(saved_ms)
    assert correction.network_ms(10.0, 30, saved_ms) == pytest.approx(1.2 * (10 - saved_ms) - 0.3 + 0.5)
    units = correction.unit_ms(7.0, 10) + correction.unit_ms(3.0, 20)
    whole = correction.whole_ms(units, 4.0)
    assert float(whole) == pytest.approx(correction.network_ms(10.0, 30, saved_ms))


def test_what_is_taken_off_networks_is_less_for_those_below_the_fit():
    """Down to nothing for a network of nothing: no network takes less than no time, as long as its units take some."""
    correction = Correction(offset_ms=-0.3).of_networks([1.7, 0.2])
    assert correction.smallest_ms == 0.5
    sums = np.array([0.0, 0.1, 0.25, 0.4, 0.6, 2.0])
    wanted = [0, 0.1 * 0.4, 0.25 * 0.4, 0.4 * 0.4, 0.3, 1.7]
    assert correction.whole_ms(sums, 0.0) == pytest.approx(wanted)
    assert [correction.network_ms(ms, 0) for ms in sums] == pytest.approx(wanted)
    assert Correction(offset_ms=-0.3).whole_ms(sums, 0.0) == pytest.approx(sums - 0.3)
    assert Correction(offset_ms=0.2).of_networks([0.7]).whole_ms(sums, 0.0) == pytest.approx(sums + 0.2)
    assert Correction(offset_ms=-0.3).of_networks([0.7, -0.1]).smallest_ms == 0
