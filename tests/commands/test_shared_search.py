"""Searches with shared weights, as a user runs them, on tiny data."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import latency_luts
from nas.executor import SerialExecutor
from nas.reach import reach
from nas.supernet import prepare
from nas.supernet.evaluator import SharedWeights
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.train import top1
from nas.training.trainer import Trainer
from search_spaces import spaces, torch_net
from tests.commands.test_commands import TINY, command, journal, search

SHARED = [
    "evaluator=shared_weights",
    "samples=6",
    "dataset.train_images=96",
    "evaluator.shared.epochs=3",
    "evaluator.shared.batch=32",
    "evaluator.shared.images=100",
    "run_dir=run",
]


def test_a_search_that_is_killed_is_the_one_under_ray_that_was_not(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    done = search(*SHARED, "executor=ray", "workers=1", cwd=whole)
    assert done.returncode == 0, done.stderr
    assert "shared weights: 9/9 updates, phase 3 of 3 (mixed)" in done.stdout
    assert "as samples and after the final training" in done.stdout
    serial = [*SHARED, "executor=serial", "workers=1"]
    arguments = ["nas.search", "+target=pixel1_small", "w=-0.15", *TINY, *serial]
    ended = command("tests.signalled", "SIGKILL", "journal.jsonl:3", *arguments, cwd=killed)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    weights = (killed / "run" / "shared.safetensors").stat().st_mtime_ns
    done = search(*serial, cwd=killed)
    assert done.returncode == 0, done.stderr
    assert "continuing run after" in done.stdout
    assert (killed / "run" / "shared.safetensors").stat().st_mtime_ns == weights
    assert journal(killed / "run") == journal(whole / "run")
    first, second = (json.loads((folder / "run" / "result.json").read_text()) for folder in (whole, killed))
    assert first["finalists"] == second["finalists"]
    best = first["best"]
    assert best["top1"] == max(first["finalists"], key=lambda row: row["reward"])["top1"] == best["final_holdout_top1"]
    modes = {
        name: (whole / "run" / name).stat().st_mode for name in ("best.safetensors", "shared.safetensors", "best.json")
    }
    assert len(set(modes.values())) == 1, modes  # colleagues may read all or none
    report = (whole / "run" / "report.html").read_text()
    assert "The finalists" in report
    assert "with shared weights" in report
    assert report.index("found, from scratch") < report.index("mobilenet_v3_small")
    done = search(*serial, "final.start=scratch", cwd=killed)
    assert done.returncode == 0, done.stderr
    anew = json.loads((killed / "run" / "result.json").read_text())
    assert "found, from scratch" not in anew["references"]
    assert anew["best"]["final_holdout_top1"] == anew["best"]["top1"]
    assert [row["sample"] for row in anew["finalists"]] == [row["sample"] for row in first["finalists"]]
    assert [row["top1"] for row in anew["finalists"]] != [row["top1"] for row in first["finalists"]]
    assert (first["final_start"], anew["final_start"]) == ("inherited", "scratch")
    done = search(*serial, cwd=killed)  # back again: from the records, but for the winner's weights
    assert done.returncode == 0, done.stderr
    assert json.loads((killed / "run" / "result.json").read_text())["best"] == first["best"]
    refused = search("final.start=inherited", cwd=tmp_path)
    assert "final.start=inherited is for evaluator=shared_weights; without, only final.start=scratch" in refused.stderr


def test_blocks_of_one_kind_share_from_the_start(tmp_path):
    done = search(*SHARED, "space=mobilenet_v3", "executor=serial", "workers=1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "shared weights: 9/9 updates, phase 3 of 3 (mixed)" in done.stdout
    assert "(largest)" not in done.stdout
    assert "What was chosen" in done.stdout


def test_weights_and_controller_are_trained_together(tmp_path):
    joint = [*SHARED, "mode=joint", "executor=serial", "workers=1"]
    done = search(*joint, "reward=absolute", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "controller  reinforce, which learns already while the weights are trained" in done.stdout
    assert "9/9 updates, phase 3 of 3 (mixed)" in done.stdout
    assert "policy: entropy" in done.stdout
    before = journal(tmp_path / "run")
    done = search(*joint, "reward=absolute", "samples=8", cwd=tmp_path)  # goes on with the same controller
    assert done.returncode == 0, done.stderr
    assert journal(tmp_path / "run")[: len(before)] == before
    refused = search(*joint, "adjust_after=4", cwd=tmp_path)
    assert "adjust_after is not for mode=joint; reward=absolute lands on the target" in refused.stderr
    refused = search("mode=joint", cwd=tmp_path)
    assert "mode=joint is for evaluator=shared_weights" in refused.stderr


def test_an_inherited_network_is_as_accurate_alone():
    torch.set_num_threads(1)
    data = sources.load("fashion_mnist_mini", train_images=96, holdout=300)
    trainer = Trainer(data=data, recipe=Recipe())
    space = spaces.get("mnasnet", base_width=0.35)
    from nas.supernet.module import Supernet
    from search_spaces.layout import Layout

    net = Supernet(Layout(space), in_ch=1, classes=10, generator=torch.Generator().manual_seed(0))
    weights = {name: weight.detach().numpy() for name, weight in net.weights.items()}
    evaluator = SharedWeights(
        key="test", space=space, weights=SerialExecutor().share(weights), trainer=trainer, kernels="centre",
        images=300, bn_images=96,
    )  # fmt: skip
    arch = space.decode(space.sample(np.random.default_rng(0), 1)[0])
    evaluation = evaluator.evaluate(arch)
    alone = torch_net.build(trainer.small(arch))
    alone.load_state_dict(evaluator.inherited(arch))
    assert evaluation.top1 == pytest.approx(top1(alone, data.holdout, data), abs=2 / 300)
    with pytest.raises(ValueError, match="is not one of space 'mnasnet'"):
        evaluator.evaluate(spaces.get("mobilenet_v3").decode([0] * 86))


def test_what_a_space_reaches():
    space, latency = spaces.get("mnasnet", base_width=0.35), latency_luts.load("pixel1")
    low_ms, high_ms = reach(space, latency)
    ms = latency.latency_ms_batch(space, space.sample(np.random.default_rng(5), 20_000))
    assert low_ms < ms.min() < ms.max() < high_ms


def test_a_band_without_networks():
    space, latency = spaces.get("mnasnet", base_width=0.35), latency_luts.load("pixel1")
    draw = prepare.within(space, latency, 10.0, 12.0)
    rng = np.random.default_rng(0)
    assert all(10 <= latency.latency_ms_batch(space, draw(rng)[None])[0] <= 12 for _ in range(20))
    with pytest.raises(ValueError, match=r"random networks takes 1\.00 to 1\.10 ms; change space\.base_width"):
        prepare.within(space, latency, 1.0, 1.1)(rng)


def test_a_space_that_is_too_large(monkeypatch):
    from nas.supernet.module import Supernet
    from search_spaces.layout import Layout

    space = spaces.get("mnasnet", base_width=4)
    shapes = Supernet(Layout(space), in_ch=3, classes=1000, device="meta")
    monkeypatch.setattr(os, "sysconf", lambda name: 2**30 if name == "SC_PHYS_PAGES" else 1)
    with pytest.raises(ValueError, match="takes 8.5 GiB, and this machine has 1.0; lower space.base_width"):
        prepare._check_memory(shapes, space)


def test_threads_that_others_will_hold_up(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    for busy, threads, said in ((0.5, 4, False), (1.0, 4, True), (1.5, 2, False), (3.0, 2, True), (3.5, 1, False)):
        monkeypatch.setattr(prepare, "_busy_cores", lambda cores, busy=busy: busy)
        assert ("go on with workers=1" in prepare._busy(threads)) == said, (busy, threads)
    looks = iter([3.0, 3.0, 0.2])  # Ray's workers, which start and then wait
    monkeypatch.setattr(prepare, "_busy_cores", lambda cores: next(looks))
    assert prepare._busy(4) == ""


def test_how_many_cores_others_keep_busy(monkeypatch):
    ticks = iter(["100 10 20 500 5 0 5 10 0 0", "140 10 20 540 5 0 5 30 0 0"])  # 40 of a user, 40 idle, 20 stolen
    monkeypatch.setattr(Path, "read_text", lambda path: f"cpu  {next(ticks)}\ncpu0 1 2 3")
    assert prepare._busy_cores(4, seconds=0) == pytest.approx(4 * 60 / 100)

    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert prepare._busy_cores(4, seconds=0) == 0
