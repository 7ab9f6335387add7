"""One update: micro-batches, running statistics, the moving average, labels and teachers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nas.training.learner import Learner, ramped
from nas.training.recipe import Recipe

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.normal(size=(12, 2, 4, 4)).astype(np.float32))
Y = torch.from_numpy(RNG.integers(0, 3, 12))


def plain_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def norm_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def learner(net: nn.Module, teacher=None, **recipe) -> Learner:
    return Learner(net, Recipe(lr=0.1, **recipe), device="cpu", resolution_px=4, teacher=teacher)


def weights(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("size", [4, 5])  # 12 images: three times four, or five, five and two
def test_micro_batches_are_the_whole_batch_where_there_is_no_batch_norm(optimizer, size):
    whole, parts = plain_net(), plain_net()
    first, second = learner(whole, optimizer=optimizer), learner(parts, optimizer=optimizer, micro_batch=size)
    for _ in range(3):
        loss = first.update(X, Y)
        assert second.update(X, Y).item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-4, atol=1e-5)
    assert (weights(plain_net()) - weights(whole)).abs().max() > 0.01


@pytest.mark.parametrize("size", [4, 5])
def test_running_statistics_are_the_mean_over_micro_batches(size):
    """Each begins with the statistics of the last update, and counts by its images."""
    net = norm_net()
    norm, its = net[1], learner(net, micro_batch=size)
    for update in range(2):
        before, means = norm.running_mean.clone(), []
        features = net[0](X).detach()
        its.update(X, Y)
        for part in features.split(size):
            means.append((0.9 * before + 0.1 * part.mean((0, 2, 3))) * len(part) / 12)
        torch.testing.assert_close(norm.running_mean, torch.stack(means).sum(0))
        assert norm.num_batches_tracked == update + 1


def test_batch_norms_momentum_falls_to_the_recipes():
    net = norm_net()
    its = learner(net, norm_momentum=0.2)
    seen = []
    for _ in range(60):
        its.update(X, Y)
        seen.append(net[1].momentum)
    assert seen[0] == pytest.approx(0.9)
    assert seen[9] == pytest.approx(9 / 19)
    assert seen[-1] == pytest.approx(0.2)
    untouched = norm_net()
    learner(untouched).update(X, Y)
    assert untouched[1].momentum == 0.1


def test_the_moving_average_by_hand():
    net = norm_net()
    its = learner(net, ema=0.25)
    expected = mean = None
    for n in range(5):
        its.update(X, Y)
        decay = min(0.25, (1 + n) / (10 + n))
        now, stat = weights(net), net[1].running_mean.clone()
        expected = now if expected is None else decay * expected + (1 - decay) * now
        mean = stat if mean is None else decay * mean + (1 - decay) * stat
    assert its.result is not net
    torch.testing.assert_close(weights(its.result), expected)
    torch.testing.assert_close(its.result[1].running_mean, mean)
    assert its.result[1].num_batches_tracked == 5
    assert (weights(net) - expected).abs().max() > 1e-3


def test_the_moving_average_reads_no_number_from_a_tensor(monkeypatch):
    """On a GPU that would wait for it, at each update."""
    its = learner(norm_net(), ema=0.9, optimizer="rmsprop")
    its.update(X, Y)

    def waits(tensor):
        raise AssertionError

    for name in ("item", "__int__", "__bool__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    its.update(X, Y)


def test_the_ramp():
    assert [ramped(0.9999, n) for n in (0, 8, 990)] == [0.1, 0.5, 0.991]
    assert ramped(0.9, 10_000) == 0.9


def test_labels_are_smoothed():
    net = plain_net()
    logs = F.log_softmax(net(X), 1).detach()
    target = F.one_hot(Y, 3) * 0.7 + 0.1
    loss = learner(net, label_smoothing=0.3).update(X, Y)
    assert loss.item() == pytest.approx(-(target * logs).sum(1).mean().item(), rel=1e-5)


def test_labels_may_be_shares_of_classes():
    shares = torch.softmax(torch.from_numpy(RNG.normal(size=(12, 3)).astype(np.float32)), 1)
    net = plain_net()
    logs = F.log_softmax(net(X), 1).detach()
    loss = learner(net, label_smoothing=0.0).update(X, shares)
    assert loss.item() == pytest.approx(-(shares * logs).sum(1).mean().item(), rel=1e-5)


def test_a_teachers_share_of_the_loss():
    net, teacher = plain_net(), torch.from_numpy(RNG.normal(size=(12, 3)).astype(np.float32))
    logits = net(X).detach()
    wanted, given = F.softmax(teacher / 2, 1), F.softmax(logits / 2, 1)
    distance = 4 * (wanted * (wanted / given).log()).sum(1).mean()
    own = F.cross_entropy(logits, Y)
    its = learner(net, lambda x: teacher, label_smoothing=0.0, teacher_weight=0.3, temperature=2.0)
    assert its.update(X, Y).item() == pytest.approx((0.7 * own + 0.3 * distance).item(), rel=1e-5)


def test_what_is_random_in_a_micro_batch_goes_by_its_seed():
    class Drawing(nn.Linear):
        drawn: list[float]

        def forward(self, x):
            self.drawn.append(torch.rand(()).item())
            return super().forward(x.flatten(1))

    net = Drawing(32, 3)
    net.drawn = []
    its = learner(net)
    for _ in range(2):
        its.update_by([(X[:6], Y[:6]), (X[6:], Y[6:])], 12, 2, seed=lambda place: 7 + place)
    assert net.drawn[:2] == net.drawn[2:]
    assert net.drawn[0] != net.drawn[1]
