"""An error is told of what took no part in a fit: each test fails if some of it did."""

import json

import numpy as np
import pytest

from latency_luts import build, validate
from latency_luts.interpolated import InterpolatedModel
from latency_luts.key import key
from latency_luts.options import ValidateOptions
from latency_luts.table import Identity, MeasuredTable, Timing
from search_spaces import zoo
from search_spaces.arch import MBConv
from search_spaces.lower import lower, unit
from tests.conftest import options_of

DRAWN = {"widths": [0.35], "resolution_px": 32, "names": ["mnasnet"], "rng_seed": 0}


def units_of(arch) -> tuple[str, ...]:
    return tuple(map(key, lower(arch)))


def test_validation_draws_no_network_of_the_fit(monkeypatch):
    """Neither a random one nor one of the zoo, whatever the table was fitted to: here to all that would be drawn."""
    first = validate.sample(40, **DRAWN)
    fitted = set(map(units_of, first))
    others = validate.sample(40, **DRAWN, fitted=fitted)
    assert len(others) == len(first) == 40
    assert fitted.isdisjoint(map(units_of, others))
    assert {arch.name for arch in first} >= set(zoo.names(mobile=True))
    assert {arch.name for arch in others}.isdisjoint(zoo.names())
    monkeypatch.setattr(validate, "_DRAWS", 0)
    with pytest.raises(ValueError, match=r"space 'mnasnet' of width 0\.35 has hardly a network that the table was not"):
        validate.sample(40, **DRAWN)


def test_a_table_is_not_validated_by_networks_of_its_own_fit(tmp_path, fake):
    drawn = validate.sample(10, **DRAWN)
    fake()
    build.build("host", {each for arch in drawn for each in lower(arch)}, {a.name: a for a in drawn},
                tmp_path / "host.json")  # fmt: skip
    asked = {"nets": 10, "bursts": 4, "resolution_px": 32, "widths": [0.35], "spaces": ["mnasnet"]}
    validate._main(options_of(ValidateOptions, **asked, tables_dir=str(tmp_path)))
    report = json.loads((tmp_path / "validation.json").read_text())
    validated = {network["name"] for network in report["networks_measured"]}
    assert len(validated) == 10
    assert validated.isdisjoint(arch.name for arch in drawn)


def test_an_interpolated_unit_s_error_is_that_of_a_table_without_its_width():
    """Every width is off by a factor of its own, which only the unit itself and others of its width know."""
    units = {}
    for i, ch in enumerate((8, 16, 24, 40, 64, 96, 160, 256)):
        block, factor = MBConv(in_ch=ch, mid_ch=3 * ch, out_ch=ch, kernel=3), (0.5, 2.0)[i % 2]
        for px in (13, 14, 15, 16, 17, 18):
            units[key(unit(block, px, px))] = Timing(1e-6 * factor * px**2 * ch**2, 0.0, 1)
    how = Identity(cpu="x", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")
    model = InterpolatedModel(MeasuredTable(device="x", identity=how, provenance={}, units=units))
    assert len(model.left_out_errors) == len(units)
    assert np.median(np.abs(model.left_out_errors)) > 0.25
