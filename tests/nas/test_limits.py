"""Limits: counted as networks are, never broken by what is proposed, and said clearly where nothing meets them."""

import pickle

import numpy as np
import pytest

import latency_luts
from nas import controllers
from nas.controllers.region import Region, keep_within
from nas.controllers.rnn_ppo import RNNPPO, less_outside
from nas.limits import COUNTED, Limits, devices
from nas.reward import Reward
from nas.testing.controllers import small_space
from search_spaces import cost, spaces, zoo
from search_spaces.onnx_net import export
from search_spaces.space import SearchSpace

ALL = {"pixel2_ms": 12.0, "params_m": 0.6, "size_mb": 2.0, "peak_memory_mb": 3.0, "madds_m": 50.0}


def limits_of(space, limits=ALL) -> Limits:
    return Limits(space, limits, {device: latency_luts.load(device) for device in devices(limits)})


@pytest.mark.parametrize("name", ["mnasnet", "mobilenet_v3"])
def test_many_networks_have_what_each_has(name):
    """Also in a space that is a function alone, where networks are counted one by one."""
    space = spaces.get(name, base_width=0.35, classes=10)
    points = space.sample(np.random.default_rng(0), 20)
    alone = SearchSpace(name="alone", choices=space.choices, decode=space.decode)
    for limit, slow in zip(limits_of(space).limits, limits_of(alone).limits, strict=True):
        each = [limit.of(space.decode(point)) for point in points]
        np.testing.assert_allclose(limit.of_points(points), each, rtol=1e-9)
        np.testing.assert_allclose(slow.of_points(points), each, rtol=1e-9)


def test_what_is_counted(tmp_path):
    """MobileNetV2's figures; the weights are those of its ONNX file, but for names and shapes."""
    net = zoo.get("mobilenet_v2")
    assert COUNTED["params_m"].of(net) == pytest.approx(3.504872)
    assert COUNTED["madds_m"].of(net) == pytest.approx(300.77, abs=0.5)
    assert COUNTED["peak_memory_mb"].of(net) == cost.peak_activation_bytes(net) / 1e6
    small = zoo.get("mobilenet_v3_small", width=0.5, resolution_px=32, classes=10)
    export(small, tmp_path / "small.onnx")
    bytes_ = (tmp_path / "small.onnx").stat().st_size
    assert COUNTED["size_mb"].of(small) == pytest.approx(bytes_ / 1e6, rel=0.05)


def test_points_outside_are_led_inside_and_those_inside_stay():
    space = spaces.get("mnasnet", base_width=0.35, classes=10)
    limits = limits_of(space)
    region, points = limits.region, space.canonical(space.sample(np.random.default_rng(0), 200))
    inside = region.has(points)
    assert 0 < inside.sum() < 40
    led = region.led_inside(points, np.random.default_rng(1))
    assert region.has(led).all()
    assert (led[inside] == points[inside]).all()
    assert len(np.unique(led, axis=0)) > 150
    for point in led[:20]:
        assert all(limit.of(space.decode(point)) <= limit.most for limit in limits.limits)
    assert any(limit.of(space.decode(points[~inside][0])) > limit.most for limit in limits.limits)


@pytest.mark.parametrize("name", controllers.names())
@pytest.mark.parametrize("informed", [False, True])
def test_no_controller_proposes_what_breaks_a_limit(name, informed):
    """And the same seed proposes the same, also from a state."""
    space = small_space(*[4] * 8)
    region = Region(space, lambda points: np.maximum(points.sum(axis=1) - 5, 0).astype(float))
    assert region.has(space.sample(np.random.default_rng(0), 10_000)).mean() < 0.02
    made = [keep_within(controllers.make(name, space, rng_seed=3), region, rng_seed=3) for _ in range(3)]
    for controller in made if informed else ():
        latency = lambda points: 5.0 + points.sum(axis=1)  # noqa: E731
        controllers.inform(controller, latency, Reward(name="soft", target_ms=10.0))
    first, again, later = made
    for batch in range(5):
        indices = first.propose(8)
        assert region.has(indices).all()
        np.testing.assert_array_equal(again.propose(8), indices)
        for controller in (first, again):
            controller.observe(indices, 0.1 + 0.05 * (indices == 1).sum(axis=1))
        if batch == 3:
            later.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(later.propose(8), indices)


