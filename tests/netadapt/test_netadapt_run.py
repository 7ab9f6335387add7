"""`python -m netadapt.run`: a whole adaptation on a little data, interrupted and continued, and wrong command lines."""

import json
import re
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

import latency_luts
import nas.search
import netadapt.run
from latency_luts import table
from nas.search_options import SearchOptions
from nas.seeds import final_seed
from nas_runtime.command import call
from netadapt.options import NetadaptOptions
from search_spaces import rewrite, text, torch_net, zoo
from tests.commands.test_commands import command, unchanged

TINY = (
    "width=0.35",
    "executor=serial",
    "epochs=1",
    "final_epochs=1",
    "fine_tune.steps=1",
    "ratio=0.97",
    "kinds=expansion",
    "dataset.train_images=128",
    "dataset.holdout=100",
)


SECOND = ("final=finetune", "inherit=taylor", "rungs=[0]", "selection=accuracy", "compare=[chance]", "final_repeats=2")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("netadapt")
    done = command("netadapt.run", "seed=mnasnet_small", *TINY, "run_dir=run", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd, done.stdout


def test_a_run_leaves_everything(adapted):
    cwd, printed = adapted
    run = cwd / "run"
    result = json.loads((run / "result.json").read_text())
    assert result["reached_ms"] <= result["target_ms"] < result["seed_ms"]
    assert result["steps"][0]["saved_ms"] >= 0.01 * result["seed_ms"] * 0.999
    arch = text.from_json((run / "searched.json").read_text())
    assert arch == text.from_dict(result["adapted"]) != zoo.get("mnasnet_small", width=0.35)
    assert list(result["networks"])[:3] == ["adapted", "seed", "uniform scaling"]
    trained = text.from_json((run / "best.json").read_text())
    assert torch_net.load(run).arch == trained != arch
    assert len((run / "labels.txt").read_text().splitlines()) == trained.classes == 10
    for name in (
        "best.onnx",
        "best.safetensors",
        "preprocess.json",
        "report.html",
        "path.png",
        "widths.png",
        "history.jsonl",
    ):
        assert (run / name).stat().st_size > 500
    assert "step   1: expansion of block" in printed
    assert result["blocks"][0].startswith("cn_r1_k3_s2_c")


def test_reading_a_run_writes_nothing(adapted, monkeypatch, capsys):
    cwd, _ = adapted
    monkeypatch.chdir(cwd)
    with unchanged(cwd / "run"):
        its = ["seed=mnasnet_small", *TINY, "run_dir=run", "dry_run=true"]
        assert call(netadapt.run.main, NetadaptOptions, its) == 0
        assert call(netadapt.run.main, NetadaptOptions, ["seed=run", "dry_run=true"]) == 0
        assert call(nas.search.main, SearchOptions, ["+target=pixel1_small", "run_dir=run"]) == 1
        assert "run holds a run of netadapt, not of search; use another run_dir, or" in capsys.readouterr().err
        assert torch_net.load(cwd / "run").arch.classes == 10


def test_a_run_continues_where_it_was_killed(adapted):
    """Half of the history, cut in the middle of a line, and no step's network: the same result, the rest done again."""
    cwd, _ = adapted
    run = cwd / "run"
    whole = (run / "history.jsonl").read_bytes()
    before = json.loads((run / "result.json").read_text())
    half = whole[: len(whole) // 2]
    (run / "history.jsonl").write_bytes(half)
    for file in (run / "steps").iterdir():
        file.unlink()
    done = command("netadapt.run", "seed=mnasnet_small", *TINY, "run_dir=run", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert "continuing run after" in done.stdout
    after = json.loads((run / "result.json").read_text())
    assert after["steps"] == before["steps"]
    assert after["adapted"] == before["adapted"]
    again = (run / "history.jsonl").read_bytes()
    kept = half[: half.rfind(b"\n") + 1]
    assert again.startswith(kept)
    assert len(again.splitlines()) == len(whole.splitlines())


def test_a_continued_run_keeps_the_table_it_began_with(adapted, tmp_path):
    """A device's table changes (units are added, it is fitted again); a run that has begun does not see that."""
    cwd, _ = adapted
    shutil.copytree(cwd / "run", tmp_path / "run")
    kept = latency_luts.load(tmp_path / "run" / "table.json").table
    assert isinstance(kept, table.CalibratedTable)
    table.write(replace(kept, costs={name: 2 * cost for name, cost in kept.costs.items()}), tmp_path / "pixel1.json")
    settings = ["seed=mnasnet_small", *TINY, "tables_dir=.", "dry_run=true"]
    new, continued = (command("netadapt.run", *settings, *more, cwd=tmp_path) for more in ([], ["run_dir=run"]))
    new_ms, continued_ms = (float(re.findall(r": ([\d.]+) ms", done.stdout)[0]) for done in (new, continued))
    assert new_ms == pytest.approx(2 * continued_ms, rel=0.02)


def test_a_file_of_ones_own_with_weights_halving_and_fine_tuning_at_the_end(adapted):
    """What a run leaves is a seed for the next one; half of the proposals are dropped after a look at them."""
    cwd, _ = adapted
    settings = [*TINY, *SECOND]
    seed = ["seed=run/searched.json", "weights=run/best.safetensors", "width=1"]
    done = command("netadapt.run", *settings, *seed, "run_dir=second", cwd=cwd)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((cwd / name / "result.json").read_text()) for name in ("run", "second"))
    assert second["seed"] == first["adapted"]
    assert "training the seed" not in done.stdout
    assert list(second["networks"]) == ["adapted", "by chance"]
    assert [len(r["test_top1s"]) for r in second["networks"].values()] == [2, 2]
    records = [json.loads(line)["record"] for line in (cwd / "second" / "history.jsonl").read_text().splitlines()[1:]]
    finals = [json.loads(line)["record"] for line in (cwd / "second" / "final.jsonl").read_text().splitlines()[1:]]
    assert {(r["network"], r["rng_seed"]) for r in finals} == {
        (name, final_seed(0, i)) for name in second["networks"] for i in range(2)
    }
    of_first = [r["updates"] for r in records if r["step"] == 1]
    assert of_first.count(1) == -(-of_first.count(0) // 2) > 1
    looked = {r["group"]: r["top1"] for r in records if r["step"] == 1 and r["updates"] == 0}
    went_on = {r["group"] for r in records if r["step"] == 1 and r["updates"] == 1}
    assert min(looked[g] for g in went_on) >= max(looked[g] for g in looked.keys() - went_on)


def test_the_files_belong_to_the_result(adapted, tmp_path):
    """Another final training replaces the network's files, and the first one again brings back its own."""
    cwd, _ = adapted
    shutil.copytree(cwd / "run", tmp_path / "run")
    command("netadapt.run", "seed=mnasnet_small", *TINY, "compare=[]", "final=finetune", "run_dir=run", cwd=tmp_path)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() != (cwd / "run" / "best.safetensors").read_bytes()
    done = command("netadapt.run", "seed=mnasnet_small", *TINY, "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [json.loads((where / "run" / "result.json").read_text()) for where in (cwd, tmp_path)]
    assert results[0]["networks"]["adapted"]["test_top1s"] == results[1]["networks"]["adapted"]["test_top1s"]
    files = [load_file(where / "run" / "best.safetensors") for where in (cwd, tmp_path)]
    assert all(np.array_equal(files[0][name], files[1][name]) for name in files[0])


def test_the_better_of_two_last_trainings_is_delivered(adapted, tmp_path):
    cwd, _ = adapted
    shutil.copytree(cwd / "run", tmp_path / "run")
    words = ("seed=mnasnet_small", *TINY, "compare=[]", "final=both", "run_dir=run")
    done = command("netadapt.run", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    networks = result["networks"]
    assert list(networks) == ["adapted", "adapted, from scratch"]
    better = max(networks, key=lambda name: networks[name]["holdout_top1"])
    assert result["delivered"] == better
    assert f"delivered is {better}" in " ".join(done.stdout.split())
    kind = {"adapted": "finetune", "adapted, from scratch": "scratch"}[better]
    files = [load_file(tmp_path / "run" / f / "best.safetensors") for f in (f"final_{kind}", ".")]
    assert all(np.array_equal(files[0][name], files[1][name]) for name in files[0])
    before = json.loads((cwd / "run" / "result.json").read_text())["networks"]["adapted"]
    assert networks["adapted, from scratch"]["test_top1s"] == before["test_top1s"]


def test_another_seed_under_the_same_name_is_refused(adapted, tmp_path):
    cwd, _ = adapted
    shutil.copytree(cwd / "second", tmp_path / "second")
    shutil.copytree(cwd / "run", tmp_path / "run")
    other = zoo.get("mnasnet_small", width=0.5)
    small = rewrite.for_images(other, resolution_px=28, channels=1, n_classes=10, min_px=2, dropout_rate=0.0)
    (tmp_path / "run" / "searched.json").write_text(text.to_json(other))
    torch_net.save(torch_net.build(small), tmp_path / "run" / "best.safetensors")
    arguments = ["seed=run/searched.json", "weights=run/best.safetensors", "run_dir=second", *SECOND]
    done = command("netadapt.run", *TINY, *arguments, "width=1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: second began with another seed than the one that is given now"), done.stderr


def test_weights_that_do_not_fit_are_named(adapted):
    cwd, _ = adapted
    arguments = ["seed=mnasnet_small", *TINY, "weights=run/best.safetensors", "run_dir=third"]
    done = command("netadapt.run", *arguments, cwd=cwd)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert re.match(r"error: .*best\.safetensors: blocks\.\d+\.\S+ is \(.*\) in the weights, but \(.*\) in", line), line
    assert len(done.stderr.strip().splitlines()) == 1


def test_kills_at_random_moments_change_nothing(adapted):
    cwd, _ = adapted
    rng = np.random.default_rng(0)
    arguments = ["netadapt.run", "seed=mnasnet_small", *TINY, "run_dir=killed"]
    for step in rng.integers(8, 30, size=3):
        killed = command("tests.signalled", "SIGKILL", str(step), *arguments, cwd=cwd)
        assert killed.returncode == -signal.SIGKILL, f"step {step}: {killed.stderr}"
    done = command("netadapt.run", "seed=mnasnet_small", *TINY, "run_dir=killed", cwd=cwd)
    assert done.returncode == 0, done.stderr

    whole, again = (json.loads((cwd / name / "result.json").read_text()) for name in ("run", "killed"))
    assert again["steps"] == whole["steps"]
    assert again["adapted"] == whole["adapted"]
    tops = [{n: (r["holdout_top1"], r["test_top1s"]) for n, r in x["networks"].items()} for x in (whole, again)]
    assert tops[0] == tops[1]
    for name in ("history.jsonl", "final.jsonl"):
        records = [
            sorted(json.dumps({**json.loads(line)["record"], "seconds": 0}) for line in text.splitlines())
            for text in ((cwd / run / name).read_text() for run in ("run", "killed"))
        ]
        assert records[0] == records[1]


def test_a_damaged_history_is_refused(adapted):
    cwd, _ = adapted
    path = cwd / "run" / "history.jsonl"
    whole = path.read_text()
    path.write_text(whole.replace('"step": 1', '"step": 7', 1))
    done = command("netadapt.run", "seed=mnasnet_small", *TINY, "run_dir=run", cwd=cwd)
    path.write_text(whole)
    assert done.returncode == 1
    assert "history.jsonl:2 is damaged or was edited" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["seed=mnasnet_a9"],
            "error: seed=mnasnet_a9: no such network, run directory or file; did you mean mnasnet_a1?; networks: mob",
        ),
        ([], "error: no seed: add seed=, a network of the zoo (as mnasnet_a1), a run's folder"),
        (["seed=mnasnet_a1", "target_ms=500"], "error: the target is 500 ms, but the seed mnasnet_a1 takes 69"),
        (["seed=mnasnet_a1", "target_ms=5"], "error: the target of 5 ms cannot be reached: mnasnet_a1 takes 5.889 ms"),
        (["seed=mnasnet_a1", "weights=w.safetensors"], "error: weights=w.safetensors: no such file"),
        (["seed=mnasnet_a1", "fine_tune.steps=0"], "error: fine_tune.steps=0: it must be a whole number at least 1"),
        (["seed=mnasnet_a1", "rungs=[0.5,0.2]"], "error: rungs=[0.5, 0.2]: they must be shares of fine_tune.steps"),
        (["seed=mnasnet_a1", "redesign=swish"], "error: redesign=swish"),
        (["seed=mnasnet_a1", "kinds=[layers]"], "error: kinds=['layers']"),
        (
            ["seed=mnasnet_a1", "inherit=magic"],
            "error: inherit=magic; allowed: l2, bn_scale, taylor, activation, truncate",
        ),
    ],
)
def test_wrong_command_lines(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(netadapt.run.main, NetadaptOptions, [*arguments, "dry_run=true"]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(message)
    assert printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_the_plan(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["seed=mnasnet_a1", "+target=pixel1_large", "redesign=mobilenet_v3"]
    assert call(netadapt.run.main, NetadaptOptions, [*arguments, "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    assert "mnasnet_a1+mobilenet_v3" in printed
    assert "target      51.0 ms on pixel1\nlatency     pixel1: calibrated to" in printed
    assert list(tmp_path.iterdir()) == []
