"""The commands as a user runs them, on tiny data."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import latency_luts
import nas.search
import netadapt.run
from latency_luts.key import key
from latency_luts.table import Identity, MeasuredTable, Timing, write
from nas.journal import Journal
from nas.search_options import SearchOptions
from nas_runtime.command import call
from nas_runtime.run import Run
from netadapt.options import NetadaptOptions
from search_spaces import onnx_net, show, spaces, text, torch_net, zoo
from search_spaces.lower import lower

ROOT = Path(__file__).parents[2]
TINY = [
    "samples=4",
    "batch=2",
    "epochs=1",
    "final.epochs=1",
    "final.networks=2",
    "dataset.train_images=192",
    "dataset.holdout=200",
]


HANGS_S = 3600
"""A process that has not ended by then never will, however busy the machine is."""


def command(module: str, *arguments: str, cwd: Path, **environment: str):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=HANGS_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def search(*arguments: str, cwd: Path, **settings):
    return command("nas.search", "+target=pixel1_small", "w=-0.15", *TINY, *arguments, cwd=cwd, **settings)


def journal(run_dir: Path) -> list[dict]:
    records = [json.loads(line)["record"] for line in (run_dir / "journal.jsonl").read_text().splitlines()[1:]]
    for record in records:
        record.pop("seconds")
    return sorted(records, key=lambda record: record["sample"])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """A finished tiny search in this process: its directory and what it printed."""
    cwd = tmp_path_factory.mktemp("serial")
    done = search("executor=serial", "run_dir=run", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "run", done.stdout


def test_a_search_leaves_everything_behind(finished):
    run_dir, printed = finished
    assert {path.name for path in run_dir.iterdir()} == {
        "run.json",
        "config.yaml",
        "environment.json",
        "table.json",
        "journal.jsonl",
        "references.json",
        "finals.json",
        "final.json",
        "result.json",
        "best.json",
        "searched.json",
        "best.onnx",
        "best.safetensors",
        "preprocess.json",
        "labels.txt",
        "predict.py",
        "model_card.md",
        "pareto.png",
        "rewards.png",
        "latencies.png",
        "entropy.png",
        "report.html",
    }
    result = json.loads((run_dir / "result.json").read_text())
    records = journal(run_dir)
    first, second = sorted(records, key=lambda r: -r["reward"])[:2]
    assert [row["sample"] for row in result["finalists"]] == [first["sample"], second["sample"]]
    best = max(result["finalists"], key=lambda row: row["reward"])
    assert (result["best"]["sample"], result["best"]["top1"]) == (best["sample"], best["top1"])
    assert result["best"]["reward"] == pytest.approx(best["top1"] * (best["latency_ms"] / 15.8) ** -0.15)
    assert result["best"]["final_holdout_top1"] == best["top1"]  # the same training
    page = (run_dir / "report.html").read_text()
    assert page.count('data-tip="mnasnet_small, block ') == len(zoo.get("mnasnet_small").blocks)
    assert f"<ul><li>top-1 {result['best']['final_test_top1']:.1%} on " in page
    assert set(result["references"]) == {"mobilenet_v3_small", "mnasnet_small", "mobilenet_v2 0.35"}
    assert result["networks_evaluated"] == len({tuple(r["indices"]) for r in records})
    assert "not measured; leave-one-out error" in printed
    assert "found" in printed
    assert "432" not in printed  # sizes are printed as one number
    assert "2.81e+18 points" in printed


def test_the_exported_network_is_the_trained_one(finished):
    """As the run reports it, as two lines load it, and as ONNX Runtime computes it."""
    from nas.training import datasets, sources
    from nas.training.train import top1
    from search_spaces import torch_net

    run_dir, _ = finished
    data = sources.load("fashion_mnist_mini")
    reported = json.loads((run_dir / "result.json").read_text())["best"]["final_test_top1"]
    net, some = torch_net.load(str(run_dir)), datasets.part(data.test, 500)
    assert top1(net, data.test, data) == pytest.approx(reported, abs=0.001)
    session = onnxruntime.InferenceSession(run_dir / "best.onnx")
    outputs = np.array([session.run(None, {"image": image[None]})[0].argmax() for image in some.images])
    assert np.mean(outputs == some.labels) == pytest.approx(top1(net, some, data), abs=0.004)  # 2 ties
    found = text.from_file(str(run_dir / "searched.json"))
    assert (found.resolution_px, found.classes, found.in_ch) == (224, 10, 3)
    trained = text.from_file(str(run_dir / "best.json"))
    assert trained == torch_net.load(run_dir).arch
    assert (trained.resolution_px, trained.classes, trained.in_ch) == (28, 10, 1)


def test_ray_gives_the_same_search(finished, tmp_path):
    done = search("executor=ray", "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert journal(tmp_path / "run") == journal(finished[0])
    first, second = (json.loads((run / "result.json").read_text()) for run in (finished[0], tmp_path / "run"))
    assert first["finalists"] == second["finalists"]
    assert first["best"] == second["best"]


def test_an_interrupted_search_continues(finished, tmp_path):
    arguments = ["nas.search", "+target=pixel1_small", "w=-0.15", *TINY, "executor=serial", "run_dir=run"]
    stopped = command("tests.signalled", "SIGINT", "journal.jsonl:3", *arguments, cwd=tmp_path)
    assert (stopped.returncode, stopped.stderr) == (130, "interrupted\n")
    assert "continue with the same command and run_dir=run" in stopped.stdout
    done = search("executor=serial", "run_dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "continuing run after 2 samples" in done.stdout
    assert journal(tmp_path / "run") == journal(finished[0])


def test_a_finished_search_trains_nothing_again(finished):
    run_dir, _ = finished
    # a sample's record has the seconds it took, and every final training writes its file anew
    before = (run_dir / "journal.jsonl").read_bytes(), (run_dir / "finals.json").stat().st_mtime_ns
    done = search("executor=serial", "run_dir=run", cwd=run_dir.parent)
    assert done.returncode == 0, done.stderr
    after = (run_dir / "journal.jsonl").read_bytes(), (run_dir / "finals.json").stat().st_mtime_ns
    assert after == before
    other = search("executor=serial", "run_dir=run", "epochs=2", cwd=run_dir.parent)
    assert other.returncode == 1
    assert (
        "run holds a run with evaluator.epochs=1, not evaluator.epochs=2; use the same settings or another run_dir"
        in other.stderr
    )


@contextlib.contextmanager
def unchanged(folder: Path):
    """Inside, nothing may be written to `folder`, and nothing was: not even what is removed again. (The permissions
    stop everyone but root, whom the times betray.)"""

    def state() -> dict[str, tuple[int, ...]]:
        found = [folder, *folder.rglob("*")]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino, path.stat().st_size) for path in found}

    before, modes = state(), {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
        assert state() == before
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_reading_a_run_writes_nothing(finished, tmp_path, monkeypatch, capsys):
    run_dir, _ = finished
    monkeypatch.chdir(run_dir.parent)
    its = ["+target=pixel1_small", "w=-0.15", *TINY, "executor=serial", "run_dir=run", "dry_run=true"]
    with unchanged(run_dir):
        assert call(nas.search.main, SearchOptions, its) == 0
        assert call(nas.search.main, SearchOptions, [*its, "epochs=2"]) == 1
        assert call(netadapt.run.main, NetadaptOptions, ["seed=run", "dry_run=true"]) == 0
        assert call(netadapt.run.main, NetadaptOptions, ["seed=mnasnet_a1", "run_dir=run"]) == 1
        assert "run holds a run of search, not of netadapt; use another run_dir, or" in capsys.readouterr().err
        show.main(["run/best.json"])
        run = Run(run_dir)
        assert run.config["samples"] == 4
        assert run.stage("finals", {}).values == {}
        assert (
            len(Journal(run_dir / "journal.jsonl", spaces.get("mnasnet", base_width=0.35, classes=10).decode).trials)
            == 4
        )
        assert latency_luts.load(run_dir / "table.json").device == "pixel1"
        onnx_net.export(text.from_file(run_dir / "best.json"), tmp_path / "best.onnx")
        onnx_net.export((net := torch_net.load(run_dir)).arch, tmp_path / "trained.onnx", net=net)
    with (
        pytest.raises((AssertionError, OSError)),
        unchanged(run_dir),
        tempfile.NamedTemporaryFile(dir=run_dir),
    ):
        pass


def test_dry_run(tmp_path):
    done = search("dry_run=true", cwd=tmp_path, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert "ACC \\xd7 (LAT/TAR)^-0.15" in done.stdout
    assert "2.81e+18 points (42 choices)" in done.stdout
    assert "15.8 ms on pixel1" in done.stdout
    assert "minute" in done.stdout  # of the estimate
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sampels=3"], "no setting 'sampels'; did you mean samples?"),
        (["ray.address=127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["ray.num_gpus=64"], "no node has 1 CPUs and 64 GPUs"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, message):
    """More of it: test_settings.py."""
    done = command("nas.search", "+target=pixel1_small", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_other_networks_says_how_to_build_one(tmp_path):
    """Before anything is trained, and with nothing that would replace the board's table."""
    how = Identity(cpu="board", runtime="onnxruntime 1", threads=1, batch=1, dtype="fp32")
    units = {key(unit): Timing(ms=1, spread=0.01, runs=9, kernels=3) for unit in lower(zoo.get("mobilenet_v3_small"))}
    made = MeasuredTable(device="board", identity=how, provenance={"reference_ms": 1.0}, units=units)
    write(made, tmp_path / "board.json")
    done = search("target.device=board", "target.target_ms=10", "tables_dir=.", "executor=serial", cwd=tmp_path)
    assert done.returncode == 1
    assert "the table of board lacks units of this search's networks, as " in done.stderr
    options = "device=board space=mnasnet space.base_width=0.35 space.resolution_px=224"
    assert f"measure them on the device: python -m latency_luts.bundle {options}, and follow" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_damaged_journal_is_one_clear_line(finished, tmp_path):
    run_dir, _ = finished
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run_dir.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    lines = (copy / "journal.jsonl").read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"status": "ok"', '"status": "OK"')
    (copy / "journal.jsonl").write_text("".join(lines))
    done = search("executor=serial", "run_dir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: run/journal.jsonl:3 is damaged or was edited")


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("words")
    done = search("executor=serial", "run_dir=run", cwd=tmp_path)
    assert "error: run exists and is not a run's directory" in done.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_calibrate(tmp_path):
    done = command("latency_luts.calibrate", "device=pixel1", "tables_dir=.", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "leave-one-out error 4.5% on 32 networks" in done.stdout
    assert (tmp_path / "pixel1.json").exists()
    bad = command("latency_luts.calibrate", "device=pixel7", cwd=tmp_path)
    assert bad.stderr.startswith(
        "error: no latency of 'pixel7' was published for a network of the zoo (there are some of"
    )


def test_a_damaged_table_is_one_clear_line(tmp_path):
    command("latency_luts.calibrate", "device=pixel1", "tables_dir=.", cwd=tmp_path)
    path = tmp_path / "pixel1.json"
    path.write_text(path.read_text().replace('"activation_byte": ', '"activation_byte": 1'))
    done = search("dry_run=true", "tables_dir=.", cwd=tmp_path)
    assert done.returncode == 1
    assert "pixel1.json does not match its checksum: it was edited or damaged" in done.stderr
