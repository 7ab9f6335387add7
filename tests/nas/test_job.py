"""What a search is for: its job, read and checked before anything is measured, and its plan with a latency table."""

import numpy as np
import pytest
from PIL import Image

import latency_luts
from latency_luts import MissingUnitsError, build
from latency_luts.schedule import units_and_samples
from latency_luts.table import MeasuredTable
from nas import plan as plans
from nas.goals import folder
from nas.job import Job, read_job
from nas.plan import make_plan, open_latency
from nas.references import references
from nas.search_options import SearchOptions
from nas_runtime.command import call
from nas_runtime.compose import compose, plain
from nas_runtime.options import read
from search_spaces import rewrite, spaces, zoo
from search_spaces.lower import lower

SMALL = "+target=pixel1_small"


def job(*arguments: str, config: str = "search") -> Job:
    return read_job(read(SearchOptions, plain(compose(config, list(arguments))), arguments))


def planned(*arguments: str) -> plans.Plan:
    found = job(*arguments)
    return make_plan(found, open_latency(found))


@pytest.fixture
def photos(tmp_path):
    """Three classes of a few pictures."""
    for part, count in (("train", 4), ("test", 2)):
        for c, colour in enumerate(("red", "green", "blue")):
            folder = tmp_path / "photos" / part / colour
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (40 + i, 40), (80 * c, 10 * i, 0)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_what_is_compared_has_the_samples_sizes():
    """At 128 px and 10 classes: samples, published networks and the target that one of them sets."""
    found = planned(SMALL, "target.target_ms=null", "target.like=mobilenet_v3_small", "space.resolution_px=128")
    model = latency_luts.load("pixel1")
    like = zoo.get("mobilenet_v3_small", resolution_px=128, classes=10)
    assert found.target_ms == model.latency_ms(like)
    assert references(found.space)["mobilenet_v3_small"] == like
    sample = found.space.decode(found.space.largest)
    for arch in references(found.space).values():
        assert (arch.resolution_px, arch.blocks[-1].out_ch) == (sample.resolution_px, sample.blocks[-1].out_ch)


@pytest.mark.parametrize("rng_seed", range(20))
def test_a_front_s_targets_are_within_reach(rng_seed):
    rng = np.random.default_rng(rng_seed)
    for high_ms in np.exp(rng.uniform(-6, 8, 50)):
        low_ms = high_ms / rng.uniform(plans._LEAST_RANGE, 50)
        targets_ms = plans.spread(low_ms, high_ms)
        assert low_ms <= targets_ms[0]
        assert 0.989 * high_ms <= targets_ms[-1] <= high_ms
        assert len({folder(ms) for ms in targets_ms}) == 8
        steps = np.diff(np.log(targets_ms))
        np.testing.assert_allclose(steps, np.log(high_ms / low_ms) / 7.5, atol=0.021)
        assert (steps > 0).all()
    assert plans.spread(4.25, 10.07)[-1] == 10.0


def test_no_front_and_no_certainty_are_as_if_nothing_was_said():
    for name in ("front", "sure"):
        assert job(SMALL, f"{name}=false").config[name] is None


def test_classes_follow_the_data_unless_given(photos):
    data = ["dataset=image_folder", f"dataset.path={photos}", "dataset.holdout=3"]
    assert job(SMALL, *data).space.decode([0] * 42).blocks[-1].out_ch == 3
    given = job(SMALL, *data, "space.classes=100")
    assert given.space.decode([0] * 42).blocks[-1].out_ch == 100
    assert given.config["space"]["classes"] == 100


def test_the_plan_names_both_sizes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    import nas.search

    assert call(nas.search.main, SearchOptions, [SMALL, "dry_run=true", "space.resolution_px=160"]) == 0
    assert "latencies are for 160 px and 10 classes; trainings use 28 px and 10 classes" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([SMALL, "target.target_ms=1"], "is below all networks .* raise target.target_ms or lower space.base_width"),
        ([SMALL, "target.target_ms=400"], "is above all networks .* lower target.target_ms or raise space.base_width"),
        (
            ["+target=pixel1_large", "space=accel_nasbench", "evaluator=surrogate", "target.target_ms=4000"],
            "is above all networks .* on pixel1; lower target.target_ms or give target.like=mobilenet_v3_small$",
        ),
    ],
)
def test_a_target_out_of_reach_has_remedies_that_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        planned(*arguments)


