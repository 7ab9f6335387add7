"""Tables that are shown, and compared with each other."""

from dataclasses import replace

import numpy as np
import pytest

import latency_luts
from latency_luts import compare, show
from latency_luts.key import key
from latency_luts.options import ShowOptions
from latency_luts.table import Correction, Timing, write
from search_spaces import zoo
from search_spaces.arch import MBConv, SepConv
from search_spaces.lower import lower, unit
from tests.conftest import options_of
from tests.latency_tables import made_up_table


def test_heat_map_of_a_phone():
    model = latency_luts.load("pixel1")
    sizes, widths, ms = show.heat_map(model, show.units_of(model))
    assert sizes == [112, 56, 28, 14, 7]
    assert ms.shape == (5, len(widths))
    assert np.nanmin(ms) > 0
    column = ms[:, widths.index(512)]
    known = column[~np.isnan(column)]
    assert len(known) >= 2
    assert (np.diff(known) < 0).all()  # smaller maps are faster


def test_a_heat_map_has_medians_of_blocks_without_a_stride():
    wide = [MBConv(in_ch=24, mid_ch=mid, out_ch=24, kernel=k) for mid, k in ((65, 3), (128, 3), (100, 5))]
    narrow = MBConv(in_ch=24, mid_ch=64, out_ch=24, kernel=3)
    others = [replace(narrow, stride=2), SepConv(in_ch=24, out_ch=24, kernel=3)]
    ms = {unit(block, 28, 28): t for block, t in zip(wide, (1.0, 2.0, 9.0), strict=True)}
    ms |= {unit(narrow, 7, 7): 0.5} | {unit(block, 28, 28): 100.0 for block in others}
    ms[unit(replace(narrow, kernel=5), 7, 7)] = 0.0  # its neighbours' kernels do all of it
    table = replace(made_up_table(), units={key(each): Timing(t, 0.0, 1) for each, t in ms.items()})
    sizes, widths, medians = show.heat_map(latency_luts.LatencyModel(table), list(ms))
    assert (sizes, widths) == ([28, 7], [64, 128])
    np.testing.assert_array_equal(medians, [[np.nan, 2.0], [0.5, np.nan]])


def test_a_foreign_table_is_shown_harmlessly(tmp_path, capsys, monkeypatch):
    table = made_up_table()
    foreign = replace(table.identity, cpu="\x1b]0;evil\x07 [bold]$x_{$", runtime="\x9b31m")
    units = {**table.units} | {name: replace(table.units[name], ms=0.0) for name in list(table.units)[:200]}
    provenance = {"imported_from": "\x1b[2J.yaml", "note": "\x1b[31m"}
    write(replace(table, identity=foreign, units=units, provenance=provenance), tmp_path / "made_up.json")
    values = {"device": "made_up", "tables_dir": str(tmp_path), "out": str(tmp_path / "map.png")}
    show._main(options_of(ShowOptions, **values))
    printed = capsys.readouterr().out
    assert not set("\x1b\x07\x9b") & set(printed)
    assert "made_up: imported from \\x1b[2J.yaml;" in printed
    assert "[bold]$x_{$" in printed
    assert "covers all networks of: space=mnasnet space.base_width=0.5 space.resolution_px=96\n" in printed
    before = (tmp_path / "map.png").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        show._main(options_of(ShowOptions, **values))
    assert caught.value.filename == str(tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes() == before


def test_common_units_of_two_tables(tmp_path):
    made_up = latency_luts.LatencyModel(made_up_table())
    pixel1 = latency_luts.load("pixel1")
    both = compare.common_units(pixel1, made_up)
    assert {key(each) for each, _, _ in both} == made_up.table.units.keys()
    for each, x, y in both:
        assert x == pixel1.unit_ms(each)
        assert y == made_up.table.units[key(each)].ms
    some = made_up_table()
    nothing, _, *rest = some.units
    some = replace(some, units={nothing: Timing(0.0, 0.0, 1)} | {name: some.units[name] for name in rest})
    fewer = compare.common_units(latency_luts.LatencyModel(some), made_up)
    assert {key(each) for each, _, _ in fewer} == set(rest)  # what takes nothing has no ratio


def test_networks_that_a_table_gives_no_latency_are_not_compared(tmp_path, capsys):
    small, large = zoo.get("mobilenet_v3_small"), zoo.get("mobilenet_v2")
    units = {key(each): Timing(1.0, 0.01, 20) for arch in (small, large) for each in lower(arch)}
    less = Correction(offset_ms=-float(len(small.blocks)))
    write(replace(made_up_table(), units=units, correction=less), tmp_path / "fast.json")
    compare.main(["pixel1", str(tmp_path / "fast.json")])
    printed = capsys.readouterr().out
    assert "mobilenet_v2" in printed
    assert "mobilenet_v3_small" not in printed


def test_compare_needs_two_tables(capsys):
    with pytest.raises(ValueError, match="give two tables: python -m latency_luts.compare A B"):
        compare.main(["pixel1"])
    compare.main(["pixel1", "pixel3"])
    printed = capsys.readouterr().out
    assert "units in both; pixel3 takes" in printed
    assert "mobilenet_v3_large" in printed
