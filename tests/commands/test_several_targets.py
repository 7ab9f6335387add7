"""A search for several targets, from the command line to what it leaves in the folder of each."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from nas import pareto
from nas.searched import open_search
from tests.commands.test_commands import TINY, command, journal, search
from tests.commands.test_shared_search import SHARED
from tests.nas.test_surrogate import SEARCH

TARGETS = (24, 40, 60)
FAST = ("controller=bayesian",)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    found = command("nas.search", *SEARCH, *FAST, "targets=[40,24,60]", "samples=48", "run_dir=run", cwd=folder)
    assert found.returncode == 0, found.stderr
    return folder, found.stdout


def test_each_target_has_the_best_network_within_it(done):
    folder, said = done
    assert "target      24.0, 40.0 and 60.0 ms, a network for each, on pixel1" in said
    assert "reward      ACC below the target, ACC × (LAT/TAR)^-1 above it" in said
    assert "controller  bayesian for each target, " in said
    assert "│   24.0 │ found" in said
    assert said.rstrip().endswith("in 24ms, 40ms, 60ms: best.json (the network)")
    result = json.loads((folder / "run" / "result.json").read_text())
    trials = open_search(folder / "run").trials
    assert [target["target_ms"] for target in result["targets"]] == list(TARGETS)
    for target in result["targets"]:
        within = [trial.top1 for trial in trials if trial.latency_ms <= target["target_ms"]]
        best = target["best"]
        assert best["latency_ms"] <= target["target_ms"]
        assert best["top1"] == max(within)
        assert best["latency_ms"] > 0.9 * target["target_ms"]
    top1 = [target["best"]["top1"] for target in result["targets"]]
    assert top1 == sorted(top1)
    assert result["pareto_front"] == [trial.sample for trial in pareto.front(trials)]
    page = (folder / "run" / "report.html").read_text()
    assert "<h1>Networks for 24.0, 40.0, 60.0 ms</h1>" in page
    assert "<a href='24ms/report.html'>" in page


def test_the_folder_of_a_target_is_a_run_as_any_other(done):
    folder, _ = done
    run = folder / "run"
    for ms in TARGETS:
        part = run / f"{ms}ms"
        best = json.loads((part / "result.json").read_text())["best"]
        rewards = [trial["reward"] for trial in journal(part)]
        assert best["reward"] == max(rewards)
        assert [trial["indices"] for trial in journal(part)] == [trial["indices"] for trial in journal(run)]
        assert json.loads((part / "best.json").read_text())
    shown = command("nas.trials", "run=run/24ms", "top=3", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    compared = command("nas.compare", "run/24ms", "run/60ms", cwd=folder)
    assert compared.returncode == 0, compared.stderr
    assert "rewards are not of one kind: the runs differ in target" in " ".join(compared.stdout.split())
    of_all = command("nas.trials", "run=run", "top=1", cwd=folder)
    assert "note: run has several targets: rewards are for the one nearest to a network's latency" in of_all.stdout
    more = command("nas.search", *SEARCH, *FAST, "reward=hard", "samples=48", "run_dir=run/24ms", cwd=folder)
    assert more.returncode == 1
    assert "run/24ms is a part of the run run: continue that one, or use another run_dir" in more.stderr
    whole = command("nas.train", "network=run", cwd=folder)
    assert whole.returncode == 1
    assert "network=run has a network for each target; give run/24ms" in whole.stderr


def test_a_reward_that_refuses_a_network_fails_it_for_its_target_only(tmp_path):
    """Also one that is not linear, which no controller is told beforehand."""
    (tmp_path / "own.py").write_text(
        "def only(top1, latency_ms, target_ms):\n"
        "    if latency_ms > 1.5 * target_ms:\n"
        "        raise ValueError('too slow')\n"
        "    return top1 ** 2\n"
    )
    words = ("targets=[40,100]", "reward=own:only", "controller=bayesian", "samples=32", "run_dir=run")
    found = command("nas.search", *SEARCH, *words, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    trials = journal(tmp_path / "run" / "40ms")
    assert all((trial["status"] == "ok") == (trial["latency_ms"] <= 60) for trial in trials)
    assert any(trial["status"] == "ok" for trial in trials)


def test_a_whole_front(tmp_path):
    """Up to the limit, with a network at each of its targets; it goes on with the targets that it began with."""
    words = ("front=true", "limits={pixel1_ms: 60}", *FAST, "batch=20", "run_dir=run")
    found = command("nas.search", *SEARCH, *words, "samples=40", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "target      12.1, 15.2, 19.1, 24.0, 30.2, 37.9, 47.7 and 60.0 ms, a network for each" in found.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [t["folder"] for t in result["targets"]][::7] == ["12.1ms", "60ms"]
    for target in result["targets"]:
        assert 0.8 < target["best"]["latency_ms"] / target["target_ms"] < 1.1
        assert (tmp_path / "run" / target["folder"] / "best.json").exists()
    assert max(trial["latency_ms"] for trial in journal(tmp_path / "run")) <= 60
    more = command("nas.search", *SEARCH, *words, "samples=44", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert len(journal(tmp_path / "run" / "12.1ms")) == 44
    shown = command("nas.trials", "run=run", "top=1", cwd=tmp_path)
    assert "note: run has several targets" in shown.stdout


def test_it_goes_on(done):
    folder, _ = done
    before = journal(folder / "run")
    more = command("nas.search", *SEARCH, *FAST, "targets=[24,40,60]", "samples=56", "run_dir=run", cwd=folder)
    assert more.returncode == 0, more.stderr
    assert journal(folder / "run")[:48] == before
    assert len(journal(folder / "run" / "24ms")) == 56
    other = command("nas.search", *SEARCH, *FAST, "targets=[24,40]", "samples=56", "run_dir=run", cwd=folder)
    assert other.returncode == 1
    assert "targets" in other.stderr


def test_each_winner_is_trained_and_delivered(tmp_path):
    """With own trainings and shared weights; the second time nothing is trained again, and what wins twice once."""
    targets = ("targets=[10,20,20.1]", "final.networks=1", "final.epochs=1", "executor=serial", "tensorboard=true")
    for words in ((*TINY, "run_dir=run"), (*TINY, *SHARED, "run_dir=shared")):
        run = tmp_path / ("shared" if "run_dir=shared" in words else "run")
        done = search(*words, "reward=hard", *targets, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "the best 1 sample for each target, " in done.stdout
        for ms in ("10ms", "20ms", "20.1ms"):
            assert f"the winner for {float(ms[:-2]):.1f} ms, in {run.name}/{ms}:" in done.stdout
            best = json.loads((run / ms / "result.json").read_text())["best"]
            assert 0 <= best["final_test_top1"] <= 1
            assert (run / ms / "best.onnx").exists()
        assert list((run / "tensorboard").iterdir())
        winners = {path.read_text() for path in run.glob("*ms/searched.json")}
        assert len(winners) < 3
        assert done.stdout.count("repeating the winner's final training") == len(winners)
        first, second = (load_file(run / ms / "best.safetensors") for ms in ("20ms", "20.1ms"))
        assert all(np.array_equal(first[name], second[name]) for name in first)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").glob("*ms/best.safetensors")}
    again = search(*TINY, "run_dir=run", "reward=hard", *targets, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(before) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    predicted = command("nas.train", "network=run/10ms", "epochs=1", "dry_run=true", cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("targets=[24]",), "targets= is for two targets or more; for one give target.target_ms=24"),
        (("targets=[24,-1]",), "targets=[24, -1]: it must be numbers above 0"),
        (("targets=[24,many]",), "it must be numbers above 0"),
        (("targets=[5,24]",), "the target, 5 ms, is below all networks of this space"),
        (("targets=[5,24]",), "raise targets"),
        (("targets=[24,40]", "target.target_ms=30"), "targets= takes the place of target.target_ms; leave one out"),
        (("targets=[24,40]", "reward=soft"), "would find one network for all targets"),
        (("targets=[24,40]", "w=-0.15"), "would find one network for all targets"),
        (("targets=[24,40]", "adjust_after=8", "reward=soft", "w_above=-1"), "targets= is not for adjust_after"),
        (("targets=[24,40]", "reward=soft", "w_above=0"), "would find one network for all targets"),
        (("front=true", "targets=[24,40]"), "front=true finds some; leave one out"),
        (("front=true", "target.like=mnasnet_a1"), "front= takes the place of target.like; leave one out"),
        (("front=true", "devices={pixel2: 12}"), "front= is for one device, devices= for one target on each"),
        (
            ("front=true", "limits={pixel1_ms: 5}"),
            "front=true with pixel1_ms=5 in limits leaves nothing to spread targets over: the fastest network of this "
            "space takes 10.8 ms on pixel1; raise that limit",
        ),
        (("front=true", "reward=soft"), "front= with reward=soft would find one network for all targets"),
        (("targets=[24,40]", "weights={pixel1: 2}"), "weights= is for several devices=; leave it out"),
        (("targets=[24.0000001,24.0000002]",), "targets= has two that differ by less than a millionth"),
        (("targets=[24,40]", "reward=nas.pareto:front"), "reward nas.pareto:front"),
        (
            (f"targets={list(range(24, 50))}".replace(" ", ""),),
            "targets= has 26 targets; at most 20 are looked for together",
        ),
        (
            ("targets=[24,40]", "evaluator=proxy_training", "engine=tune"),
            "targets= is not for engine=tune, which knows one target only; leave one out",
        ),
        (
            ("targets=[24,40]", "space=mnasnet", "evaluator=shared_weights", "mode=joint"),
            "targets= is not for mode=joint, which knows one target only; leave one out",
        ),
    ],
)
def test_bad_targets(tmp_path, words, message):
    done = command("nas.search", *SEARCH, "samples=8", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
