"""From times to a table: speeds, noise and drift, by hand."""

import pytest

from latency_luts import build, fold
from latency_luts.fold import Context
from latency_luts.key import key
from latency_luts.measurements import ChainTiming
from latency_luts.table import Identity, MeasuredTable, Timing
from search_spaces import zoo
from search_spaces.lower import lower
from tests.conftest import random_archs
from tests.fake_machine import named

HOW = Identity(cpu="x", runtime="y", threads=1, batch=1, dtype="fp32")
NAMES = list(dict.fromkeys(key(unit) for unit in lower(zoo.get("mobilenet_v2"))))


@pytest.mark.parametrize(
    ("ms", "apart"),
    [
        ([1.0, 1.0, 1.2, 1.2], True),  # the middle half spans 0.2, which is more than 15 % of 1.1
        ([1.0, 1.0, 1.1, 1.1], False),
        ([0.2, 1.0, 1.0, 1.0, 9.0], False),  # one at each end does not count
        ([0.001, 0.001, 0.005, 0.005], False),  # 0.004 ms are no noise, however short the unit is
        ([0.001, 0.001, 0.007, 0.007], True),
    ],
)
def test_times_that_differ(ms, apart):
    assert fold.differ(ms) is apart


def test_a_timing_has_the_middle_time_the_median_spread_and_all_runs():
    contexts = [
        Context(ms=0.0, spread=spread, runs=runs, kernels=kernels, mib=0.0, chain_mib=0.0)
        for spread, runs, kernels in ((0.01, 20, 3), (0.05, 30, 3), (0.02, 40, 9))
    ]
    timing = fold._timing(contexts, [2.0, 3.0, 4.0], slower=1.5)
    assert timing == Timing(ms=2.0, spread=0.02, runs=90, kernels=3)


@pytest.mark.parametrize(("neighbours", "slower"), [(7, 1.0), (8, 1.25)])
def test_eight_known_units_say_how_slow_the_machine_is_now(neighbours, slower):
    """By the median; one that takes nothing says nothing."""
    units = {name: Timing(2.0, 0.0, 9) for name in NAMES[:8]} | {NAMES[8]: Timing(0.0, 0.0, 9)}
    table = MeasuredTable(device="x", identity=HOW, provenance={}, units=units)
    now = dict.fromkeys(NAMES[: neighbours - 1], 2.5) | {NAMES[neighbours - 1]: 40.0, NAMES[8]: 7.0, NAMES[9]: 9.0}
    assert fold._slower(now, table) == slower


@pytest.mark.parametrize("slow", [lambda call: call % 3 == 1, lambda call: call % 3 != 1])
def test_a_new_table_has_the_speed_of_the_machines_best_moments(tmp_path, fake, slow):
    """Whether it was slow in a third of the moments or in two thirds."""
    archs = random_archs(8, rng_seed=0)
    fake(slowness=lambda call: 1.4 if slow(call) else 1.0)
    units = {each for arch in archs for each in lower(arch)}
    table = build.build("host", units, named(archs), tmp_path / "host.json")
    assert [timing.ms for timing in table.units.values()] == pytest.approx([1.0] * len(units), abs=1e-5)
    assert table.provenance["reference_ms"] == pytest.approx(2.0)
    assert [n.ms for n in table.networks] == pytest.approx([1.1 * len(arch.blocks) for arch in archs], rel=1e-5)


def test_a_table_that_grows_keeps_the_doubts_about_what_it_had(tmp_path, fake):
    """Measured first on a machine whose speed varied, with a unit that differed; then on a quiet one."""
    first, second = random_archs(2, rng_seed=0)
    noisy, path = key(lower(first)[2]), tmp_path / "host.json"
    moments = iter([1.0, 2.0] * 1000)

    def unit_ms(name: str, call: int) -> float:
        return next(moments) if name == noisy else 1.0

    fake(slowness=lambda call: 1.3 if call % 2 else 1.0, unit_ms=unit_ms)
    before = build.build("host", lower(first), named([first] * 4), path).provenance
    assert before["drift"] > 0.05
    assert before["noisy_units"] == 1
    fake()
    after = build.build("host", {*lower(first), *lower(second)}, {}, path).provenance
    assert (after["drift"], after["noisy_units"]) == (before["drift"], 1)
    assert after["reference_ms"] == before["reference_ms"]


def test_only_units_of_several_moments_say_how_slow_one_was():
    """Three units took half as long again in the second moment; ten others were timed in that one alone."""
    several, once = NAMES[:3], NAMES[3:13]

    def chain(keys: list[str], ms: float, reference_ms: float) -> ChainTiming:
        n = len(keys)
        return ChainTiming(
            keys=tuple(keys), ms=(ms,) * n, spread=(0.0,) * n, kernels=(1,) * n, runs=9, reference_ms=reference_ms
        )

    speeds = fold._speeds([chain(several, 2.0, 1.0), chain([*several, *once], 3.0, 1.0 + 1e-9)])
    assert speeds[1] / speeds[0] == pytest.approx(1.5)
    twice = fold._speeds([chain(several, 2.0, 1.0), chain(several, 4.0, 2.0)])  # the references say it
    assert twice[1] / twice[0] == pytest.approx(2.0)
    assert fold._speeds([]).size == 0
