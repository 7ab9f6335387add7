"""Prices between the widths of a measured table."""

from dataclasses import replace

import numpy as np
import pytest

import latency_luts
from latency_luts.interpolated import InterpolatedModel
from latency_luts.key import nearest, parse
from latency_luts.table import TableError, write
from search_spaces import zoo
from search_spaces.arch import MBConv
from search_spaces.lower import unit
from tests.latency_tables import made_up_table


@pytest.fixture(scope="module")
def interpolated() -> InterpolatedModel:
    return InterpolatedModel(made_up_table())


def test_what_the_table_has_is_taken_as_it_is(interpolated):
    for name, timing in list(interpolated.table.units.items())[::50]:
        assert interpolated.unit_ms(parse(name)) == timing.ms


def test_vector_width_and_error_are_found(interpolated):
    assert interpolated.vector_width == 16
    assert np.median(np.abs(interpolated.left_out_errors)) < 0.1
    assert "interpolated between widths" in interpolated.describe()


def test_widths_between_are_priced_in_steps(interpolated):
    block = MBConv(in_ch=24, mid_ch=72, out_ch=24, kernel=3, skip="identity")
    ms = [interpolated.unit_ms(unit(replace(block, mid_ch=mid), 12, 12)) for mid in (65, 72, 80, 81, 96, 112, 128)]
    assert ms[0] == pytest.approx(ms[2], rel=0.05)
    assert ms[3] > 1.02 * ms[2]
    assert ms[-1] > ms[3]


def test_interpolation_is_a_model_of_its_own(tmp_path):
    write(made_up_table(), tmp_path / "made_up.json")
    arch = zoo.get("mobilenet_v3_small", resolution_px=96)
    with pytest.raises(latency_luts.MissingUnitsError, match=r"has no unit .* \(nearest: "):
        latency_luts.load("made_up", tables_dir=tmp_path).latency_ms(arch)
    assert latency_luts.load("made_up", model="interpolated", tables_dir=tmp_path).latency_ms(arch) > 0
    with pytest.raises(TableError, match="no latency model 'guessed'; there are: table, interpolated"):
        latency_luts.load("made_up", model="guessed", tables_dir=tmp_path)
    with pytest.raises(TableError, match="is calibrated: it prices any unit"):
        latency_luts.load("pixel1", model="interpolated")


def test_interpolation_needs_units():
    table = made_up_table()
    few = replace(table, units=dict(list(table.units.items())[:10]))
    with pytest.raises(TableError, match=r"has 10 units above 0\.001 ms; interpolation needs 30"):
        InterpolatedModel(few)
    seconds = replace(table, units={name: replace(t, ms=t.ms * 1e-6) for name, t in table.units.items()})
    with pytest.raises(TableError, match=r"has 0 units above 0\.001 ms"):
        InterpolatedModel(seconds)


def test_nearest_keys_differ_least():
    wanted = "MBConv(in_ch=24,mid_ch=72,out_ch=40,kernel=5)@56x56"
    known = ["MBConv(in_ch=24,mid_ch=144,out_ch=40,kernel=5)@56x56", "MBConv(in_ch=8,mid_ch=8,out_ch=8,kernel=3)@7x7"]
    assert nearest(wanted, [*known, "ConvBN(in_ch=24,out_ch=40,kernel=5)@56x56"], n=1) == known[:1]
