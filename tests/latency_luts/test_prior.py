"""What devices are like: the mathematics of the prior, on devices that are drawn from one."""

import numpy as np
import pytest

from latency_luts import prior
from latency_luts.prior import FEATURES, Prior
from search_spaces import cost, zoo

NETWORKS = [
    zoo.get(name, width=width)
    for name in ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "mnasnet_b1")
    for width in (0.5, 0.75, 1.0)
] + [zoo.get(name) for name in ("squeezenet_1_0", "squeezenet_1_1", "shufflenet_v2", "efficientnet_b0", "resnet50")]
X = np.array([prior.network_features(arch) for arch in NETWORKS])
MEAN = np.log([2e-8, 1e-8, 2e-8, 4e-8, 1e-5, 1e-7, 1e-3, 1e-8, 1e-6])
SHARED = Prior(name="drawn", mean=MEAN, covariance=0.16 * np.eye(9) + 0.36, noise=0.03)


def drawn(rng, count, *, noise=0.03):
    """Log costs of devices, and what the networks take there."""
    costs = rng.multivariate_normal(SHARED.mean, SHARED.covariance, count)
    return costs, [np.exp(np.log(X @ np.exp(own)) + noise * rng.standard_normal(len(X))) for own in costs]


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "squeezenet_1_0", "resnet50", "alexnet"])
def test_features_count_what_the_network_has(name):
    arch = zoo.get(name)
    its = dict(zip(FEATURES, prior.network_features(arch), strict=True))
    depthwise = sum(
        cost.node_madds(node)
        for unit in prior.lower(arch)
        for node in unit.nodes
        if isinstance(node.op, prior.Conv) and node.op.depthwise
    )
    assert sum(its[name] for name in FEATURES if name.endswith("_madd")) + depthwise == cost.madds(arch)
    assert (its["depthwise_row"] > 0) == (depthwise > 0)
    assert its["weight_byte"] == 4 * sum(map(cost.unit_folded_weights, prior.lower(arch)))
    assert its["activation_byte"] > 4 * 3 * 224**2
    assert its["operator"] == int(its["operator"]) > 5
    assert (its["curved_value"] > 0) == (name == "mobilenet_v3_large")
    assert (its["winograd_madd"] > 0) == (name != "mobilenet_v3_large")
    assert its["grouped_madd"] == 0


def test_without_latencies_all_that_is_known_is_the_prior():
    known = prior.posterior(SHARED, X[:0], np.zeros(0))
    ms, deviations = known.predict(X)
    np.testing.assert_allclose(ms, X @ np.exp(MEAN))
    assert (deviations > 0.5).all()


def test_the_likeliest_costs_are_where_the_loss_is_flat():
    rng = np.random.default_rng(0)
    _, (ms,) = drawn(rng, 1)
    usual = prior._Usual(SHARED.mean, np.linalg.inv(SHARED.covariance), SHARED.noise)
    weights, y = np.full(len(X), 1 / 0.03**2), np.log(ms)
    at, covariance = prior._most_likely(usual, X, y, weights, SHARED.mean)

    def loss(there):
        return weights @ (y - np.log(X @ np.exp(there))) ** 2 + (there - MEAN) @ usual.precision @ (there - MEAN)

    for direction in np.eye(9):
        step = 1e-4 * direction
        assert loss(at + step) >= loss(at) - 1e-9
        slope = (loss(at + step) - loss(at - step)) / 2e-4
        assert abs(slope) < 1e-2 * np.sqrt(1 / covariance.diagonal().min())


def test_more_latencies_say_more():
    rng = np.random.default_rng(1)
    errors = {count: [] for count in (1, 3, 10)}
    for own, ms in zip(*drawn(rng, 30), strict=True):
        order = rng.permutation(len(X))
        for count, off in errors.items():
            known = prior.posterior(SHARED, X[order[:count]], ms[order[:count]])
            found, _ = known.predict(X[order[10:]])
            off += np.abs(found / (X[order[10:]] @ np.exp(own)) - 1).tolist()
    one, three, ten = (np.mean(off) for off in errors.values())
    assert one > 1.3 * three > 1.5 * ten
    assert ten < 0.05


