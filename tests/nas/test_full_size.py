"""A search on pictures of one's own: samples see small ones, the winner is trained and delivered at their full size."""

import json

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import nas.search
from nas.search_options import SearchOptions
from nas_runtime.command import call
from search_spaces import text, torch_net


@pytest.fixture
def photos(tmp_path):
    """Two classes that anything can learn: left half bright, or right half."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 8)):
        for side, name in enumerate(("left", "right")):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
                pixels[:, side * 32 : side * 32 + 32] += 180
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_the_winner_is_delivered_at_the_size_of_the_data(photos, tmp_path, capsys):
    run_dir = tmp_path / "run"
    command = ["+target=pixel1_small", "target.target_ms=0.8", "dataset=image_folder", f"dataset.path={photos}"]
    command += ["dataset.resolution_px=48", "evaluator.resolution_px=16", "samples=2", "batch=2", "evaluator.batch=8"]
    command += ["epochs=1", "final.networks=1", "final.epochs=1", "final.full_epochs=2", "executor=serial"]
    command += ["recipe.ema=null", "recipe.augment.flip=false", f"run_dir={run_dir}"]
    assert call(nas.search.main, SearchOptions, command) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "searched with 16 px, delivered at 48 px, 2 classes; latencies are for that" in printed
    assert "after 2 epochs at 48 px the found network has top-1" in printed
    searched, net = text.from_file(run_dir / "searched.json"), torch_net.load(run_dir)
    assert (searched.resolution_px, searched.classes) == (48, 2)
    assert net.arch == text.from_file(run_dir / "best.json")
    assert (net.arch.resolution_px, net.arch.classes) == (48, 2)
    assert onnxruntime.InferenceSession(run_dir / "best.onnx").get_inputs()[0].shape == [1, 48, 48, 3]
    best = json.loads((run_dir / "result.json").read_text())["best"]
    assert 0 <= best["final_test_top1"] <= 1
    page = (run_dir / "report.html").read_text()
    assert "<h2>What is delivered</h2><ul><li>top-1 " in page
    assert 'alt="training"' in page  # its curve
    before = (run_dir / "best.safetensors").read_bytes()
    (run_dir / "best.onnx").unlink()
    assert call(nas.search.main, SearchOptions, command) == 0  # trains nothing again, and writes what is missing
    assert (run_dir / "best.onnx").exists()
    assert (run_dir / "best.safetensors").read_bytes() == before
    assert call(nas.search.main, SearchOptions, [*command, "recipe.lr=1e-4"]) == 0  # another training of it
    assert (run_dir / "best.safetensors").read_bytes() != before
    assert len(list(run_dir.glob("full_*"))) == 2
