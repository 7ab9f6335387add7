"""Rewards against the paper's numbers."""

import math

import numpy as np
import pytest

from nas import reward
from nas.reward import Reward


def test_doubling_the_latency_costs_what_the_paper_says():
    for w, factor in ((-0.07, 0.953), (-0.15, 0.901)):
        one, two = (reward.soft(0.7, ms, target_ms=75, w=w) for ms in (40, 80))
        assert two / one == pytest.approx(factor, abs=5e-4)


def test_at_the_target_the_reward_is_the_accuracy():
    assert reward.soft(0.7, 75, target_ms=75, w=-0.07) == pytest.approx(0.7)
    assert reward.hard(0.7, 75, target_ms=75) == pytest.approx(0.7)


def test_latencies_and_targets_may_be_parts_of_a_millisecond():
    assert reward.absolute(0.7, 0.5, target_ms=0.25, beta=-0.1) == pytest.approx(0.6)


def test_hard_is_a_limit():
    assert reward.hard(0.7, 10, target_ms=75) == pytest.approx(0.7)
    assert reward.hard(0.7, 150, target_ms=75) == pytest.approx(0.35)


def test_absolute_costs_the_same_on_both_sides_of_the_target():
    """TuNAS, equation 2 and its example: beta times the relative distance."""
    assert reward.absolute(0.7, 75, target_ms=75, beta=-0.1) == pytest.approx(0.7)
    assert reward.absolute(0.7, 60, target_ms=75, beta=-0.1) == pytest.approx(0.7 - 0.02)
    assert reward.absolute(0.7, 90, target_ms=75, beta=-0.1) == pytest.approx(0.7 - 0.02)


def test_the_derivatives_of_the_rewards():
    """Of soft and hard a percent of latency is worth w percent of the reward, each side of the target with its own w;
    of absolute a millisecond is worth beta / target, one way and the other; accuracy counts (LAT/TAR)^w, or 1."""
    soft = Reward(name="soft", target_ms=40, w=-0.07, w_above=-0.15)
    hard, absolute = Reward(name="hard", target_ms=40), Reward(name="absolute", target_ms=40, beta=-0.2)
    of_log_ms = {(soft, 20): -0.07, (soft, 80): -0.15, (hard, 20): 0.0, (hard, 80): -1.0}
    of_ms = {(absolute, 20): 0.2 / 40, (absolute, 80): -0.2 / 40}
    of_top1 = {(soft, 20): 0.5**-0.07, (soft, 80): 2**-0.15, (hard, 20): 1.0, (hard, 80): 0.5, (absolute, 80): 1.0}
    for (priced, ms), expected in of_log_ms.items():
        up, down = (priced(0.7, ms * math.exp(step)) for step in (1e-5, -1e-5))
        assert (math.log(up) - math.log(down)) / 2e-5 == pytest.approx(expected, abs=1e-6)
    for (priced, ms), expected in of_ms.items():
        assert (priced(0.7, ms + 1e-5) - priced(0.7, ms - 1e-5)) / 2e-5 == pytest.approx(expected, rel=1e-6)
    for (priced, ms), expected in of_top1.items():
        assert (priced(0.8, ms) - priced(0.6, ms)) / 0.2 == pytest.approx(expected)


def test_a_reward_is_the_function_of_its_name():
    rewards = {name: Reward(name=name, target_ms=75, w=-0.15, beta=-0.2)(0.7, 150) for name in reward.names()}
    assert rewards == {
        "soft": reward.soft(0.7, 150, target_ms=75, w=-0.15),
        "hard": reward.hard(0.7, 150, target_ms=75),
        "absolute": reward.absolute(0.7, 150, target_ms=75, beta=-0.2),
    }


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"name": "soft", "w": -0.15}, "ACC × (LAT/TAR)^-0.15"),
        ({"name": "soft", "w": 0.0, "w_above": -0.3}, "ACC × (LAT/TAR)^0, ^-0.3 above the target"),
        ({"name": "hard"}, "ACC below the target, ACC × (LAT/TAR)^-1 above it"),
        ({"name": "absolute", "beta": -0.1}, "ACC - 0.1 × |LAT/TAR - 1|"),
    ],
)
def test_a_reward_in_words(parameters, words):
    assert Reward(target_ms=75, **parameters).describe() == words


