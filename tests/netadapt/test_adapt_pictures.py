"""Adaptations of networks that have weights, on pictures at the size at which the network is used."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from search_spaces import text, torch_net
from tests.commands.test_commands import command

PHOTOS = ("dataset=image_folder", "dataset.path=photos", "dataset.resolution_px=32")
QUICK = ("executor=serial", "evaluator.batch=8", "fine_tune.steps=1", "fine_tune.norm_images=8", "device=pixel1")
SHORT = ("epochs=1", "final_epochs=1", "ratio=0.93", "delta=0.03", "kinds=expansion")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with photographs of two classes, and a run that trained a network on them."""
    cwd, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part in ("train", "test"):
        for label, hue in (("dark", 0), ("light", 90)):
            (cwd / "photos" / part / label).mkdir(parents=True)
            for i in range(16):
                picture = Image.fromarray(rng.integers(hue, hue + 166, (40, 44, 3), dtype=np.uint8))
                picture.save(cwd / "photos" / part / label / f"{i}.png")
    its = ("network=mnasnet_small", "width=0.35", "epochs=1", "batch=8", "threads=1", "readers=0")
    done = command("nas.train", *its, *PHOTOS, "run_dir=first", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd


def test_a_run_as_seed_brings_its_pictures_its_size_and_its_weights(here):
    asked = ("seed=first", *QUICK, *SHORT, "run_dir=second")
    done = command("netadapt.run", *asked, cwd=here)
    assert done.returncode == 0, done.stderr
    assert "images      32 px, 2 classes, " in done.stdout
    assert "final       finetune, 1 epoch, at 32 px" in done.stdout
    run = here / "second"
    result = json.loads((run / "result.json").read_text())
    assert list(result["networks"]) == ["adapted", "seed", "uniform scaling"]
    assert result["reached_ms"] <= result["target_ms"] < result["seed_ms"]
    first = json.loads((here / "first" / "result.json").read_text())
    assert result["networks"]["seed"]["test_top1s"] == [first["test_top1"]]  # it is as it was given
    net = torch_net.load(run)
    assert net.arch.resolution_px == 32
    assert [block.out_ch for block in net.arch.blocks] == [
        block.out_ch for block in text.from_dict(result["adapted"]).blocks
    ]
    seed = torch_net.load(here / "first").state_dict()
    name = "blocks.0.conv.conv.weight"
    assert 0 < (net.state_dict()[name] - seed[name]).abs().max() < 0.1  # tuned on from what it inherited
    assert "fine_tune: adamw" in (run / "model_card.md").read_text()
    again = command("netadapt.run", *asked, cwd=here)
    assert again.returncode == 0, again.stderr
    assert "continuing second after" in again.stdout
    assert torch.equal(torch_net.load(run).state_dict()[name], net.state_dict()[name])


def test_weights_for_other_classes_are_tuned_first_and_smaller_images_have_a_seed_of_their_own(here):
    weights = here / "first" / "best.safetensors"
    (here / "first" / "labels.txt").write_text("cat\ndog\n")
    try:
        done = command(
            "netadapt.run",
            *("seed=mnasnet_small", "width=0.35", f"weights={weights}", *PHOTOS, *QUICK, *SHORT, "run_dir=third"),
            *("evaluator.resolution_px=24", "compare=[]", "final=both"),
            cwd=here,
        )
    finally:
        (here / "first" / "labels.txt").write_text("dark\nlight\n")
    assert done.returncode == 0, done.stderr
    assert "tuned for 1 epoch on image_folder, for its classes" in done.stdout
    assert "training seed at 32 px, 1 epoch" in done.stdout
    assert "tuned for an epoch of 24 px, on which proposals are compared" in done.stdout
    result = json.loads((here / "third" / "result.json").read_text())
    assert list(result["networks"]) == ["adapted", "adapted, from scratch"]
    assert torch_net.load(here / "third").arch.resolution_px == 32


def test_other_weights_in_the_place_of_those_that_it_began_with_are_another_seed(here):
    asked = ("seed=first", *QUICK, *SHORT, "run_dir=fourth", "compare=[]")
    assert command("netadapt.run", *asked, cwd=here).returncode == 0
    file = here / "first" / "best.safetensors"
    before = file.read_bytes()
    net = torch_net.load(here / "first")
    with torch.no_grad():
        next(net.parameters()).mul_(1.5)
    try:
        torch_net.save(net, file)
        done = command("netadapt.run", *asked, cwd=here)
    finally:
        file.write_bytes(before)
    assert done.returncode == 1
    assert "fourth began with another seed than the one that is given now; use another run_dir" in done.stderr


def test_a_share_of_the_seeds_latency_on_a_target_that_only_names_the_device(here):
    for target, more, said in (
        ("host", ["target.device=pixel1"], None),
        ("pixel1_small", [], "ratio= means nothing beside +target=pixel1_small, which says how fast; use target_ms="),
    ):
        asked = ("seed=first", *QUICK[:-1], f"+target={target}", *more, "ratio=0.5", "dry_run=true")
        done = command("netadapt.run", *asked, cwd=here)
        if said is None:
            seed_ms, target_ms = re.findall(r"([\d.]+) ms", done.stdout)[:2]
            assert float(target_ms) == pytest.approx(float(seed_ms) / 2, rel=0.03)
        else:
            assert said in done.stderr
