"""The command that trains a network."""

import json

import pytest
import torch

from nas_runtime.run import Run
from search_spaces import torch_net
from tests.commands.test_commands import command

SMALL = ("network=mobilenet_v3_small", "width=0.35", "dataset.train_images=128", "threads=1", "readers=0")


def train(*arguments: str, cwd, **environment):
    return command("nas.train", *SMALL, *arguments, cwd=cwd, **environment)


def test_a_training_is_delivered_and_goes_on_to_nothing_more(tmp_path):
    done = train("epochs=2", "run_dir=run", "recipe=mobilenet_v3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    result = json.loads((run / "result.json").read_text())
    assert [epoch["epoch"] for epoch in result["epochs"]] == [1, 2]
    assert result["holdout_top1"] == result["epochs"][-1]["holdout_top1"]
    assert result["recipe"]["optimizer"] == "rmsprop"
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
