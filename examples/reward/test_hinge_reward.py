import pytest
from hinge_reward import hinge

from nas.reward import Reward, is_linear
from nas.testing import check_reward


def test_it_is_a_reward():
    check_reward(hinge)


def test_only_slowness_costs():
    reward = Reward(name="hinge", target_ms=10.0)
    assert reward(0.7, 5.0) == reward(0.7, 10.0) == 0.7
    assert reward(0.7, 20.0) == pytest.approx(0.5)


def test_controllers_may_use_the_latencies_that_are_known():
    assert is_linear(Reward(name="hinge", target_ms=10.0))
