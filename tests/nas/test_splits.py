"""Who sees which images: labels that are right in one part only, and weights that images of other parts do not change.

Networks are not trained until they are good: a part's labels are what a network answers there.
"""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from nas.executor import SerialExecutor
from nas.networks import Found
from nas.supernet.evaluator import SharedWeights
from nas.supernet.module import Supernet
from nas.training import sources
from nas.training.datasets import Dataset, Split, part
from nas.training.recipe import Recipe
from nas.training.sources import cifar10, fashion_mnist
from nas.training.train import new_net, normalise
from nas.training.trainer import Trainer
from nas_runtime.records import Records
from nas_runtime.run import Run
from netadapt import run as netadapt_run
from netadapt.adapt import Rule
from netadapt.fine_tune import AndTest, FineTune, Train
from netadapt.seed import Seed, given_net
from netadapt.weights import TrainedNet
from search_spaces import spaces, torch_net
from search_spaces.arch import Arch, Classifier, ConvBN, MBConv
from search_spaces.layout import Layout
from tests.nas.test_supernet import training

TINY = Arch(
    name="tiny",
    resolution_px=12,
    blocks=(
        ConvBN(in_ch=1, out_ch=8, kernel=3),
        MBConv(in_ch=8, mid_ch=24, out_ch=8, kernel=3),
        Classifier(in_ch=8, out_ch=3, dropout=0.0),
    ),
)
RECIPE = Recipe(steps=2, batch=16, lr=0.01)


def share(value):
    return SerialExecutor().share(value)


def trained(arch: Arch = TINY) -> TrainedNet:
    weights = {name: value.numpy() for name, value in new_net(arch, rng_seed=0).state_dict().items()}
    return TrainedNet(arch=arch, weights=weights, first={}, second={}, updates=0, top1=0.0)


def answers(arch: Arch, weights, data: Dataset, split: Split) -> np.ndarray:
    net = torch_net.Net(arch)
    net.load_state_dict({name: torch.as_tensor(value) for name, value in weights.items()})
    with torch.inference_mode():
        return net.eval()(normalise(torch.from_numpy(split.images), data, "cpu")).argmax(1).numpy()


def right(split: Split, answered: np.ndarray, share: float) -> Split:
    """`split` with labels that are what was answered for the first `share` of it, and wrong for the rest."""
    labels = np.where(np.arange(len(split)) < share * len(split), answered, (answered + 1) % 3)
    return Split(split.images, labels)


def labelled(data: Dataset, arch: Arch, weights, **shares: float) -> Dataset:
    """`data` whose parts have labels that a network with these weights gets right in such shares."""
    parts = {name: getattr(data, name) for name in shares}
    return replace(
        data, **{name: right(split, answers(arch, weights, data, split), shares[name]) for name, split in parts.items()}
    )


# ---- what accuracies are measured on


def test_a_proposal_is_measured_on_the_holdout_and_a_final_network_on_the_test_images_too(stripes):
    net = trained()
    data = labelled(stripes, TINY, net.weights, train=0, holdout=1, test=0.5)
    shared = share(Trainer(data=data, recipe=Recipe()))
    look = FineTune(trainer=shared, parent=share(net), recipe=None, inherit="l2", rng_seed=0)
    assert look(TINY).top1 == 1.0
    evaluation = AndTest(shared, look)(TINY)
    assert (evaluation.top1, evaluation.state[1]) == (1.0, 0.5)


def test_a_network_trained_from_scratch_is_measured_on_the_holdout_and_the_test_images(stripes):
    def task(data: Dataset) -> AndTest:
        shared = share(Trainer(data=data, recipe=Recipe()))
        return AndTest(shared, Train(trainer=shared, recipe=RECIPE, rng_seed=3))

    net, _ = task(stripes)(TINY).state
    evaluation = task(labelled(stripes, TINY, net.weights, holdout=1, test=0.5))(TINY)
    assert (evaluation.top1, evaluation.state[0].top1, evaluation.state[1]) == (1.0, 1.0, 0.5)


