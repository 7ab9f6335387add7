"""Tables from few latencies: their files, their doubts, and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest

import latency_luts
from latency_luts import few, prior, table
from latency_luts.model import LatencyModel
from latency_luts.unseen import described
from search_spaces import spaces, text, zoo
from tests.commands.test_commands import command

PRIOR = prior.load("tflite_fp32")
LATENCIES_MS = {"mobilenet_v2": 54.8, "mobilenet_v3_small": 14.8, "mobilenet_v1": 79.4, "squeezenet_1_1": 51.7}


def fitted(count):
    names = list(LATENCIES_MS)[:count]
    return few.fit_few("phone", [zoo.get(name) for name in names], [LATENCIES_MS[name] for name in names], PRIOR)


def test_a_table_is_read_as_it_was_written(tmp_path):
    found = fitted(2)
    table.write(found, tmp_path / "phone.json")
    again = table.read(tmp_path / "phone.json")
    assert again == found
    assert again.doubt.prior == "tflite_fp32"
    assert json.loads((tmp_path / "phone.json").read_text())["format"] == 3  # which older versions do not misread
    edited = (tmp_path / "phone.json").read_text().replace("tflite_fp32", "tflite_fp23")
    (tmp_path / "phone.json").write_text(edited)
    with pytest.raises(table.TableError, match="checksum"):
        table.read(tmp_path / "phone.json")


def test_its_latencies_are_those_of_the_formula():
    model = LatencyModel(fitted(3))
    known = model.table.known
    space = spaces.get("mnasnet", base_width=0.5)
    points = space.sample(np.random.default_rng(0), 20)
    archs = [space.decode(point) for point in points]
    ms, deviations = known.predict(np.array([prior.network_features(arch) for arch in archs]))
    np.testing.assert_allclose([model.latency_ms(arch) for arch in archs], ms)
    np.testing.assert_allclose(model.latency_ms_batch(space, points), ms)
    for arch, middle, deviation in zip(archs, ms, deviations, strict=True):
        low, high = model.interval_ms(arch)
        wide = PRIOR.expected(3)[1] * deviation
        assert (low, high) == pytest.approx((middle * np.exp(-wide), middle * np.exp(wide)))
    assert latency_luts.load("pixel1").interval_ms(archs[0]) is None


def test_at_most_is_the_upper_end_of_the_interval():
    """One network and many points alike; what stays to be added is what is expected."""
    model = LatencyModel(fitted(3))
    most = latency_luts.AtMost(model)
    for space in (spaces.get("mnasnet", base_width=0.5), spaces.get("accel_nasbench")):
        points = space.sample(np.random.default_rng(0), 20)
        archs = [space.decode(point) for point in points]
        expected = [model.interval_ms(arch)[1] for arch in archs]
        np.testing.assert_allclose([most.latency_ms(arch) for arch in archs], expected)
        np.testing.assert_allclose(most.latency_ms_batch(space, points), expected)
        undeclared = replace(space, declaration=None)
        np.testing.assert_allclose(most.latency_ms_batch(undeclared, points), expected)
    assert most.interval_ms(archs[0]) == model.interval_ms(archs[0])
    assert sum(most.parts_ms(archs[0])) == pytest.approx(most.latency_ms(archs[0]))
    assert most.describe().endswith("the upper end of a network's 90% interval")
    with pytest.raises(ValueError, match="the table of 'pixel1' does not say how far off it may be"):
        latency_luts.AtMost(latency_luts.load("pixel1"))


def test_a_search_may_be_sure(tmp_path):
    """Its target and its limits are for what networks take at most; it goes on so."""
    (tmp_path / "tables").mkdir()
    table.write(fitted(3), tmp_path / "tables" / "phone.json")
    words = ("+target=pixel1_small", "target.device=phone", "space=accel_nasbench", "evaluator=surrogate", "sure=true")
    words += ("tables_dir=tables", "reward=hard", "controller=bayesian", "target.target_ms=40")
    done = command("nas.search", *words, "run_dir=run", "samples=40", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "what counts is the upper end of a network's 90% interval" in said
    assert "are the upper ends of 90% intervals (sure=true); " in said
    best = json.loads((tmp_path / "run" / "result.json").read_text())["best"]
    arch = text.from_json((tmp_path / "run" / "best.json").read_text())
    model = LatencyModel(fitted(3))
    assert best["latency_ms"] == pytest.approx(model.interval_ms(arch)[1])
    assert model.latency_ms(arch) < 38
    assert 36 < best["latency_ms"] < 40.4
    more = command("nas.search", *words, "run_dir=run", "samples=48", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    trials = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert len(trials) == 49
    unsure = command("nas.search", *words, "limits={pixel1_ms: 20}", "run_dir=other", cwd=tmp_path)
    assert unsure.returncode == 1
    assert "limits has pixel1_ms: the table of 'pixel1' does not say how far off it may be" in unsure.stderr
    assert unsure.stderr.count("\n") == 1


def test_intervals_are_narrower_with_more_networks():
    """In deviations; how many of them hold 90 % depends on the number, too."""
    arch = zoo.get("mnasnet_a1")
    widths = [
        np.diff(np.log(LatencyModel(fitted(count)).interval_ms(arch)))[0] / PRIOR.expected(count)[1]
        for count in (1, 2, 4)
    ]
    assert widths == sorted(widths, reverse=True)


def test_intervals_are_wider_where_latencies_contradict_the_prior():
    archs = [zoo.get(name) for name in LATENCIES_MS][:3]
    usual = [LATENCIES_MS[name] for name in list(LATENCIES_MS)[:3]]
    strange = [usual[0], usual[1] * 2, usual[2] / 2]
    own, odd = (few.fit_few("phone", archs, ms, PRIOR).doubt.deviations for ms in (usual, strange))
    assert own == pytest.approx(PRIOR.expected(3)[1])
    assert odd > 2 * own
    off = np.array([2.0, -1.0, 0.0])  # in deviations, 1 of which is expected
    assert few._wider(off, 1.645) == pytest.approx(np.sqrt((4 + 5) / 7))
    assert few._wider(off, 2 * 1.645) == 1.0


def test_what_it_says_of_its_error():
    """Of a network that is left out nothing is known with one; with few, other devices say more, beside its own."""
    one, several = LatencyModel(fitted(1)), LatencyModel(fitted(4))
    assert one.error is None
    assert several.error.networks == 4
    assert "calibrated to 1 latency, with the prior of one core of a phone with TensorFlow Lite, fp32" in one.describe()
    assert f"error expected to be {PRIOR.expected(1)[0]:.1%}, as of such devices from 1 network" in one.describe()
    assert f"from 4 networks; {several.error.mape:.1%} with each of them left out" in several.describe()
    assert "; 90% interval " in described(one, zoo.get("mnasnet_a1"))


def test_a_network_that_is_left_out_is_not_in_its_fit():
    full, without = fitted(4), fitted(3)
    x = prior.network_features(zoo.get("squeezenet_1_1"))[None]
    (ms,), _ = without.known.predict(x)
    assert full.networks[3].left_out_ms == pytest.approx(ms)
    assert full.networks[3].family_out_ms == pytest.approx(ms)


def test_what_the_formula_cannot_tell_apart_is_left_out_together():
    archs = [zoo.get("mobilenet_v2"), replace(zoo.get("mobilenet_v2"), name="twin"), zoo.get("mobilenet_v1")]
    first, twin, _ = few.fit_few("phone", archs, [50.0, 51.0, 80.0], PRIOR).networks
    assert first.left_out_ms == twin.left_out_ms
    (ms,), _ = few.fit_few("phone", archs[2:], [80.0], PRIOR).known.predict(prior.network_features(archs[0])[None])
    assert first.left_out_ms == pytest.approx(ms)


def test_what_to_measure_next():
    known = fitted(2).known
    name, less = few.next_network(known, [zoo.get("mobilenet_v2"), zoo.get("mobilenet_v3_small")])
    assert name not in ("mobilenet_v2", "mobilenet_v3_small")
    assert 0 < less < 1
    every = [zoo.get(name, width=width) for name in few._NEXT for width in (0.5, 1.0) if "squeeze" not in name]
    assert few.next_network(known, [*every, zoo.get("squeezenet_1_1")]) is None


def run(tmp_path, rows, *words, head="network,resolution_px,latency_ms"):
    (tmp_path / "phone.csv").write_text("\n".join([head, *rows]) + "\n")
    return command(
        "latency_luts.calibrate", "device=phone", "latencies=phone.csv", "tables_dir=tables", *words, cwd=tmp_path
    )


ROWS = [f"{name},224,{ms}" for name, ms in LATENCIES_MS.items()]
MANY = [*ROWS, "mobilenet_v3_large,224,43.8", "mnasnet_b1,224,56.0"]


def test_with_many_the_nearest_way_is_taken(tmp_path):
    done = run(tmp_path, MANY)
    assert done.returncode == 0, done.stderr
    assert "leave-one-out error" in " ".join(done.stdout.split())


def test_of_one_network_nothing_is_left_out(tmp_path):
    done = run(tmp_path, ROWS[:1], "prior=tflite_fp32")
    (row,) = [line for line in done.stdout.splitlines() if "mobilenet_v2 " in line and "│" in line]
    assert row.count("%") == 0


@pytest.mark.parametrize("count", [1, 3])
def test_the_command_makes_a_table_from_few(tmp_path, count):
    done = run(tmp_path, ROWS[:count], "prior=tflite_fp32")
    assert done.returncode == 0, done.stderr
    assert "in 90% of cases" in done.stdout
    assert "to know more, measure " in done.stdout
    known = LatencyModel(table.read(tmp_path / "tables" / "phone.json"))
    assert known.latency_ms(zoo.get("mobilenet_v2")) == pytest.approx(54.8, rel=0.1)
    more = ("space=accel_nasbench", "evaluator=surrogate", "target.target_ms=60", "samples=16", "tables_dir=tables")
    searched = command("nas.search", "+target=pixel1_large", "target.device=phone", *more, cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr
    assert "90% interval" in " ".join(searched.stdout.split())


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        (
            [row + "e3" for row in ROWS],
            ("prior=tflite_fp32",),
            "be milliseconds (these would fit as microseconds); if",
        ),
        ([row + "e-3" for row in ROWS], ("prior=tflite_fp32",), "would fit as seconds)"),
        ([row + "e6" for row in MANY], (), "latencies must be milliseconds; if they are, it is another sort of device"),
        (
            ROWS[:3],
            (),
            "has 3 networks, and from scratch 5 are needed; say what the device is like: prior=ncnn for one",
        ),
        (ROWS[:3], ("prior=null",), "3 different networks for 4 coefficients; give at least 5"),
        (ROWS[:3], ("prior=tflite",), "prior=tflite; did you mean"),
        (
            ROWS,
            ("prior=tflite_fp32", "correct=pixel1"),
            "is for latencies of a file, and not for correct=; leave one out",
        ),
        ([ROWS[0], "mobilenet_v3_small,224,150"], ("prior=tflite_fp32",), "the leave-one-out error is "),
    ],
)
def test_what_the_command_refuses(tmp_path, rows, words, message):
    done = run(tmp_path, rows, *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "tables").exists()


def test_latencies_of_several_set_ups_have_no_prior(tmp_path):
    rows = [f"{row},{which}" for row in ROWS[:2] for which in ("a", "b")]
    done = run(tmp_path, rows, "prior=tflite_fp32", head="network,resolution_px,latency_ms,source_set")
    assert done.returncode == 1
    assert "prior= is for latencies of one set-up, not of 2 (a, b)" in done.stderr


def test_integers_have_a_prior_of_their_own(tmp_path):
    rows = [f"{row},{dtype}" for row in ROWS[:2] for dtype in ("int8", "fp16")]
    done = run(tmp_path, rows, "prior=tflite_int8", head="network,resolution_px,latency_ms,dtype")
    assert done.returncode == 0, done.stderr
    assert "with TensorFlow Lite, int8" in " ".join(done.stdout.split())
    assert table.read(tmp_path / "tables" / "phone.json").dtype == "int8"
    none = run(tmp_path, rows[1::2], "prior=tflite_int8", head="network,resolution_px,latency_ms,dtype")
    assert "has no line of dtype int8, only of fp16" in none.stderr
