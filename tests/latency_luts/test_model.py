"""What a model of latency says of itself, which tables it refuses, and batches piece by piece."""

from dataclasses import replace

import numpy as np
import pytest

import latency_luts
from latency_luts import AtMost, LatencyModel, calibrated, model
from latency_luts.table import CalibratedTable, Correction, NetworkFit, TableError, Validation
from search_spaces import spaces
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.latency_tables import HERE, measured_table

ARCHS = random_archs(2, rng_seed=0)
VALIDATION = Validation(
    nets=7, mape=0.05, within_5pct=0.5, within_10pct=1.0, kendall_tau=0.9, bias=0.0, worst="n", worst_error=-0.123,
    noise=0.01, date="today", networks="random",
)  # fmt: skip


def fit(name: str, left_out_ms: float, **more) -> NetworkFit:
    return NetworkFit(name=name, ms=10.0, fitted_ms=10.0, left_out_ms=left_out_ms, **more)


def measured(*fits: NetworkFit, **changes):
    return replace(measured_table(ARCHS[:1], networks=fits), provenance={"reference_ms": 2.0}, **changes)


def of_phones(*fits: NetworkFit):
    return CalibratedTable(
        device="x", provenance={"fitted_to": "phones"}, costs=dict.fromkeys(calibrated.FEATURES, 1.0), networks=fits
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (measured(), "; error on whole networks unknown"),
        (
            measured(fit("a", 9.0), fit("b", 12.0)),
            "; leave-one-out error 15.0% on 2 networks (worst 20.0%)",
        ),
        (measured(fit("a", 9.0), validation=VALIDATION), "; error 5.0% on 7 other networks (worst 12.3%)"),
        (
            of_phones(fit("a", 9.0), fit("b", 12.0)),
            "; leave-one-out error 15.0% on 2 networks (worst 20.0%), not known with a network's whole family left out",
        ),
        (
            of_phones(fit("a", 9.0, family="f", family_out_ms=8.0), fit("b", 12.0, family="g", family_out_ms=14.0)),
            "(worst 20.0%), 30.0% with the network's whole family left out (2 families)",
        ),
        (
            of_phones(fit("a", 9.0, family="f", family_out_ms=8.0), fit("b", 12.0, family="g")),
            "(worst 20.0%), 20.0% on 1 of them with the network's whole family left out (1 families)",
        ),
    ],
)
def test_a_model_says_its_error(table, said):
    assert LatencyModel(table).describe().endswith(said)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, ", 1 thread;"),
        ({"threads": 2}, ", 2 threads;"),
        ({"batch": 8}, ", 1 thread, batch 8;"),
        ({"threads": 4, "dtype": "int8"}, ", 4 threads, int8;"),
    ],
)
def test_a_model_says_how_its_units_were_measured(how, said):
    assert said in LatencyModel(measured(identity=replace(HERE, **how))).describe()


def test_a_table_that_is_wrong_by_more_than_was_accepted_is_refused():
    """By its latest validation; without one by the networks left out of the fit. What is as wrong as accepted is not
    refused, nor what nobody measured or compared."""
    fits = fit("a", 9.0), fit("b", 12.0)
    LatencyModel(measured(*fits)).check_error(0.15 + 1e-9)
    with pytest.raises(
        TableError, match=r"table of 'test' is 15\.0% off .* table_error=0\.14 is .*table_error=0\.1[56]$"
    ):
        LatencyModel(measured(*fits)).check_error(0.14)
    validated = LatencyModel(measured(*fits, validation=VALIDATION))
    validated.check_error(0.05)
    with pytest.raises(TableError, match=r"is 5\.0% off .* table_error=0\.04 is accepted: .*table_error=0\.05$"):
        validated.check_error(0.04)
    for table in (measured(), replace(measured(*fits), provenance={"imported_from": "a.yaml"}), of_phones(*fits)):
        LatencyModel(table).check_error(0.001)