def two_lines(top1, latency_ms, target_ms):
    """Accuracy alone.

    Latency does not count.
    """
    return top1


def test_a_reward_of_ones_own_is_described_by_its_first_line():
    name = f"{__name__}:two_lines"
    assert Reward(name=name, target_ms=75).describe() == f"{name}: Accuracy alone."


def test_whether_a_reward_is_linear_is_tried_from_a_hundredth_of_a_millisecond_to_ten_seconds():
    tried = []
    assert reward.is_linear(lambda top1, ms: tried.append(ms) or top1 / ms)
    assert np.unique(tried) == pytest.approx(10 ** np.linspace(-2, 4, 25))

    def from_a_second_on(top1, ms):
        if ms < 1000:
            raise ValueError("no reward")
        return top1

    assert reward.is_linear(from_a_second_on)
    assert not reward.is_linear(lambda top1, ms: from_a_second_on(top1, ms) ** 2)
    assert reward.is_linear(lambda top1, ms: from_a_second_on(top1, 0)) is False  # nothing is known


@pytest.mark.parametrize("w", [-0.02, -0.5])
def test_an_adjusted_reward_has_its_best_at_the_target(w):
    """Where log ACC is a - b / latency, soft's best latency is b / -w: 200 or 8, while the target is 40."""
    latency_ms = np.linspace(5, 300, 2951)
    top1 = np.exp(-0.2 - 4 / latency_ms)

    def best_ms(reward):
        return latency_ms[np.argmax([reward(a, ms) for a, ms in zip(top1, latency_ms, strict=True)])]

    before = Reward(name="soft", target_ms=40, w=w)
    assert best_ms(before) == pytest.approx(-4 / w, rel=0.01)
    assert best_ms(reward.adjusted(before, top1, latency_ms)) == pytest.approx(40, rel=0.01)
    good = Reward(name="soft", target_ms=40, w=-0.1)
    assert reward.adjusted(good, top1, latency_ms) == good
    with pytest.raises(ValueError, match="with 0 networks cannot be adjusted"):
        reward.adjusted(before, [], [])
    with pytest.raises(ValueError, match="reward=hard with 1 networks"):
        reward.adjusted(Reward(name="hard", target_ms=40), [0.5], [30])


@pytest.mark.parametrize(
    ("latency_ms", "bent"),
    [
        ([40, 40, 40, 40, 40, 90], False),  # the sixth has the least reward: only the best five count
        ([41.3, 41.3, 41.3, 40, 40, 40], True),  # of six the middle would be at the target
        ([40, 44, 44, 44, 44, 40], True),  # the best alone is at the target
        ([41.1] * 6, False),  # 2.75 % off
        ([41.3] * 6, True),  # 3.25 %
        ([38.7] * 6, True),
    ],
)
def test_what_is_more_than_3_per_cent_off_in_the_middle_of_the_best_is_bent(latency_ms, bent):
    reward_before = Reward(name="soft", target_ms=40, w=-0.1)
    top1 = [0.9, 0.85, 0.84, 0.83, 0.82, 0.2]
    after = reward.adjusted(reward_before, top1, latency_ms)
    assert after == (Reward(name="soft", target_ms=40, w=0.0, w_above=-0.3) if bent else reward_before)


@pytest.mark.parametrize(
    ("w", "w_above", "after"), [(-0.1, None, -0.3), (-0.5, None, -0.5), (-0.1, -0.4, -0.4), (-0.5, -0.2, -0.3)]
)
def test_what_is_slow_never_costs_less_than_before(w, w_above, after):
    before = Reward(name="soft", target_ms=40, w=w, w_above=w_above)
    assert reward.adjusted(before, [0.5] * 5, [80] * 5) == Reward(name="soft", target_ms=40, w=0.0, w_above=after)


