"""The training loop and the proxy evaluator."""

import numpy as np
import pytest
import torch

from nas.training import train as training
from nas.training.datasets import Split, make
from nas.training.recipe import Recipe
from nas.training.schedules import schedule
from nas.training.train import _shift_and_flip, batches, new_net, normalise, top1, train
from nas.training.trainer import Trainer
from search_spaces import zoo

RECIPE = Recipe(epochs=12, batch=16, crop_px=1)


@pytest.fixture
def evaluator(stripes):
    return Trainer(data=stripes, recipe=RECIPE)


SMALL = zoo.get("mobilenet_v3_small", width=0.35)


def test_training_learns_and_is_deterministic(evaluator):
    a, b = (evaluator.evaluate(SMALL, rng_seed=0) for _ in range(2))
    assert a.status == "ok"
    assert a.top1 == b.top1
    assert a.top1 > 0.6  # one third by chance


def test_another_seed_is_another_training(evaluator, stripes):
    """Other weights to begin with, and other batches."""

    def trained(weights: int, batches: int) -> torch.Tensor:
        net = new_net(evaluator.small(SMALL), rng_seed=weights)
        train(net, stripes.train, stripes, Recipe(steps=1, batch=16), rng_seed=batches)
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    assert torch.equal(trained(0, 0), trained(0, 0))
    assert not torch.equal(trained(0, 0), trained(1, 0))
    assert not torch.equal(trained(0, 0), trained(0, 1))


def test_dropout_draws_by_the_seed(stripes):
    class Drawing(torch.nn.Module):
        """Draws where dropout would."""

        def __init__(self):
            super().__init__()
            self.linear, self.drawn = torch.nn.Linear(144, 3), []

        def forward(self, x):
            self.drawn.append(torch.rand(()).item())
            return self.linear(x.flatten(1))

    def drawn(rng_seed: int) -> list[float]:
        net = Drawing()
        train(net, stripes.train, stripes, Recipe(steps=2, batch=16), rng_seed=rng_seed)
        return net.drawn

    first, same, other = drawn(0), drawn(0), drawn(1)
    assert first == same
    assert not set(first) & set(other)


def test_an_evaluation_seeds_the_weights_and_the_batches(evaluator, monkeypatch):
    seeds = []
    new, learn = training.new_net, training.train

    def spied_net(arch, *, rng_seed):
        seeds.append(rng_seed)
        return new(arch, rng_seed=rng_seed)

    def spied_train(*given, rng_seed, **how):
        seeds.append(rng_seed)
        return learn(*given, rng_seed=rng_seed, **how)

    monkeypatch.setattr(training, "new_net", spied_net)
    monkeypatch.setattr(training, "train", spied_train)
    evaluator.evaluate(SMALL, rng_seed=7)
    evaluator.train_fully(SMALL, epochs=1, threads=1, rng_seed=8)
    assert seeds == [7, 7, 8, 8]


def test_each_accuracy_is_of_its_own_images(stripes):
    """The holdout's labels are all wrong, those of the test images right: what learns has none right of the one and
    most of the other."""
    wrong = Split(stripes.holdout.images, (stripes.holdout.labels + 1) % 3)
    evaluator = Trainer(data=make("x", train=stripes.train, holdout=wrong, test=stripes.test, classes=3), recipe=RECIPE)
    seen = []
    evaluation = evaluator.evaluate(SMALL, rng_seed=0, on_epoch=lambda epochs, top1: seen.append((epochs, top1)))
    assert evaluation.top1 < 0.2
    assert [epochs for epochs, _ in seen] == list(range(1, 13))
    assert seen[-1][1] == evaluation.top1
    _, holdout_top1, test_top1 = evaluator.train_fully(SMALL, epochs=12, threads=1, rng_seed=0)
    assert holdout_top1 < 0.2
    assert test_top1 > 0.6


def test_a_training_begins_with_given_weights(evaluator, stripes):
    net, holdout_top1, test_top1 = evaluator.train_fully(SMALL, epochs=12, threads=1, rng_seed=0)
    assert holdout_top1 > 0.6  # one third by chance
    still = Trainer(data=stripes, recipe=Recipe(epochs=1, batch=16, lr=1e-12, weight_decay=0.0))
    assert still.evaluate(SMALL, rng_seed=1, state=net.state_dict()).top1 == pytest.approx(holdout_top1, abs=0.1)
    again = still.train_fully(SMALL, epochs=1, threads=1, rng_seed=1, state=net.state_dict())[2]
    assert again == pytest.approx(test_top1, abs=0.1)
    assert still.evaluate(SMALL, rng_seed=1).top1 < 0.5


