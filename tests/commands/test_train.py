"""The command that trains a network."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nas_runtime.run import Run
from search_spaces import torch_net
from tests.commands.test_commands import command

SMALL = ("network=mobilenet_v3_small", "width=0.35", "dataset.train_images=128", "threads=1", "readers=0")


def train(*arguments: str, cwd, **environment):
    return command("nas.train", *SMALL, *arguments, cwd=cwd, **environment)


def test_a_training_is_delivered_and_goes_on_to_nothing_more(tmp_path):
    done = train("epochs=2", "run_dir=run", "recipe=mobilenet_v3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: 4 updates are few for recipe=mobilenet_v3, which was made for a hundred thousand" in done.stdout
    run = tmp_path / "run"
    result = json.loads((run / "result.json").read_text())
    assert [epoch["epoch"] for epoch in result["epochs"]] == [1, 2]
    assert result["holdout_top1"] == result["epochs"][-1]["holdout_top1"]
    assert result["recipe"]["optimizer"] == "rmsprop"
    assert result["delivered"]["data"]["name"] == "fashion_mnist_mini"
    assert torch_net.load(run).arch.blocks[-1].dropout == 0.2
    assert {"best.onnx", "labels.txt", "training.png", "environment.json"} <= {file.name for file in run.iterdir()}
    assert Run(run).config["epochs"] == 2
    before = torch_net.load(run).state_dict()
    (run / "best.safetensors").unlink()
    again = train("epochs=2", "run_dir=run", "recipe=mobilenet_v3", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "continuing run" in again.stdout
    assert "epoch 1:" not in again.stdout
    assert all(torch.equal(value, before[name]) for name, value in torch_net.load(run).state_dict().items())
    other = train("epochs=3", "run_dir=run", "recipe=mobilenet_v3", cwd=tmp_path)
    assert "run holds a training of 2 epochs: the schedule goes by its length" in other.stderr
    assert "network=run weights=own" in other.stderr


def test_a_training_takes_the_data_of_a_run_and_goes_on_from_its_weights(tmp_path):
    assert train("epochs=1", "run_dir=first", cwd=tmp_path).returncode == 0
    own = ("network=first", "width=1", "weights=own", "epochs=1", "recipe=fine_tune", "teacher=first")
    plan = command("nas.train", *own, "dry_run=true", cwd=tmp_path)
    assert "128 images to train on" in plan.stdout, plan.stderr
    assert "from the weights own on, with first as its teacher; recipe fine_tune" in plan.stdout
    done = command("nas.train", *own, "run_dir=second", "threads=1", "readers=0", "tensorboard=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "second" / "tensorboard").iterdir())
    first, second = (torch_net.load(tmp_path / name).state_dict() for name in ("first", "second"))
    name = "blocks.0.conv.conv.weight"
    assert 0 < (first[name] - second[name]).abs().max() < 0.1


def test_pictures_are_taken_at_the_networks_own_size(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "photos" / part / label).mkdir(parents=True)
            for i in range(20):
                picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
                picture.save(tmp_path / "photos" / part / label / f"{i}.png")
    photos = ("dataset=image_folder", "dataset.path=photos", "batch=8", "dry_run=true")
    for more, px in (([], 240), (["dataset.resolution_px=64"], 64)):
        done = command("nas.train", "network=efficientnet_lite1", *photos, *more, cwd=tmp_path)
        assert f": {px} px, 2 classes" in done.stdout, done.stderr
        assert "updates are few for weights that are new" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recipe=mobilenet_v2"], "no recipe 'mobilenet_v2'; did you mean mobilenet_v3?; allowed: cosine, fine_tune"),
        (["batch=256"], "batch=256 is more than the 128 training images of fashion_mnist_mini; give a smaller one"),
        (["micro_batch=128"], "micro_batch=128 is more than batch=64"),
        (
            ["micro_batch=32", "ray.train_workers=3"],
            "batch=64 has 2 parts of micro_batch=32, and each worker needs one",
        ),
        (
            ["ray.train_workers=12"],
            "batch=64 has 11 parts of micro_batch=6, and each worker needs one; give batch=72, or fewer workers",
        ),
        (
            ["batch=4", "ray.train_workers=3"],
            "batch=4 has 2 parts of micro_batch=2, and each worker needs one; give batch=6",
        ),
        (["device=cuda"], "device=cuda: torch finds no GPU here; use device=cpu"),
        (["network=mobilenet_v9", "width=1"], "network=mobilenet_v9: no such network"),
        (["teacher=mobilenet_v2"], "teacher=mobilenet_v2 knows 1,000 classes, and fashion_mnist_mini has 10"),
        (["weights=own"], "network=mobilenet_v3_small has no weights"),
        (["recipe.lr=-1"], "recipe.lr=-1: it must be a number above 0"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(arguments, said, tmp_path):
    done = train("run_dir=run", *arguments, cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
