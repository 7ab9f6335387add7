"""What an adaptation is for, as its command line says it: sizes, data, weights and the last training."""

import functools
import re

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from safetensors.numpy import save_file

import latency_luts
from latency_luts import build
from latency_luts.key import key, parse
from nas_runtime.compose import compose, plain
from nas_runtime.options import read
from netadapt import compare, latency
from netadapt.describe import describe
from netadapt.options import NetadaptOptions
from netadapt.plan import Plan, read_plan
from search_spaces import cost, rewrite, text, torch_net, zoo
from search_spaces.arch import MBConv
from search_spaces.lower import lower
from tests.fake_machine import HERE, FakeMachine

PIXEL1 = latency_luts.load("pixel1")


def plan(*arguments: str) -> Plan:
    return read_plan(read(NetadaptOptions, plain(compose("netadapt", list(arguments))), arguments))


@pytest.fixture
def found(tmp_path):
    """The directory of a run that found MnasNet-small for 128 px on images of 20 px, with its weights."""
    run = tmp_path / "found"
    run.mkdir()
    arch = zoo.get("mnasnet_small", resolution_px=128, classes=10)
    (run / "best.json").write_text(text.to_json(arch))
    small = rewrite.for_images(arch, resolution_px=20, channels=1, n_classes=10, min_px=2, dropout_rate=0.0)
    torch_net.save(torch_net.build(small), run / "best.safetensors")
    data = {"name": "fashion_mnist_mini", "path": None, "download": False, "train_images": 500}
    config = {"dataset": {**data, "holdout_images": 40, "resolution_px": 20}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    return run


def test_a_network_of_the_zoo_is_for_the_classes_of_the_data():
    assert plan("seed=mnasnet_small").seed.arch == zoo.get("mnasnet_small", classes=10)


def test_what_is_compared_has_the_seeds_sizes(found):
    here = plan(f"seed={found}", "+target=pixel1_small", "target.target_ms=null", "target.like=mobilenet_v3_small")
    like = zoo.get("mobilenet_v3_small", resolution_px=128, classes=10)
    assert here.target_ms == PIXEL1.latency_ms(like)
    published = compare.published_for(here.seed.arch, PIXEL1.latency_ms)
    assert (published.resolution_px, published.blocks[-1].out_ch) == (128, 10)


def test_the_run_that_found_the_seed_gives_data_and_weights(found):
    here = plan(f"seed={found}")
    assert (here.data.train_images, here.data.resolution_px) == (500, 20)
    assert here.facts.resolution_px == 20
    assert here.final == "finetune"  # since it comes with weights
    assert here.config["dataset"]["resolution_px"] == 20
    assert plan(f"seed={found}", "dataset.train_images=400").data.train_images == 400
    assert here.facts.holdout_images == 40
    assert plan(f"seed={found}", "dataset.holdout=30").facts.holdout_images == 30
    assert plan(f"seed={found}", "dataset.train_images=400").data.resolution_px == 20
    named = plan(f"seed={found}", "dataset=fashion_mnist_mini")
    assert (named.data.train_images, named.data.resolution_px) == (None, None)
    assert plan(f"seed={found}", "final=scratch").final == "scratch"
    assert plan("seed=mnasnet_small").final == "scratch"


def test_a_run_whose_data_is_not_known_says_so(found):
    (found / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"found: it has no config.yaml, which says what data .* or give dataset="):
        plan(f"seed={found}")
    assert plan(f"seed={found}", "dataset=fashion_mnist_mini").data.resolution_px is None


def test_weights_that_do_not_fit_are_refused_before_anything_begins(tmp_path, found):
    with pytest.raises(ValueError, match=r"found/best.safetensors: .* give the weights of this network"):
        plan("seed=mobilenet_v3_small", f"weights={found / 'best.safetensors'}")
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors: a layer without a name .* is no convolution"):
        plan(f"seed={found}", f"weights={tmp_path / 'other.safetensors'}")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"weights=.*broken.safetensors is no file of weights, or a damaged one"):
        plan(f"seed={found}", f"weights={tmp_path / 'broken.safetensors'}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dataset=cifar10", "dataset.path=nowhere"], "dataset.path=nowhere: there is no such file or folder"),
        (["retries=-1"], "retries=-1: it must be a whole number at least 0"),
        (["ray.timeout_s=0"], "ray.timeout_s=0: it must be a number above 0"),
        (["fine_tune.steps=0"], "fine_tune.steps=0: it must be a whole number at least 1"),
        (["final_repeats=0"], "final_repeats=0: it must be a whole number at least 1"),
        (["ratio=0"], "ratio=0: it must be a number above 0"),
    ],
)
def test_options_are_checked_before_this_machine_is_measured(arguments, message, tmp_path, monkeypatch):
    def measured(*_, **__):
        raise AssertionError("measured")

    monkeypatch.setattr(build, "build", measured)
    with pytest.raises(ValueError, match=message):
        plan("seed=mnasnet_small", "device=host", f"tables_dir={tmp_path}", *arguments)