def test_divergence_is_a_result(stripes):
    evaluator = Trainer(data=stripes, recipe=Recipe(epochs=2, batch=16, lr=1e12))
    evaluation = evaluator.evaluate(SMALL, rng_seed=0)
    assert (evaluation.status, evaluation.top1) == ("diverged", 0.0)
    with pytest.raises(ValueError, match="the final training diverged"):
        evaluator.train_fully(SMALL, epochs=1, threads=1, rng_seed=0)


def test_the_search_never_sees_the_test_images(stripes):
    """The same answer with other test images: nothing depends on them."""
    other = make(
        "x",
        train=stripes.train,
        holdout=stripes.holdout,
        test=Split(255 - stripes.test.images, stripes.test.labels[::-1].copy()),
        classes=3,
    )
    a, b = (Trainer(data=data, recipe=RECIPE).evaluate(SMALL, rng_seed=0).top1 for data in (stripes, other))
    assert a == b


def test_the_global_random_state_is_left_alone(evaluator):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    evaluator.evaluate(SMALL, rng_seed=3)
    assert (torch.get_rng_state() == before).all()


def test_top1_counts_correct_answers(stripes):
    class Cheat(torch.nn.Module):
        def forward(self, x):
            brightness = x.mean((1, 2, 3))
            thresholds = torch.quantile(brightness, torch.tensor([1 / 3, 2 / 3]))
            return torch.nn.functional.one_hot(torch.bucketize(brightness, thresholds), 3).float()

    images = np.sort(stripes.holdout.images, axis=0)
    labels = np.repeat(np.arange(3), 20)
    split = Split(np.repeat(np.array([0, 100, 200], np.uint8), 20)[:, None, None, None] + images * 0, labels)
    assert top1(Cheat(), split, stripes) == 1.0
    wrong = Split(split.images, np.roll(labels, 20))
    assert top1(Cheat(), wrong, stripes) == 0.0


def test_an_epoch_shows_each_image_once(stripes):
    rng = np.random.default_rng(0)
    marked = Split(np.zeros((96, 4, 4, 1), np.uint8), np.arange(96))
    seen = [int(y) for _, ys in batches(marked, stripes, RECIPE, rng=rng, device="cpu") for y in ys]
    assert sorted(seen) == list(range(96))


def test_batches_are_channels_last_and_normalised(stripes):
    rng = np.random.default_rng(0)
    x = torch.cat([x for x, _ in batches(stripes.train, stripes, Recipe(epochs=1, crop_px=0), rng=rng, device="cpu")])
    assert x.mean().abs() < 0.1
    assert x.std() == pytest.approx(1, abs=0.1)
    colour = make("c", train=rgb(8), holdout=rgb(4), test=rgb(4), classes=2)
    y = normalise(torch.from_numpy(colour.train.images), colour, "cpu")
    assert y.shape == (8, 3, 6, 6)
    assert y.is_contiguous(memory_format=torch.channels_last)


def rgb(n: int) -> Split:
    rng = np.random.default_rng(n)
    return Split(rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8), rng.integers(0, 2, n))


def test_augmentation_shifts_and_mirrors_whole_images():
    image = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1)
    padded = np.pad(image[0, :, :, 0], 2)
    crops = {padded[r : r + 5, c : c + 5].tobytes() for r in range(5) for c in range(5)}
    crops |= {padded[r : r + 5, c : c + 5][:, ::-1].tobytes() for r in range(5) for c in range(5)}
    rng = np.random.default_rng(0)
    seen = {_shift_and_flip(image, 2, True, rng)[0, :, :, 0].tobytes() for _ in range(600)}
    assert seen <= crops
    assert len(seen) > 45  # of 50
    assert (_shift_and_flip(image, 0, False, rng) == image).all()


def test_the_schedule_warms_up_and_ends_near_zero():
    lr = [schedule(step, 10, 100) for step in range(100)]
    assert lr[:10] == sorted(lr[:10])
    assert max(lr) == pytest.approx(1)
    assert lr[10:] == sorted(lr[10:], reverse=True)
    assert lr[-1] < 0.001