def test_no_network_is_offered_that_the_table_lacks(monkeypatch):
    def lacking(self, arch):
        raise MissingUnitsError.__new__(MissingUnitsError)

    space = job(SMALL).space
    latency = latency_luts.load("pixel1")
    assert plans._between(space, latency, 0, 1000)
    monkeypatch.setattr(type(latency), "latency_ms", lacking)
    assert plans._between(space, latency, 0, 1000) == []


def test_a_target_for_pictures_of_another_size_is_answered_with_a_network():
    smaller = [SMALL, "space.resolution_px=96"]
    with pytest.raises(ValueError, match=r" or give target\.like=mobilenet_v3_small$"):
        planned(*smaller)
    assert planned(*smaller, "target.like=mobilenet_v3_small").target_ms < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["samples=-1"], "samples=-1: it must be a whole number at least 1"),
        (["retries=-1"], "retries=-1: it must be a whole number at least 0"),
        (["ray.timeout_s=0"], "ray.timeout_s=0: it must be a number above 0"),
        (["evaluator.device=gpu"], "evaluator.device=gpu; did you mean cpu?; allowed: cpu, cuda"),
        (["dataset=cifar10", "dataset.path=nowhere"], "dataset.path=nowhere: there is no such file or folder"),
        (["dataset.train_images=10000000"], "dataset.train_images=10000000: allowed are 1 to 5000"),
        (["executor=dask"], "executor=dask; allowed: ray, serial"),
        (["final.epochs=0"], "final.epochs=0: it must be a whole number at least 1"),
        (["controller.settings.lr=0"], "controller rnn_ppo: lr=0"),
    ],
)
def test_options_are_checked_before_this_machine_is_measured(arguments, message, tmp_path, monkeypatch, capsys):
    import nas.search

    def measured(*_, **__):
        raise AssertionError("measured")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "build_for_space", measured)
    for more in ([], ["dry_run=true"]):
        assert call(nas.search.main, SearchOptions, ["+target=host_small", "tables_dir=.", *arguments, *more]) == 1
        assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_without_a_table_says_that_it_will_be_measured(tmp_path, monkeypatch, capsys):
    import nas.search

    monkeypatch.chdir(tmp_path)
    assert call(nas.search.main, SearchOptions, ["+target=host_small", "tables_dir=.", "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    assert "target      what mobilenet_v3_small takes on host, whose table is measured first" in printed
    assert "estimate    about" in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("space", "unseen"), [("mnasnet", True), ("accel_nasbench", False)])
def test_a_plan_says_what_the_error_of_its_latencies_was_measured_on(space, unseen, tmp_path, monkeypatch, capsys):
    import nas.search

    monkeypatch.chdir(tmp_path)
    assert call(nas.search.main, SearchOptions, ["+target=pixel1_large", f"space={space}", "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    assert " ms on pixel1\nlatency     pixel1: calibrated to" in printed
    assert "with the network's whole family left out (4 families)\n" in printed
    assert ("% of a random network's time (median) is in kinds of units that no network" in printed) == unseen


def test_another_devices_table_is_not_read_from_a_run(tmp_path, capsys, monkeypatch):
    import nas.search

    monkeypatch.chdir(tmp_path)
    tiny = ["space=accel_nasbench", "evaluator=surrogate", "samples=8", "run_dir=run"]
    assert call(nas.search.main, SearchOptions, ["+target=pixel1_large", *tiny]) == 0
    capsys.readouterr()
    other = ["+target=pixel1_large", "target.device=pixel2", *tiny, "dry_run=true"]
    assert call(nas.search.main, SearchOptions, other) == 1
    assert "run holds a run with target.device=pixel1, not target.device=pixel2" in capsys.readouterr().err


def test_a_table_prices_any_number_of_classes(tmp_path, fake):
    """Last layers are measured with 10 and 1000 classes, at the resolution of the space; others are on the line."""
    fake()
    space = spaces.get("mnasnet", base_width=0.35, resolution_px=96, classes=7)
    units, samples = units_and_samples(space)
    assert {unit.block.out_ch for unit in units if type(unit.block).__name__ == "Classifier"} == {10, 1000}
    assert {arch.resolution_px for arch in samples.values()} == {96}
    references = plans.references(space).values()
    model = latency_luts.LatencyModel(
        MeasuredTable(
            device="x",
            identity=build.identity(),
            provenance={"reference_ms": 1.0},
            units={
                build.key(unit): build_timing(unit)
                for unit in {*units, *(u for arch in references for u in lower(rewrite.classes(arch, 1000)))}
            },
        )
    )
    arch = space.decode(space.largest)
    by_classes = {n: model.latency_ms(rewrite.classes(arch, n)) for n in (2, 10, 505, 1000, 1990)}
    assert by_classes[2] == by_classes[10]
    assert by_classes[505] == pytest.approx((by_classes[10] + by_classes[1000]) / 2)
    assert by_classes[1990] - by_classes[1000] == pytest.approx(by_classes[1000] - by_classes[10])
    assert model.latency_ms_batch(space, space.largest[None]) == pytest.approx(model.latency_ms(arch))


def build_timing(unit):
    from latency_luts.table import Timing

    return Timing(ms=2.0 if unit.block.out_ch == 1000 else 1.0, spread=0.01, runs=9, kernels=3)


def test_the_plan_of_a_search_by_ray_tune_says_that_trainings_end_early(tmp_path, monkeypatch, capsys):
    import nas.search

    monkeypatch.chdir(tmp_path)
    assert call(nas.search.main, SearchOptions, [SMALL, "dry_run=true", "engine=tune", "grace_epochs=2"]) == 0
    plan = capsys.readouterr().out
    assert "of which ASHA stops the worse after 2 epochs or later, then" in plan
    assert "estimate    at most " in plan


def test_a_network_on_the_command_line_takes_the_place_of_a_targets_milliseconds():
    like = job(SMALL, "target.like=mobilenet_v3_small").target
    assert (like.target_ms, like.like) == (None, "mobilenet_v3_small")
    assert job(SMALL, "target.like=mobilenet_v3_small", "target.target_ms=15").target.target_ms == 15
    assert job(SMALL).target.target_ms == 15.8


def test_photos_are_searched_small_and_priced_at_their_own_size(photos):
    """A folder of photos is what the network is for; miniature pictures stand in for those of 224 px."""
    data = [SMALL, "dataset=image_folder", f"dataset.path={photos}", "dataset.holdout=3"]
    found = job(*data, "dataset.resolution_px=160")
    assert found.space.decode([0] * 42).resolution_px == 160
    assert found.config["space"]["resolution_px"] == 160
    trainings = found.strategy.trainings
    assert (trainings.data.resolution_px, trainings.facts.resolution_px) == (64, 64)
    given = job(*data, "dataset.resolution_px=160", "evaluator.resolution_px=32", "space.resolution_px=96")
    assert given.space.decode([0] * 42).resolution_px == 96
    assert given.strategy.trainings.facts.resolution_px == 32
    assert found.strategy.trainings.full.recipe.epochs == 30
    assert found.strategy.trainings.full.facts.resolution_px == 160
    assert given.strategy.trainings.full is None  # priced for another size
    longer = job(*data, "dataset.resolution_px=160", "recipe=mobilenet_v3", "final.full_epochs=3").strategy.trainings
    assert (longer.full.recipe.optimizer, longer.full.recipe.epochs, longer.full.recipe.batch) == ("rmsprop", 3, 9)
    said = longer.describe_last()
    assert said.endswith("by the best 4, then 3 epochs at 160 px by the winner (recipe mobilenet_v3)")
    assert longer.minutes(1.0, [found.space.decode([0] * 42)], 1) > 1.0
    miniature = job(SMALL)
    assert miniature.strategy.trainings.full is None
    assert miniature.space.decode([0] * 42).resolution_px == 224
    assert miniature.config["space"] == {**miniature.config["space"], "resolution_px": 224, "classes": 10}
    assert miniature.strategy.trainings.facts.resolution_px == 28


@pytest.mark.parametrize(
    ("arguments", "notes"),
    [
        (["w=-0.15"], ()),
        (
            ["reward=hard", "w=-0.1", "beta=0.3"],
            ("w= means nothing with reward=hard", "beta= means nothing with reward=hard"),
        ),
        (["reward=absolute", "beta=0.3"], ()),
        (["executor=serial", "workers=4"], ("workers= means nothing with executor=serial",)),
        (
            ["recipe=mnasnet"],
            ("recipe= means nothing with images smaller than the 224 px that latencies are for",),
        ),
        (["grace_epochs=2"], ("grace_epochs= means nothing with engine=loop",)),
        (
            ["space=accel_nasbench", "evaluator=surrogate", "final.networks=2"],
            ("final.networks= means nothing with evaluator=surrogate",),
        ),
    ],
)
def test_what_nothing_reads_is_said(arguments, notes):
    assert job(SMALL, *arguments).notes == notes
