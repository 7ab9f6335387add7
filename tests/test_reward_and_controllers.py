"""Rewards against the paper's numbers; controllers against one conformance suite and against mathematics."""

import itertools
import math

import numpy as np
import pytest
import torch

from nas import controllers, reward
from nas.controllers.rnn_ppo import RNNPPO, Policy, PPOSettings
from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace


def small_space(*sizes: int) -> SearchSpace:
    choices = tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes))
    return SearchSpace(name="small", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


# ---- rewards


def test_doubling_the_latency_costs_what_the_paper_says():
    for w, factor in ((-0.07, 0.953), (-0.15, 0.901)):
        one, two = (reward.soft(0.7, ms, target_ms=75, w=w) for ms in (40, 80))
        assert two / one == pytest.approx(factor, abs=5e-4)


def test_at_the_target_the_reward_is_the_accuracy():
    assert reward.soft(0.7, 75, target_ms=75, w=-0.07) == pytest.approx(0.7)
    assert reward.hard(0.7, 75, target_ms=75) == pytest.approx(0.7)


def test_hard_is_a_limit():
    assert reward.hard(0.7, 10, target_ms=75) == pytest.approx(0.7)
    assert reward.hard(0.7, 150, target_ms=75) == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reward.soft(0.7, 10, target_ms=75, w=0.1), "w=0.1: it must be at most 0"),
        (lambda: reward.soft(0.7, 0, target_ms=75), "latency 0 ms, target 75 ms: both must be above 0"),
        (lambda: reward.hard(0.7, 10, target_ms=-1), "both must be above 0"),
    ],
)
def test_reward_messages(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- every controller


@pytest.fixture(params=controllers.names())
def name(request):
    return request.param


@pytest.mark.parametrize("sizes", [(2,), (1, 3, 1), (4, 2, 3, 5)])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_proposals_stay_in_the_space(name, sizes, n):
    space = small_space(*sizes)
    controller = controllers.make(name, space, rng_seed=0)
    for _ in range(5):
        indices = controller.propose(n)
        assert indices.shape == (n, len(sizes))
        for row in indices:
            space.check(row)
        controller.observe(indices, np.linspace(0, 1, n))


def drive(controller, rounds):
    """Proposals of `rounds` rounds with a fixed reward."""
    seen = []
    for _ in range(rounds):
        indices = controller.propose(4)
        controller.observe(indices, indices.sum(1) / 10)
        seen.append(indices)
    return np.stack(seen)


def test_same_seed_same_proposals(name):
    space = small_space(4, 2, 3)
    a, b, c = (drive(controllers.make(name, space, rng_seed=seed), 6) for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_state_is_exact(name):
    space = small_space(4, 2, 3)
    controller = controllers.make(name, space, rng_seed=0)
    drive(controller, 3)
    state = controller.state_dict()
    expected = drive(controller, 4)
    other = controllers.make(name, space, rng_seed=99)
    other.load_state_dict(state)
    assert (drive(other, 4) == expected).all()


def test_failed_evaluations_are_survived(name):
    controller = controllers.make(name, small_space(4, 2, 3), rng_seed=0)
    indices = controller.propose(4)
    controller.observe(indices, np.full(4, np.nan))
    controller.observe(indices, np.array([0.1, np.nan, 0.3, np.nan]))
    controller.observe(indices, np.zeros(4))
    assert controller.propose(4).shape == (4, 3)


def test_duplicates_are_survived(name):
    controller = controllers.make(name, small_space(4, 2, 3), rng_seed=0)
    same = np.repeat(controller.propose(1), 5, axis=0)
    controller.observe(same, np.full(5, 0.5))
    assert controller.propose(3).shape == (3, 3)


def test_global_random_state_is_left_alone(name):
    torch.manual_seed(0)
    np_before, before = np.random.get_state()[1].copy(), torch.get_rng_state()
    drive(controllers.make(name, small_space(3, 3), rng_seed=5), 2)
    assert (torch.get_rng_state() == before).all()
    assert (np.random.get_state()[1] == np_before).all()


def test_unknown_controller_or_setting():
    with pytest.raises(ValueError, match="no controller 'annealing'; there are: rnn_ppo, random"):
        controllers.make("annealing", small_space(2))
    with pytest.raises(ValueError, match="rnn_ppo has no setting 'lrr'; allowed: baseline_decay, clip"):
        controllers.make("rnn_ppo", small_space(2), settings={"lrr": 1})
    with pytest.raises(ValueError, match="random has no setting 'lr'"):
        controllers.make("random", small_space(2), settings={"lr": 1})


# ---- the mathematics of rnn_ppo


def scrambled_policy(*sizes: int) -> Policy:
    """A policy far from uniform."""
    torch.manual_seed(3)
    policy = Policy(list(sizes), hidden=8)
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return policy


def test_probabilities_of_all_architectures_sum_to_one():
    policy = scrambled_policy(3, 2, 4)
    tokens = torch.tensor(list(itertools.product(range(3), range(2), range(4))))
    log_prob, _ = policy(tokens)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert log_prob.exp().std() > 0.01  # not uniform: later choices depend on earlier ones


def test_a_new_controller_is_uniform_and_its_entropy_is_the_mean_of_logs():
    policy = RNNPPO(small_space(3, 2, 4), rng_seed=0).policy
    log_prob, entropy = policy(torch.tensor([[0, 1, 2]]))
    assert log_prob.item() == pytest.approx(-math.log(24), abs=1e-5)
    assert entropy.item() == pytest.approx(math.log(24) / 3, abs=1e-5)


def test_samples_follow_the_probabilities():
    policy = scrambled_policy(3, 2)
    tokens = torch.tensor(list(itertools.product(range(3), range(2))))
    with torch.no_grad():
        p = policy(tokens)[0].exp().numpy()
        drawn = policy.sample(20000, torch.Generator().manual_seed(0)).numpy()
    counts = np.array([(drawn == row).all(1).mean() for row in tokens.numpy()])
    np.testing.assert_allclose(counts, p, atol=4 * np.sqrt(0.25 / 20000))


def test_gradient_of_the_log_probability_equals_finite_differences():
    policy = scrambled_policy(3, 2, 2).double()
    tokens = torch.tensor([[2, 0, 1]])
    head = policy.heads[1]

    def log_prob() -> torch.Tensor:
        return policy(tokens)[0].double().sum()

    log_prob().backward()
    step = 1e-3
    with torch.no_grad():
        for i in range(2):
            head.bias[i] += step
            up = log_prob()
            head.bias[i] -= 2 * step
            down = log_prob()
            head.bias[i] += step
            assert head.bias.grad[i].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=1e-3)


def test_good_architectures_become_likelier():
    space = small_space(4, 4, 4)
    controller = RNNPPO(space, PPOSettings(), rng_seed=0)
    for _ in range(60):
        indices = controller.propose(16)
        controller.observe(indices, (indices == 2).mean(1))
    later = controller.propose(64)
    assert (later == 2).mean() > 0.8  # 0.25 by chance


def test_the_scale_and_offset_of_rewards_do_not_matter():
    space = small_space(4, 4)
    a, b = (RNNPPO(space, PPOSettings(), rng_seed=0) for _ in range(2))
    for _ in range(4):
        indices = a.propose(8)
        assert (b.propose(8) == indices).all()
        rewards = indices.sum(1).astype(float)
        a.observe(indices, rewards)
        b.observe(indices, 1000 * rewards + 7)