def test_the_best_fiftieth_counts_where_there_are_many():
    """400 networks: of the best 8 five are at the target."""
    before = Reward(name="soft", target_ms=40, w=-0.01)
    top1, latency_ms = np.linspace(0.9, 0.1, 400), np.full(400, 60.0)
    top1[:3], latency_ms[:3] = 0.99, 80.0
    latency_ms[3:8] = 40.0
    assert reward.adjusted(before, top1, latency_ms) == before
    assert reward.adjusted(before, top1[:200], latency_ms[:200]) != before  # of the best 5 two
    latency_ms[:8] = [40.0] * 4 + [80.0] * 4
    assert reward.adjusted(before, top1, latency_ms) != before  # of the best 8 four, of 7 they would be most
    assert reward.adjusted(before, top1[:399], latency_ms[:399]) == before


def test_of_equal_rewards_the_first_count_and_each_network_has_both_figures():
    plain = Reward(name="soft", target_ms=40, w=0.0)
    assert reward.adjusted(plain, [0.5] * 40, [40.0] * 5 + [80.0] * 35) == plain
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        reward.adjusted(plain, [0.5, 0.6], [40.0])


def test_a_reward_may_cost_more_above_the_target():
    bent = Reward(name="soft", target_ms=40, w=-0.1, w_above=-1.0)
    assert [bent(0.6, ms) for ms in (20, 40, 80)] == pytest.approx([0.6 * 0.5**-0.1, 0.6, 0.3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reward.soft(0.7, 90, target_ms=75, w_above=0.1), "w=0.1: it must be a number, at most 0"),
        (lambda: reward.absolute(0.7, 10, target_ms=75, beta=0), "beta=0: it must be a number below 0"),
        (lambda: reward.absolute(0.7, 0, target_ms=75), "both must be above 0"),
        (lambda: reward.soft(0.7, 10, target_ms=75, w=0.1), "w=0.1: it must be a number, at most 0"),
        (lambda: reward.soft(0.7, 0, target_ms=75), "latency 0 ms, target 75 ms: both must be above 0"),
        (lambda: reward.hard(0.7, 10, target_ms=-1), "both must be above 0"),
        (lambda: reward.hard(0.7, 10, target_ms=math.inf), "both must be above 0 and finite"),
        (lambda: reward.hard(0.7, 10, target_ms=0), "latency 10 ms, target 0 ms: both must be above 0 and finite"),
        (lambda: reward.absolute(0.7, math.inf, target_ms=75), "latency inf ms, target 75 ms: both must be above 0"),
        (lambda: reward.soft(0.7, math.nan, target_ms=10), "both must be above 0 and finite"),
        (lambda: reward.soft(0.7, 10, target_ms=75, w=math.nan), "w=nan: it must be a number"),
        (lambda: reward.soft(0.7, 10, target_ms=75, w=-math.inf), "w=-inf: it must be a number"),
        (lambda: reward.absolute(0.7, 10, target_ms=75, beta=math.nan), "beta=nan: it must be a number"),
        (lambda: reward.absolute(0.7, 10, target_ms=75, beta=-math.inf), "beta=-inf: it must be a number"),
        (lambda: reward.soft(math.nan, 90, target_ms=75), "w=-0.07: the reward of top-1 nan at 90 ms is not finite"),
        (lambda: reward.absolute(0.7, 1e200, target_ms=1e-200), "beta=-0.2: the reward of top-1 0.7 at 1e.200 ms is"),
        (
            lambda: reward.soft(0.7, 10, target_ms=75, w=-1000),
            r"w=-1000: the reward of top-1 0.7 at 10 ms is not finite \(target 75 ms\); choose a value nearer to 0",
        ),
        (
            lambda: Reward(name="softer", target_ms=75),
            "no reward 'softer'; did you mean soft.; there are: soft, hard, absolute",
        ),
    ],
)
def test_reward_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()