def test_a_missing_unit_is_found_behind_networks_that_have_all(space, monkeypatch):
    """Of less than a millisecond, in any piece of a batch."""
    rows = space.sample(np.random.default_rng(0), 7)
    known = LatencyModel(measured_table([space.decode(row) for row in rows], ms=0.001))
    whole = known.latency_ms_batch(space, rows)
    assert 0 < whole.min() < whole.max() < 1
    monkeypatch.setattr(model, "_CHUNK", 3)
    np.testing.assert_allclose(known.latency_ms_batch(space, rows), whole, rtol=1e-12)
    np.testing.assert_allclose(whole, [known.latency_ms(space.decode(row)) for row in rows], rtol=1e-12)
    some = LatencyModel(measured_table([space.decode(row) for row in rows[:6]], ms=0.001))
    with pytest.raises(latency_luts.MissingUnitsError):
        some.latency_ms_batch(space, rows)
    assert len(some.latency_ms_batch(space, rows[:6])) == 6


def test_a_model_prices_one_space_after_another():
    narrow, wide = (spaces.get("mnasnet", base_width=width, resolution_px=64) for width in (0.35, 0.5))
    points = narrow.sample(np.random.default_rng(0), 5)
    both = LatencyModel(latency_luts.load("pixel1").table)
    for space in (narrow, wide, narrow):
        expected = [both.latency_ms(space.decode(point)) for point in points]
        np.testing.assert_allclose(both.latency_ms_batch(space, points), expected, rtol=1e-9)
    alone = replace(wide, declaration=None)
    np.testing.assert_allclose(both.latency_ms_batch(alone, points), both.latency_ms_batch(wide, points), rtol=1e-9)


def test_each_unit_is_priced_once_and_may_cost_nothing():
    asked = []

    def price(unit):
        asked.append(unit)
        return -0.5

    found = LatencyModel(measured(correction=Correction(offset_ms=100.0)), prices=price)
    units = lower(ARCHS[0])
    assert found.latency_ms(ARCHS[0]) == found.latency_ms(ARCHS[0]) == pytest.approx(100 - 0.5 * len(units))
    assert len(asked) == len(set(units))
    assert found.unit_ms(units[0]) == 0
    assert found.parts_ms(ARCHS[0]) == [0.0] * len(units)
    assert LatencyModel(measured(), prices=lambda unit: None).unit_ms(units[0]) is None


@pytest.mark.parametrize("ms", [0.0, 1e308])
def test_latencies_are_above_0_and_finite(ms):
    with pytest.raises(
        TableError, match=r"the table of 'test' gives (0|inf) ms for mnasnet at 96 px: it was fitted to"
    ):
        LatencyModel(measured_table(ARCHS[:1], ms=ms)).latency_ms(ARCHS[0])


def test_the_interval_of_a_measured_table_is_what_its_networks_were_off():
    """Of 19 networks the 18th of 20 shares is the 90 %: one is further off."""
    off = [0.02, *(0.001 * i for i in range(1, 18)), 0.5]
    fits = [fit(str(i), 10 * np.exp((-1) ** i * share)) for i, share in enumerate(off)]
    made = LatencyModel(measured(*fits))
    low, high = made.interval_ms(ARCHS[0])
    ms = made.latency_ms(ARCHS[0])
    assert (low, high) == pytest.approx((ms * np.exp(-0.02), ms * np.exp(0.02)))
    assert AtMost(made).latency_ms(ARCHS[0]) == pytest.approx(ms * np.exp(0.02))
    assert LatencyModel(measured(*fits[:8])).interval_ms(ARCHS[0]) is None  # 9 of 9 would have to be known
    low, high = LatencyModel(measured(*fits[:9])).interval_ms(ARCHS[0])
    assert high / ms == pytest.approx(np.exp(0.02))


def test_intervals_of_measured_tables_hold():
    """Nine of ten networks of no fit lie in theirs, in the mean of many tables."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        shares = 0.03 * rng.standard_t(4, 33)
        made = LatencyModel(measured(*(fit(str(i), 10 * np.exp(share)) for i, share in enumerate(shares[:32]))))
        low, high = made.interval_ms(ARCHS[0])
        covered.append(low <= made.latency_ms(ARCHS[0]) * np.exp(shares[32]) <= high)
    assert 0.87 <= np.mean(covered) <= 0.94
