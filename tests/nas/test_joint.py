"""Weights and policy that learn together, against TuNAS's rules and by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from nas.controllers.reinforce import Reinforce, ReinforceSettings
from nas.reward import Reward
from nas.supernet.mixed import Mixtures, averaged, operators
from nas.supernet.module import Supernet
from nas.supernet.phases import Joint
from nas.supernet.policy import JointPolicy, Learned
from nas.testing.controllers import conditional_space, small_space
from nas.training import sources
from search_spaces import spaces
from search_spaces.arch import Classifier, ConvBN, MBConv
from search_spaces.layout import Layout
from search_spaces.space import Choice, Layer, OneOf, SearchSpace, declare
from tests.nas.test_supernet import ONLY_MIXED, make, small, training

STEPS = 27_050  # 90 epochs of 1,231,121 images, 4096 at a time


def test_the_policys_learning_rate_is_tunas():
    joint = Joint()
    assert joint.lr(0, STEPS) == joint.lr(6761, STEPS) == 0
    assert joint.lr(6762, STEPS) == pytest.approx(0.0003 * 4096 / 256)
    assert joint.lr((6762 + STEPS) // 2, STEPS) == pytest.approx(0.0048 * 10**0.5)
    assert joint.lr(STEPS, STEPS) == pytest.approx(0.048)
    assert joint.lr(250, 1000) == pytest.approx(0.0048)  # in any number of updates
    assert joint.lr(1000, 1000) == pytest.approx(0.048)
    assert Joint(delay=0, warmup=0).lr(0, STEPS) == pytest.approx(0.0048)


def test_the_warm_up_falls_to_nothing_before_the_policy_learns():
    joint = Joint()
    probabilities = [joint.warmup_probability(step, STEPS) for step in (0, 3381, 6761, 6762, STEPS)]
    assert probabilities == pytest.approx([1, 0.5, 1 / 6762, 0, 0])
    assert Joint(warmup=0).warmup_probability(0, STEPS) == 0
    with pytest.raises(ValueError, match=r"warmup=0.3, delay=0.25; allowed: .* warmup at most delay"):
        Joint(warmup=0.3)


@pytest.mark.parametrize("steps", [200, 2000])
def test_rewards_that_say_nothing_decide_little(steps):
    """Of a few updates; were the policy decided then, nobody could tell what it has learnt from what chance made."""
    rng, joint = np.random.default_rng(0), Joint()
    controller = Reinforce(small_space(*[3] * 30))
    for step in range(steps):
        controller.lr = joint.lr(step, steps)
        controller.observe(controller.draw(1, rng), rng.normal(0.5, 0.03, size=1))
    assert controller.entropy().mean() > 0.7 * np.log(3)


# ---- REINFORCE


def test_the_baseline_has_no_bias_to_its_first_reward():
    controller = Reinforce(small_space(2))
    baselines = []
    for reward in (1.0, 0.0, 0.5):
        controller.observe(np.array([[0]]), np.array([reward]))
        baselines.append(controller.state_dict()["baseline"])
    second = 0.95 * 0.05 / (1 - 0.95**2)
    assert baselines == pytest.approx([1, second, (0.95**2 * 0.05 + 0.05 * 0.5) / (1 - 0.95**3)])


def test_two_steps_of_adam_by_hand():
    """One choice of two options, both likely: the gradient of the log-probability is (1/2, -1/2)."""
    controller = Reinforce(small_space(2), ReinforceSettings(lr=0.01))
    controller.observe(np.array([[0]]), np.array([0.2]))  # equals its baseline
    assert controller.logits.tolist() == [[0, 0]]
    controller.observe(np.array([[0]]), np.array([0.6]))
    gradient = (0.6 - (0.95 * 0.2 + 0.6) / 1.95) / 2
    second = 0.001 * gradient**2
    step = 0.01 * (1 - 0.999**2) ** 0.5 * gradient / (second**0.5 + 1e-8)
    np.testing.assert_allclose(controller.logits, [[step, -step]], rtol=1e-12)


def test_a_policy_does_not_learn_from_what_it_did_not_choose():
    controller = Reinforce(conditional_space())
    for point, reward in (([1, 2, 1], 0.1), ([1, 2, 1], 0.9), ([0, 2, 1], 0.9)):
        controller.observe(np.array([point]), np.array([reward]), chosen=np.array([True, False, True]))
    assert (controller.logits[1] == 0).all()
    assert (controller.logits[[0, 2], :2] != 0).all()


def test_the_first_network_after_the_training_is_the_most_likely():
    controller = Reinforce(small_space(3, 4))
    controller.logits[[0, 1], [2, 1]] = 0.1
    learned = Learned(controller)
    assert learned.propose(50)[0].tolist() == [2, 1]
    later = learned.propose(50)
    assert len(np.unique(later, axis=0)) > 6
    again = Learned(Reinforce(small_space(3, 4)))
    again.load_state_dict(learned.state_dict())
    np.testing.assert_array_equal(again.propose(50), learned.propose(50))


# ---- averages of networks


def tiny_layer(in_ch, kernel, se, expansion):
    """Of 8 channels."""
    mid_ch, se_ch = in_ch * expansion, 4 if se else 0
    return MBConv(in_ch=in_ch, mid_ch=mid_ch, out_ch=8, kernel=kernel, se_ch=se_ch, skip="identity", act="relu")


def tiny_space() -> SearchSpace:
    """A layer or none between a stem and the classes; 16 px."""
    layer = Layer(
        tiny_layer,
        kernel=OneOf("kernel", (3, 5)),
        se=OneOf("se", (False, True)),
        repeat=OneOf("there", (False, True)),
        expansion=OneOf("expansion", (1, 2)),
    )
    layers = [Layer(ConvBN, out_ch=8, kernel=3), layer, Layer(Classifier, out_ch=5, dropout=0.0)]
    return declare("tiny", layers, resolution_px=16)


def tiny(kernels: str) -> tuple[Supernet, Mixtures]:
    space = tiny_space()
    generator = torch.Generator().manual_seed(0)
    net = Supernet(Layout(space), in_ch=3, classes=5, kernels=kernels, generator=generator).double()
    for weight in net.weights.values():
        weight.data.add_(0.1 * torch.randn(weight.shape, generator=generator).double())  # no beta is 0, no gamma 1
    return net, Mixtures(space, lambda point: net.route(space.decode(point), space.decode(point)), kernels)


@pytest.mark.parametrize("kernels", ["own", "centre"])
@pytest.mark.parametrize("mixed", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)])
def test_operators_that_are_averaged_by_hand(kernels, mixed):
    net, mixtures = tiny(kernels)
    x = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    weights = {name.removeprefix("part1/0/MBConv/"): weight for name, weight in net.weights.items()}

    def normed(x, weight, name, **how):
        x = F.conv2d(x, weight, **how)
        return F.batch_norm(x, None, None, weights[f"{name}/gamma"], weights[f"{name}/beta"], training=True, eps=1e-5)

    def depthwise(x, size):
        name = f"depthwise{size}x{size}" if kernels == "own" else "depthwise"
        weight = weights[f"{name}/weight"]
        cut = (weight.shape[2] - size) // 2
        weight = weight[:, :, cut : cut + size, cut : cut + size]
        return F.relu(normed(x, weight, name, padding=size // 2, groups=16))

    def gated(x):
        inner = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), weights["se_reduce/weight"], weights["se_reduce/bias"]))
        return x * F.conv2d(inner, weights["se_expand/weight"], weights["se_expand/bias"]).sigmoid()

    before = net.stretch(x, mixtures.route(mixtures.space.largest, np.zeros(4, bool)).stretches[0])
    wide = F.relu(normed(before, weights["expand/weight"], "expand"))
    wide = (depthwise(wide, 3) + depthwise(wide, 5)) / 2 if mixed[0] else depthwise(wide, 5)
    wide = (wide + gated(wide)) / 2 if mixed[1] else gated(wide)
    layer = normed(wide, weights["project/weight"], "project")
    route = mixtures.route(mixtures.space.largest, np.array([*map(bool, mixed), False]))
    expected = before + layer / 2 if mixed[2] else before + layer
    torch.testing.assert_close(net.stretch(before, route.stretches[1]), expected, rtol=1e-9, atol=1e-9)


def test_options_that_are_the_same_weigh_more():
    net, mixtures = tiny("own")
    x = torch.randn(6, 8, 16, 16, generator=torch.Generator().manual_seed(1)).double()
    whole = mixtures.route(mixtures.space.largest, np.zeros(4, bool)).stretches[1]
    layer = tiny_layer(8, 5, True, 2)
    part = replace(whole, steps=averaged(1, [(layer,), (), (layer,)], "own"))
    torch.testing.assert_close(net.stretch(x, part), (2 * net.stretch(x, whole) + x) / 3)


def test_what_is_an_operator_and_what_filters():
    assert operators(tiny_space()).tolist() == [True, True, True, False]
    for name in ("mnasnet", "mobilenet_v3"):
        space = spaces.get(name, base_width=0.35)
        kinds = {c.name.rsplit(".", 1)[-1]: op for c, op in zip(space.choices, operators(space), strict=True)}
        assert {name for name, op in kinds.items() if not op} <= {"filters", "expansion"}
        assert {"kernel", "se"} <= {name for name, op in kinds.items() if op}


@pytest.mark.parametrize("name", ["mnasnet", "mobilenet_v3"])
def test_a_network_of_which_everything_is_averaged_trains_all_weights(name):
    net = make(name, kernels="own")
    space = net.layout.space
    mixtures = Mixtures(space, lambda point: net.route(space.decode(point), small(space.decode(point))), "own")
    route = mixtures.route(space.largest, mixtures.operators)
    x = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    F.cross_entropy(net(x, route), torch.arange(4)).backward()
    assert [key for key, weight in net.weights.items() if weight.grad is None] == []
    rng = np.random.default_rng(0)
    for point in space.sample(rng, 4):
        mixed = mixtures.operators & (rng.random(len(point)) < 0.5)
        point = np.where(mixed, space.largest, point)
        with torch.no_grad():
            assert net(x, mixtures.route(point, mixed)).isfinite().all()
        nothing = mixtures.route(point, np.zeros_like(mixed))
        assert nothing == net.route(space.decode(point), small(space.decode(point)))
        assert (mixtures.spread(point, mixed, 5, rng)[:, ~mixed] == point[~mixed]).all()


# ---- training


class Watched(JointPolicy):
    """Remembers what was drawn and what was measured."""

    def __init__(self, policy: JointPolicy) -> None:
        self.__dict__.update(vars(policy))
        self.drawn, self.measured, self.rates = [], [], []

    def draw(self, step, rng):
        self.drawn.append(super().draw(step, rng))
        return self.drawn[-1]

    def learn(self, net, drawn, step, rng, device="cpu"):
        super().learn(net, drawn, step, rng, device)
        self.rates.append(self.controller.lr)

    def _top1(self, net, route, rng, device):
        self.measured.append(route)
        return super()._top1(net, route, rng, device)


@pytest.mark.parametrize("same", [True, False])
def test_the_network_that_was_trained_is_measured(tmp_path, same):
    joint = Joint(same_network=same)
    todo = training(tmp_path, space="mobilenet_v3", steps=8, joint=joint, phases=ONLY_MIXED)
    assert todo.policy
    watched = Watched(todo.policy)
    replace(todo, policy=watched).run()
    if same:
        assert [drawn.route for drawn in watched.drawn] == watched.measured
    else:
        assert [drawn.route for drawn in watched.drawn[::2]] != watched.measured
        assert [drawn.route for drawn in watched.drawn[1::2]] == watched.measured
    assert watched.rates == pytest.approx([joint.lr(step, 8) for step in range(8)])
    first = watched.drawn[0]  # with a probability of 1
    assert not first.chosen.any()
    np.testing.assert_array_equal(first.mixed, watched._mixtures.operators)
    np.testing.assert_array_equal(first.point, watched._mixtures.space.largest)
    assert all(drawn.chosen.all() for drawn in watched.drawn[4:])


@pytest.mark.parametrize(("batches", "images"), [(1, 16), (4, 64), (1000, 6000)])
def test_how_many_images_a_reward_takes(tmp_path, batches, images):
    policy = training(tmp_path, joint=Joint(reward_batches=batches)).policy
    assert policy
    seen = []

    class Net:
        def eval(self):
            pass

        train = eval

        def __call__(self, x, route):
            seen.append(x)
            return F.one_hot(torch.zeros(len(x), dtype=torch.int64), 10)

    top1 = policy._top1(Net(), policy.draw(11, np.random.default_rng(0)).route, np.random.default_rng(0), "cpu")
    assert len(seen[0]) == images
    assert len(seen[0].unique(dim=0)) == images  # no two the same
    held = policy._data.holdout.labels
    assert top1 == pytest.approx((held == 0).mean()) if images == len(held) else 0 <= top1 <= 1


def test_a_policy_learns_what_the_weights_can_do_and_what_the_target_is():
    """A net that is right as often as three of its choices are good; latency is the sum of the choices."""
    data = sources.load("fashion_mnist_mini", train_images=32)
    space = SearchSpace(name="small", choices=tuple(Choice(f"c{i}", (0, 1, 2)) for i in range(5)), decode=tuple)
    rng = np.random.default_rng(0)
    known = {image.tobytes(): i for i, image in enumerate(data.holdout.images)}

    class Net:
        def eval(self):
            pass

        train = eval

        def __call__(self, x, good):
            images = (255 * (x * data.std[0] + data.mean[0])).round().to(torch.uint8).numpy().transpose(0, 2, 3, 1)
            labels = [data.holdout.labels[known[image.tobytes()]] for image in images]
            right = rng.random(len(labels)) < 0.3 + 0.2 * good
            answers = np.where(right, labels, (np.array(labels) + 1) % 10)
            return torch.nn.functional.one_hot(torch.from_numpy(answers), 10)

    def route(point, mixed):
        return int((point[:3] == 2).sum())

    reward = Reward(name="absolute", target_ms=8, beta=-0.5)
    mixtures = SimpleNamespace(space=SimpleNamespace(largest=np.full(5, 2)), operators=np.zeros(5, bool), route=route)
    given = {"mixtures": mixtures, "reward": reward, "data": data, "batch": 16, "steps": 2000}
    policy = JointPolicy(Reinforce(space), latency_ms=lambda points: 1.0 + points.sum(axis=1), **given)
    for step in range(2000):
        policy.learn(Net(), policy.draw(step, rng), step, rng)
        if step == 499:
            assert (policy.controller.logits == 0).all()
    assert policy.most_likely()[:3].tolist() == [2, 2, 2]  # 0.9 right
    assert policy.most_likely()[3:].sum() == 1  # and 8 ms
    again = JointPolicy(Reinforce(space), latency_ms=len, **given)
    again.load(policy.tensors())
    np.testing.assert_array_equal(again.controller.logits, policy.controller.logits)