def test_a_sample_is_measured_on_the_holdout_and_the_winner_on_the_test_images_too(stripes):
    def trainer(data: Dataset) -> Trainer:
        return Trainer(data=data, recipe=RECIPE)

    net, *_ = trainer(stripes).train_fully(TINY, epochs=1, threads=1, rng_seed=3)
    data = labelled(stripes, TINY, net.state_dict(), holdout=1, test=0.5)
    assert trainer(data).train_fully(TINY, epochs=1, threads=1, rng_seed=3)[1:] == (1.0, 0.5)
    seen = []
    evaluation = trainer(data).evaluate(TINY, 3, on_epoch=lambda epochs, top1: seen.append(top1))
    assert evaluation.top1 == 1.0


def test_a_seed_with_weights_is_measured_on_the_holdout(stripes):
    net = trained()
    data = labelled(stripes, TINY, net.weights, train=0, holdout=0.75, test=0)
    weights = {name: torch.from_numpy(value) for name, value in net.weights.items()}
    seed = Seed(arch=TINY, found=Found(arch=TINY, weights=weights, source="a run"))
    assert given_net(seed, Trainer(data=data, recipe=Recipe())).top1 == 0.75


@pytest.mark.parametrize(("images", "seed_top1"), [(7, 1.0), (None, 7 / 60)])
def test_an_adaptation_is_judged_on_its_part_of_the_holdout(stripes, tmp_path, images, seed_top1):
    """Labels are right on 7 images only."""
    net, holdout = trained(), stripes.holdout
    its = {image.tobytes() for image in part(holdout, 7).images}
    answered = answers(TINY, net.weights, stripes, holdout)
    labels = [a if image.tobytes() in its else (a + 1) % 3 for a, image in zip(answered, holdout.images, strict=True)]
    data = labelled(stripes, TINY, net.weights, test=0)
    data = replace(data, holdout=Split(holdout.images, np.array(labels)))
    plan = SimpleNamespace(
        seed=Seed(arch=TINY),
        latency=SimpleNamespace(latency_ms=lambda arch: float(arch.blocks[1].mid_ch)),
        target_ms=20.0,
        rule=Rule(delta=0.1, kinds=("expansion",)),
        inherit="l2",
        norm_images=None,
        rungs=(),
        rng_seed=0,
        fine_tune=RECIPE,
        holdout_images=images,
    )
    found, _ = netadapt_run._adapt(
        Console(quiet=True),
        Run(tmp_path),
        plan,
        Trainer(data=data, recipe=Recipe()),
        SerialExecutor(),
        net,
        Records(tmp_path / "history.jsonl", "history"),
    )
    assert found.seed_top1 == pytest.approx(seed_top1)
    assert [step.kept.after for step in found.steps] == [16]
    of_images = found.steps[0].top1 * (images or 60)
    assert of_images == pytest.approx(round(of_images))


def shared_weights(data: Dataset, **settings) -> SharedWeights:
    space = spaces.get("mnasnet", base_width=0.35)
    net = Supernet(Layout(space), in_ch=1, classes=3, generator=torch.Generator().manual_seed(0))
    return SharedWeights(
        key="splits",
        space=space,
        weights=share({name: weight.detach().numpy() for name, weight in net.weights.items()}),
        trainer=Trainer(data=data, recipe=RECIPE),
        kernels="centre",
        **{"images": 60, "bn_images": 96, **settings},
    )


def test_shared_weights_are_measured_on_their_part_of_the_holdout(stripes):
    evaluator = shared_weights(stripes)
    arch = evaluator.space.decode(evaluator.space.sample(np.random.default_rng(0), 1)[0])
    small = evaluator.trainer.small(arch)
    data = labelled(stripes, small, evaluator.inherited(arch), train=0, holdout=0.5, test=0)
    assert shared_weights(data).evaluate(arch).top1 == pytest.approx(
        0.5, abs=2 / 60
    )  # alone it computes nearly the same
    first = shared_weights(data, images=1).evaluate(arch).top1
    assert first == pytest.approx(1.0)


# ---- what is learnt from


def others(split: Split) -> Split:
    return Split(255 - split.images, split.labels[::-1].copy())


def fine_tuned(data: Dataset):
    shared = share(Trainer(data=data, recipe=Recipe()))
    task = FineTune(trainer=shared, parent=share(trained()), recipe=RECIPE, inherit="l2", rng_seed=0)
    return task(TINY).state.weights


def from_scratch(data: Dataset):
    shared = share(Trainer(data=data, recipe=Recipe()))
    return Train(trainer=shared, recipe=RECIPE, rng_seed=0)(TINY).state.weights


