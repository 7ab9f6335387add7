"""Searches with limits, ends and warm starts, from the command line to what they leave."""

import json
import shutil

import numpy as np
import pytest

from nas.searched import open_search
from search_spaces import zoo
from search_spaces.nearest import apart
from tests.commands.test_commands import command, journal
from tests.nas.test_surrogate import SEARCH


def test_a_search_with_limits_and_its_continuation(tmp_path):
    """Every network that is evaluated meets them; the run goes on with the tables that it began with."""
    limits = "limits={pixel2_ms: 70, params_m: 4, peak_memory_mb: 12}"
    words = (*SEARCH, "reward=absolute", limits, "batch=8", "run_dir=run")
    done = command("nas.search", *words, "samples=32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "limits      pixel2_ms at most 70, params_m at most 4, peak_memory_mb at most 12; " in done.stdout
    assert "limits: found has pixel2_ms " in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {name: limit["most"] for name, limit in result["limits"].items()} == {
        "pixel2_ms": 70, "params_m": 4, "peak_memory_mb": 12,
    }  # fmt: skip
    for trial in journal(tmp_path / "run"):
        costs = trial["costs"]
        assert costs["pixel2_ms"] <= 70
        assert costs["params_m"] <= 4
        assert costs["peak_memory_mb"] <= 12
    assert "Limits: pixel2_ms " in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "table_pixel2.json").exists()
    more = command("nas.search", *words, "samples=40", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert len(journal(tmp_path / "run")) == 40
    other = command("nas.search", *words, "samples=40", "limits={params_m: 3}", cwd=tmp_path)
    assert other.returncode == 1
    assert "limits" in other.stderr


def test_a_search_for_several_devices(tmp_path):
    """What counts is the worst of LAT/TAR; each device's milliseconds are kept, and their tables."""
    words = (*SEARCH, "controller=bayesian", "reward=absolute", "target.target_ms=50", "batch=8", "run_dir=run")
    words = (*words, "devices={pixel2: 35}")
    done = command("nas.search", *words, "samples=32", "limits={params_m: 4}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "devices     50.0 ms on pixel1, 35.0 ms on pixel2; of LAT/TAR there the largest counts" in done.stdout
    assert "devices: found has " in done.stdout
    for trial in journal(tmp_path / "run"):
        costs = trial["costs"]
        assert set(costs) == {"pixel1_ms", "pixel2_ms", "params_m"}
        assert trial["latency_ms"] == pytest.approx(50 * max(costs["pixel1_ms"] / 50, costs["pixel2_ms"] / 35))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    its = result["devices"]
    assert {device: row["target_ms"] for device, row in its.items()} == {"pixel1": 50, "pixel2": 35}
    shares = [row["latency_ms"] / row["target_ms"] for row in its.values()]
    assert max(shares) == pytest.approx(result["best"]["latency_ms"] / 50)
    assert "<p>Devices: " in (tmp_path / "run" / "report.html").read_text()
    (tmp_path / "run" / "table_pixel2.json").rename(tmp_path / "table.json")
    more = command("nas.search", *words, "samples=40", "limits={params_m: 4}", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    other = command(
        "nas.search", *words, "samples=40", "limits={params_m: 4}", "weights={pixel1: 1, pixel2: 2}", cwd=tmp_path
    )
    assert other.returncode == 1
    assert "weights" in other.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("devices={pixel1: 30}",), "devices= has pixel1, which is the target's own; its milliseconds are"),
        (("devices={pixel9: 30}",), "devices has pixel9: "),
        (("devices={pixel2: -3}",), "it must be names with numbers above 0"),
        (("devices={pixel2: 3}",), "no network of this space takes as little as 3 ms on pixel2; the fastest takes 1"),
        (("devices={pixel2: 30}", "targets=[40,50]"), "targets= is for one device, devices= for one target on"),
        (
            ("devices={pixel2: 30}", "weights={pixel2: 1}"),
            "weights= must have a weight for each device: pixel1, pixel2",
        ),
        (("weights={pixel2: 1}",), "weights= is for several devices=; leave it out"),
    ],
)
def test_bad_devices(tmp_path, words, message):
    done = command("nas.search", *SEARCH, "samples=8", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_search_ends_by_patience_and_goes_on_with_more_of_it(tmp_path):
    words = (*SEARCH, "reward=absolute", "samples=400", "batch=8", "run_dir=run")
    done = command("nas.search", *words, "patience=12", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = journal(tmp_path / "run")
    assert len(before) % 8 == 0
    assert 13 <= len(before) < 400
    assert f"sampling ends after {len(before)} samples: none of the last " in done.stdout
    more = command("nas.search", *words, f"samples={len(before) + 8}", "patience=400", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert journal(tmp_path / "run")[: len(before)] == before
    assert len(journal(tmp_path / "run")) == len(before) + 8
    again = command("nas.search", *words, "patience=1", "max_minutes=0.001", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["samples"] >= len(before) + 8  # what is kept counts


def test_minutes_end_a_search(tmp_path):
    words = (*SEARCH, "samples=100000", "controller=random", "max_minutes=0.02", "run_dir=run")
    done = command("nas.search", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "samples: max_minutes=0.02 are over" in done.stdout


def test_published_networks_are_the_first_samples(tmp_path):
    """For a controller without a model, and led to where limits are met."""
    words = (*SEARCH, "warm_start=[mnasnet_a1]", "controller=random", "limits={params_m: 3}", "samples=16", "batch=16")
    done = command("nas.search", *words, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warm start  networks like mnasnet_a1 first, with 7 around each" in done.stdout
    trials = journal(tmp_path / "run")
    space = open_search(tmp_path / "run").space
    wanted = zoo.get("mnasnet_a1", resolution_px=224, classes=1000)
    distances = [apart(space.decode(trial["indices"]), wanted) for trial in trials]
    assert distances[0] < np.median(distances[8:])
    assert np.mean(distances[:8]) < np.mean(distances[8:])
    assert len({tuple(trial["indices"]) for trial in trials[:8]}) == 8
    assert max(trial["costs"]["params_m"] for trial in trials) <= 3


def test_a_search_for_another_target_begins_with_an_earlier_one(tmp_path):
    """Its first batch is at the new target; it goes on when the earlier run is gone."""
    words = (*SEARCH, "reward=absolute", "batch=8")
    first = command("nas.search", *words, "samples=64", "run_dir=first", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    words = (*words, "target.target_ms=40", "warm_start=first", "run_dir=second")
    second = command("nas.search", *words, "samples=8", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "warm start  64 networks of 1 earlier run" in second.stdout
    trials = journal(tmp_path / "second")
    assert np.median([trial["latency_ms"] for trial in trials]) == pytest.approx(40, rel=0.05)
    best = json.loads((tmp_path / "first" / "result.json").read_text())["best"]["top1"]
    assert np.mean([trial["top1"] for trial in trials]) > best - 0.03
    shutil.rmtree(tmp_path / "first")
    more = command("nas.search", *words, "samples=16", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert journal(tmp_path / "second")[:8] == trials


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("warm_start=nowhere",), "warm_start: there is no run nowhere; give folders of searches, or networks of the"),
        (("warm_start=mnasnet_a11",), "warm_start: there is no run mnasnet_a11; did you mean mnasnet_a1?; give"),
        (("warm_start=.",), "warm_start: . holds no search; give the folder of a run of nas.search"),
        (("warm_start=run", "reward=own:squared"), "rewards that are linear in the accuracy, not reward=own:squared"),
        (
            ("warm_start=mnasnet_a1", "mode=joint", "evaluator=shared_weights", "space=mnasnet"),
            "warm_start= is not for mode=joint",
        ),
        (("warm_start=[1]",), "it must be a path, or several, like [runs/a,runs/b]"),
        (
            ("warm_start=run", "controller=evolution"),
            "takes runs for controllers with a model, as rnn_ppo and bayesian, not evolution",
        ),
        (
            ("warm_start=run", "space=mobilenet_v3", "evaluator=proxy_training"),
            "none of the 8 networks of run is of space",
        ),
    ],
)
def test_bad_warm_starts(tmp_path_factory, words, message):
    folder = tmp_path_factory.getbasetemp() / "warm"
    if not (folder / "run").exists():
        folder.mkdir(exist_ok=True)
        (folder / "own.py").write_text("def squared(top1, latency_ms, target_ms):\n    return top1**2\n")
        done = command("nas.search", *SEARCH, "samples=8", "batch=8", "run_dir=run", cwd=folder)
        assert done.returncode == 0, done.stderr
    done = command("nas.search", *SEARCH, *words, "dry_run=true", cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_limit_by_itself_is_told_how_it_is_written(tmp_path):
    done = command("nas.search", *SEARCH, "limits.params_m=3", "dry_run=true", cwd=tmp_path)
    assert done.returncode == 1
    assert "limits is set as a whole; where it takes names, write 'limits={params_m: ...}'" in done.stderr
