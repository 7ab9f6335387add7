"""One network for several devices: what counts of its latencies."""

import numpy as np
import pytest

import latency_luts
from nas.devices import Together
from nas.reward import Reward
from search_spaces import spaces

SPACE = spaces.get("accel_nasbench")
MODELS = {name: latency_luts.load(name) for name in ("pixel1", "pixel2", "pixel3")}
TARGETS_MS = {"pixel1": 50.0, "pixel2": 57.5, "pixel3": 40.0}


def together(**weights):
    return Together(models=MODELS, targets_ms=TARGETS_MS, weights=weights)


def shares(arch):
    return [MODELS[device].latency_ms(arch) / target_ms for device, target_ms in TARGETS_MS.items()]


@pytest.mark.parametrize("weights", [{}, {"pixel1": 3.0, "pixel2": 1.0, "pixel3": 2.0}])
def test_what_counts(weights):
    """The largest share of the targets, or the weighted geometric mean of the shares, in milliseconds of the first."""
    both, points = together(**weights), SPACE.sample(np.random.default_rng(0), 50)
    batch = both.latency_ms_batch(SPACE, points)
    worst = set()
    for point, ms in zip(points, batch, strict=True):
        arch = SPACE.decode(point)
        own = shares(arch)
        worst.add(int(np.argmax(own)))
        wanted = (own[0] ** 3 * own[1] * own[2] ** 2) ** (1 / 6) if weights else max(own)
        assert both.latency_ms(arch) == pytest.approx(50.0 * wanted)
        assert ms == pytest.approx(both.latency_ms(arch))
    assert len(worst) > 1


def test_a_reward_at_the_worst_share_is_the_worst_of_the_rewards():
    both = together()
    for point in SPACE.sample(np.random.default_rng(1), 20):
        arch = SPACE.decode(point)
        each = [
            Reward(name="soft", target_ms=target_ms)(0.7, MODELS[device].latency_ms(arch))
            for device, target_ms in TARGETS_MS.items()
        ]
        assert Reward(name="soft", target_ms=50.0)(0.7, both.latency_ms(arch)) == pytest.approx(min(each))


def test_words_and_records():
    both, arch = together(), SPACE.decode([0] * 28)
    assert both.device == "pixel1, pixel2 and pixel3 (the worst LAT/TAR, as ms of pixel1)"
    assert both.describe().startswith("50.0 ms on pixel1, 57.5 ms on pixel2, 40.0 ms on pixel3; of LAT/TAR there the l")
    assert (
        "geometric mean counts, weights 1 of pixel1, 2 of pixel2, 3 of pixel3"
        in together(pixel1=1.0, pixel2=2.0, pixel3=3.0).describe()
    )
    ms = {device: model.latency_ms(arch) for device, model in MODELS.items()}
    assert both.record(arch) == {d: {"target_ms": TARGETS_MS[d], "latency_ms": ms[d]} for d in MODELS}
    assert f"{ms['pixel2']:.1f} of 57.5 ms on pixel2" in both.in_words(arch)
    assert {name: of(arch) for name, of in both.costs.items()} == {f"{d}_ms": ms[d] for d in MODELS}