def test_exact_latencies_of_many_networks_give_the_costs():
    rng = np.random.default_rng(2)
    (own,), (ms,) = drawn(rng, 1, noise=0.0)
    known = prior.posterior(SHARED, X, ms)
    found, deviations = known.predict(X)
    np.testing.assert_allclose(found, ms, rtol=0.01)
    assert (deviations < 0.05).all()
    assert known.noise < 0.02
    np.testing.assert_allclose(known.mean[0], own[0], atol=0.1)


def test_intervals_cover_what_they_promise():
    rng = np.random.default_rng(3)
    inside = []
    for _, ms in zip(*drawn(rng, 60), strict=True):
        order = rng.permutation(len(X))
        found, deviations = prior.posterior(SHARED, X[order[:4]], ms[order[:4]]).predict(X[order[4:]])
        inside += (np.abs(np.log(found / ms[order[4:]])) < 1.645 * deviations).tolist()
    assert 0.84 < np.mean(inside) < 0.95  # about normal here; of real devices a prior says how many deviations it takes


def test_a_prior_is_found_from_devices():
    """Its mean is near, and it serves new devices about as well as the true one."""
    rng = np.random.default_rng(4)
    _, seen = drawn(rng, 40)
    fitted = prior.fit("found", [(X, ms) for ms in seen], np.ones(40))
    assert np.abs(X @ np.exp(fitted.mean) / (X @ np.exp(MEAN)) - 1).max() < 0.4
    assert 0.02 < fitted.noise < 0.05
    off = {"true": [], "fitted": []}
    for own, ms in zip(*drawn(rng, 40), strict=True):
        for name, which in (("true", SHARED), ("fitted", fitted)):
            found, _ = prior.posterior(which, X[:3], ms[:3]).predict(X[3:])
            off[name] += np.abs(found / (X[3:] @ np.exp(own)) - 1).tolist()
    assert np.mean(off["fitted"]) < 1.3 * np.mean(off["true"])


def test_an_odd_latency_hardly_counts():
    rng = np.random.default_rng(5)
    (own,), (ms,) = drawn(rng, 1)
    ms[3] *= 3
    found, _ = prior.posterior(SHARED, X, ms).predict(X)
    np.testing.assert_allclose(found, X @ np.exp(own), rtol=0.06)


def test_what_would_be_known_after_one_more():
    rng = np.random.default_rng(6)
    _, (ms,) = drawn(rng, 1, noise=0.0)
    known = prior.posterior(SHARED, X[:1], ms[:1])
    expected = known.once(X[5])
    assert np.trace(expected.covariance) < np.trace(known.covariance)
    best = known.most_telling(X, X)
    doubts = [(known.once(x).predict(X)[1] ** 2).mean() for x in X]
    assert best == np.argmin(doubts)


def test_what_is_shipped():
    assert prior.names() == ("ncnn", "tflite_fp32", "tflite_int8")
    for name in prior.names():
        shipped = prior.load(name)
        assert shipped.name == name
        assert prior.from_dict(prior.to_dict(shipped)).errors == shipped.errors
        assert np.linalg.eigvalsh(shipped.covariance).min() > 0
        ms, _ = prior.posterior(shipped, X[:0], np.zeros(0)).predict(X)
        assert ((ms > 1) & (ms < 5000)).all()
        assert shipped.expected(4) == next((e, d) for count, e, d in shipped.errors if count == 3)
        assert shipped.expected(1000) == shipped.errors[-1][1:]
        assert all(0.5 < deviations < 5.0 for _, _, deviations in shipped.errors)
        assert shipped.about
        assert "3x3 depthwise convolution" in shipped.kinds
    with pytest.raises(ValueError, match="does not say how far off"):
        SHARED.expected(3)
    with pytest.raises(ValueError, match="prior=tflite_fp23; did you mean tflite_fp32"):
        prior.load("tflite_fp23")


def test_features_are_those_of_the_file():
    assert len(FEATURES) == X.shape[1] == len(prior.load("tflite_fp32").mean)