def test_this_machine_is_measured_for_the_seed_and_narrower_versions_of_it(tmp_path, monkeypatch):
    machine = FakeMachine()
    monkeypatch.setattr(build, "build", functools.partial(build.build, how=HERE, machine=machine))
    with pytest.raises(ValueError, match="without dry_run=true the command measures it first"):
        plan("seed=mnasnet_small", "device=host", f"tables_dir={tmp_path}", "dry_run=true")
    here = plan(
        "seed=mnasnet_small", "width=0.5", "+target=host", "ratio=0.95", f"tables_dir={tmp_path}", "table_error=5"
    )
    table = here.latency.table
    assert {key(unit) for unit in lower(here.seed.arch)} <= set(table.units) | {key(lower(here.seed.arch)[-1])}
    widths = {unit.block.mid_ch for unit in map(parse, table.units) if isinstance(unit.block, MBConv)}
    assert len(widths) > 20
    assert machine.networks > 0
    assert here.target_ms == pytest.approx(0.95 * here.latency.latency_ms(here.seed.arch))
    before = machine.chains
    plan("seed=mnasnet_small", "width=0.5", "device=host", f"tables_dir={tmp_path}", "table_error=5")
    assert machine.chains == before  # it has them all
    plan("seed=mnasnet_a1", "width=0.5", "device=host", f"tables_dir={tmp_path}", "table_error=5", "dry_run=true")
    assert machine.chains == before


def test_narrowed_networks_are_the_seed_and_narrower_ones_of_all_sizes():
    seed = zoo.get("mnasnet_small")
    networks = latency.narrowed(seed, 24, ("expansion", "bottleneck"))
    assert networks == latency.narrowed(seed, 24, ("expansion", "bottleneck"))
    assert (networks[0], len(networks)) == (seed, 24)
    shares = sorted(cost.madds(arch) / cost.madds(seed) for arch in networks[1:])
    assert shares[0] < 0.5
    assert shares[-1] > 0.75
    stems = {arch.blocks[0].out_ch for arch in networks}
    assert stems == {seed.blocks[0].out_ch}  # a kind that is not narrowed stays


def test_a_plan_says_about_how_long_it_takes(capsys):
    def minutes(*arguments: str) -> float:
        describe(Console(width=300), plan("seed=mnasnet_small", *arguments))
        found = re.search(r"estimate +about ([\d.]+) (minutes|hours|days)", capsys.readouterr().out)
        assert found
        return float(found[1]) * {"minutes": 1, "hours": 60, "days": 1440}[found[2]]

    usual = minutes("epochs=60")
    assert minutes("epochs=60", "fine_tune.steps=800", "workers=2") > 3 * usual
    assert minutes("epochs=600") > 3 * usual
    assert minutes("epochs=60", "final_epochs=600") > 5 * usual


@pytest.fixture
def photos(tmp_path):
    """A folder of 40 tiny pictures of two classes."""
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (40, 40), (i, 2 * i, 3 * i)).save(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


def test_the_papers_setting_is_a_preset(photos):
    pictures = f"dataset.path={photos}"
    here = plan("preset=paper", "seed=mnasnet_a1", pictures, "evaluator.device=cpu", "evaluator.batch=8")
    assert (here.fine_tune.steps, here.holdout_images, here.rule.delta, here.rungs) == (10_000, 10_000, 0.01, ())
    assert (here.facts.resolution_px, here.seed.arch.resolution_px, here.executor.num_gpus) == (224, 224, 1)
    assert (here.final, here.epochs, here.final_epochs) == ("scratch", 350, 600)
    assert here.full is not None
    assert (here.full.new_name, here.full.new.optimizer) == ("mobilenet_v3", "rmsprop")
    other = plan(
        "preset=paper", "seed=mnasnet_a1", pictures, "evaluator.device=cpu", "fine_tune.steps=20", "recipe=cosine"
    )
    assert other.fine_tune.steps == 20
    assert other.full is not None
    assert other.full.new_name == "cosine"


def test_pictures_are_adapted_at_their_own_size_with_a_recipe_for_what_a_training_begins_with(photos):
    pictures = ("dataset=image_folder", f"dataset.path={photos}", "dataset.resolution_px=128", "evaluator.batch=8")
    here = plan("seed=mnasnet_small", *pictures)
    assert here.full is not None
    assert (here.seed.arch.resolution_px, here.full.facts.resolution_px, here.facts.resolution_px) == (128, 128, 96)
    assert (here.final, here.epochs, here.final_epochs, here.norm_images) == ("scratch", 30, 30, 256)
    assert here.full.recipe("scratch", 7).lr == here.full.new.lr == 2e-3
    assert here.full.recipe("finetune", 7).lr == here.full.tune.lr == 3e-4
    assert here.compare == ("seed", "uniform", "published")
    tuned = plan("seed=mnasnet_small", *pictures, "final=finetune", "evaluator.resolution_px=64")
    assert (tuned.final_epochs, tuned.facts.resolution_px) == (3, 64)
    assert plan("seed=mnasnet_small").full is None
    assert plan("seed=mnasnet_small").norm_images is None