def fully(data: Dataset):
    net, *_ = Trainer(data=data, recipe=RECIPE).train_fully(TINY, epochs=1, threads=1, rng_seed=0)
    return net.state_dict()


def inherited(data: Dataset):
    evaluator = shared_weights(data)
    return evaluator.inherited(evaluator.space.decode(evaluator.space.largest))


@pytest.mark.parametrize("learn", [fine_tuned, from_scratch, fully, inherited])
def test_nothing_is_learnt_from_the_holdout_and_the_test_images(stripes, learn):
    whole = learn(stripes)
    same = learn(replace(stripes, holdout=others(stripes.holdout), test=others(stripes.test)))
    assert all(np.array_equal(value, same[name]) for name, value in whole.items())
    differs = learn(replace(stripes, train=others(stripes.train)))
    assert not all(np.array_equal(value, differs[name]) for name, value in whole.items())


def test_shared_weights_learn_from_the_training_images_alone(tmp_path):
    """In all three phases."""

    def weights(name: str, **parts: Split) -> dict[str, torch.Tensor]:
        todo = training(tmp_path / name, steps=3)
        todo = replace(todo, data=replace(todo.data, **parts))
        todo.run()
        return dict(todo.supernet.weights)

    data = training(tmp_path).data
    whole = weights("whole")
    same = weights("same", holdout=others(data.holdout), test=others(data.test))
    assert all(torch.equal(value, same[name]) for name, value in whole.items())
    differs = weights("differs", train=others(data.train))
    assert not all(torch.equal(value, differs[name]) for name, value in whole.items())


# ---- where parts come from


def pictures(root, monkeypatch):
    """Folders of pictures: 1 to 12 of grey for training, 101 to 106 for testing."""
    for folder, first, count in (("train", 1, 12), ("test", 101, 6)):
        for grey in range(first, first + count):
            path = root / folder / ("odd" if grey % 2 else "even") / f"{grey}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (grey,) * 3).save(path)
    return {"name": "image_folder", "path": root}


def cifar(root, monkeypatch):
    """CIFAR-10 with 15 + 3 pictures of the same kind."""
    monkeypatch.setattr(cifar10, "IMAGES", {"train": 15, "test": 3})
    files = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for i, name in enumerate(files):
        first = 101 if name == "test_batch.bin" else 1 + 3 * i
        records = (bytes([(first + j) % 2]) + bytes([first + j]) * 3072 for j in range(3))
        (root / name).write_bytes(b"".join(records))
    return {"name": "cifar10", "path": root}


def idx(root, monkeypatch):
    """Fashion-MNIST with 12 + 6 pictures of the same kind."""
    files = {}
    for name in fashion_mnist.FILES:
        greys = np.arange(*((1, 13) if name.startswith("train") else (101, 107)), dtype=np.uint8)
        array = np.repeat(greys, 784).reshape(-1, 28, 28) if "images" in name else greys % 2
        raw = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        (root / name).write_bytes(raw)
        files[name] = fashion_mnist.Idx(array.shape, hashlib.sha256(raw).hexdigest(), len(raw))
    monkeypatch.setattr(fashion_mnist, "FILES", files)
    return {"name": "fashion_mnist", "path": root}


@pytest.mark.parametrize("source", [pictures, cifar, idx])
@pytest.mark.parametrize("train_images", [None, 5])
def test_no_image_is_in_two_parts_and_test_images_are_those_of_their_own_file(
    tmp_path, monkeypatch, source, train_images
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    data = sources.load(**source(tmp_path / "data", monkeypatch), holdout=4, train_images=train_images)
    train, holdout, test = (set(split.images[:, 0, 0, 0].tolist()) for split in (data.train, data.holdout, data.test))
    for split in (data.train, data.holdout, data.test):
        assert (split.labels == split.images[:, 0, 0, 0] % 2).all()
    assert len(holdout) == len(data.holdout) == 4
    assert len(train) == len(data.train)
    assert not train & holdout
    assert max(train | holdout) < 101 <= min(test)
    if train_images is None:
        assert train | holdout == set(range(1, len(train) + 5))
    else:
        assert len(train) == 5


def test_the_embedded_parts_have_no_image_in_common():
    data = sources.load("fashion_mnist_mini")
    seen = [{image.tobytes() for image in split.images} for split in (data.train, data.holdout, data.test)]
    assert len(set.union(*seen)) == sum(map(len, seen))