@pytest.mark.parametrize("name", ["bayesian", "rnn_ppo"])
def test_a_copy_of_a_restricted_controller_is_restricted_again(name):
    space = spaces.get("accel_nasbench")
    region = Region(space, lambda points: np.maximum(points.sum(axis=1) - 9, 0).astype(float))
    controller = keep_within(controllers.make(name, space), region, rng_seed=0)
    controller.propose(4)
    copy = keep_within(pickle.loads(pickle.dumps(controller)), region, rng_seed=0)
    assert region.has(copy.propose(16)).all()


def test_the_policy_learns_where_it_may_go():
    space = small_space(*[4] * 8)
    region = Region(space, lambda points: np.maximum(points.sum(axis=1) - 9, 0).astype(float))
    controller = RNNPPO(space, rng_seed=0)
    controller.restrict(region)
    before = region.has(controller._sample(512)).mean()
    for _ in range(6):
        indices = controller.propose(8)
        controller.observe(indices, 0.02 * indices.sum(axis=1))  # the best are those at the border
    assert region.has(controller._sample(512)).mean() > before + 0.2


def test_a_region_that_is_not_found_is_said():
    space = small_space(3, 3)
    region = Region(space, lambda points: 1.0 + points.sum(axis=1))
    rng = np.random.default_rng(0)
    assert region.led(np.array([2, 1]), rng).tolist() == [0, 0]
    with pytest.raises(ValueError, match="no network within the limits was found from 50 random ones"):
        region.led_inside(np.array([[2, 1]]), rng)


def test_points_on_a_plateau_are_led_from_elsewhere():
    """Two choices that only count together, as equally large layers do: no single change is for the better."""
    space = small_space(3, 3, 3)
    region = Region(space, lambda points: (points[:, :2].max(axis=1) > 0).astype(float))
    led = region.led_inside(space.sample(np.random.default_rng(0), 50), np.random.default_rng(1))
    assert region.has(led).all()


def test_the_largest_layers_are_mended_one_by_one():
    """The most memory that a network takes is that of its largest layer, of which there may be several."""
    space = spaces.get("mobilenet_v3", base_width=0.5, resolution_px=128, classes=10)
    region = limits_of(space, {"peak_memory_mb": 0.4}).region
    points = space.canonical(space.sample(np.random.default_rng(0), 100))
    assert region.has(points).mean() < 0.2
    led = np.array([region.led(point, np.random.default_rng(1)) for point in points])
    assert region.has(led).all()


def test_imagined_networks_outside_are_below_all_others():
    rewards, excess = np.array([0.5, 0.7, 0.9, 0.6]), np.array([0.0, 2.0, 1.0, 0.0])
    less = less_outside(rewards, excess)
    assert less[[0, 3]].tolist() == [0.5, 0.6]
    assert less[1] < less[2] < 0.5
    assert less_outside(rewards, np.zeros(4)) is rewards
    none_inside = less_outside(rewards, np.array([1.0, 2.0, 3.0, 2.0]))
    assert np.argsort(none_inside, kind="stable").tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"params": 1.0}, "limits has 'params', which is none; did you mean params_m?; allowed: params_m, madds_m"),
        ({"_ms": 1.0}, "limits has '_ms', which is none"),
    ],
)
def test_names_that_are_no_limits(limits, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        devices(limits)


class Like:
    """A device that is as slow as a network has parameters, or as it has not."""

    def __init__(self, power: int) -> None:
        self._power = power

    def latency_ms(self, arch):
        return (cost.params(arch) / 1e6) ** self._power

    def latency_ms_batch(self, space, points):
        return np.array([self.latency_ms(space.decode(point)) for point in points])


def test_limits_that_no_network_meets_are_said_with_the_nearest():
    space = spaces.get("mnasnet", base_width=0.35, classes=10)
    with pytest.raises(ValueError, match=r"limits has params_m=0.05, and the least .* found to have is 0.07"):
        limits_of(space, {"params_m": 0.05}).check()
    contrary = Limits(space, {"small_ms": 0.2, "large_ms": 3.0}, {"small": Like(+1), "large": Like(-1)})
    with pytest.raises(
        ValueError, match=r"within all limits; the nearest has small_ms 0.\d+ of 0.2, large_ms [34].* of 3"
    ):
        contrary.check()
    limits_of(space).check()
