"""The policies `reinforce` and `rnn_ppo` against mathematics."""

import contextlib
import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from nas import controllers
from nas.controllers import reinforce
from nas.controllers.reinforce import Reinforce
from nas.controllers.rnn_policy import Policy
from nas.controllers.rnn_ppo import RNNPPO, PPOSettings
from nas.controllers.threads import one_thread
from nas.testing.controllers import conditional_space, small_space
from tests.commands.test_commands import HANGS_S


@pytest.mark.parametrize(("imagined", "least", "most"), [(8, 1.5, 4.0), (0, -0.3, 0.5)])
def test_the_policy_itself_learns_from_networks_that_it_imagines(imagined, least, most):
    """From 40 samples: how far its own are above random ones, in deviations of these."""
    space, gains = small_space(*[5] * 8), np.random.default_rng(50).normal(size=8)
    controller = RNNPPO(space, PPOSettings(imagined=imagined), rng_seed=0)
    for _ in range(5):
        indices = controller.propose(8)
        controller.observe(indices, indices @ gains)
    own = controller.policy.sample(512, torch.Generator().manual_seed(0)).numpy() @ gains
    assert least < (own.mean() - 2 * gains.sum()) / np.sqrt(2 * (gains**2).sum()) < most


def scrambled_reinforce(space):
    controller = Reinforce(space, rng_seed=0)
    controller.logits = controller.logits + np.random.default_rng(1).normal(size=controller.logits.shape)
    return controller


def test_reinforce_probabilities_of_all_networks_sum_to_one():
    space = conditional_space()
    points = np.array(list(itertools.product(range(2), range(3), range(2))))
    networks = np.unique(space.canonical(points), axis=0)
    assert len(networks) == 2 + 2 * 3
    p = np.exp(scrambled_reinforce(space).log_prob(networks))
    assert p.sum() == pytest.approx(1)
    assert p.std() > 0.01


def test_reinforce_log_probability_is_the_sum_over_active_choices():
    controller = scrambled_reinforce(conditional_space())
    log_p = np.log(np.maximum(controller.probabilities(), 1e-9))
    assert controller.log_prob(np.array([[0, 2, 1]]))[0] == pytest.approx(log_p[0, 0] + log_p[2, 1])
    assert controller.log_prob(np.array([[1, 2, 1]]))[0] == pytest.approx(log_p[0, 1] + log_p[1, 2] + log_p[2, 1])


def test_reinforce_gradients_equal_finite_differences():
    space = conditional_space()
    controller = scrambled_reinforce(space)
    points = np.array([[0, 2, 1], [1, 1, 0], [1, 2, 1]])
    gradient = controller.log_prob_gradient(points)
    entropy = controller._entropy_gradient()
    logits, step = controller.logits.copy(), 1e-6
    for c, o in itertools.product(range(3), range(3)):
        if np.isfinite(logits[c, o]):
            values = []
            for sign in (1, -1):
                controller.logits = logits.copy()
                controller.logits[c, o] += sign * step
                values.append(np.append(controller.log_prob(points), controller.entropy().sum()))
            difference = (values[0] - values[1]) / (2 * step)
            np.testing.assert_allclose(difference[:-1], gradient[:, c, o], atol=1e-6)
            assert difference[-1] == pytest.approx(entropy[c, o], abs=1e-6)


def test_the_likeliest_options_make_the_likeliest_network():
    space = small_space(3, 2, 4)
    controller = scrambled_reinforce(space)
    points = np.array(list(itertools.product(range(3), range(2), range(4))))
    assert controller.most_likely().tolist() == points[controller.log_prob(points).argmax()].tolist()


def test_reinforce_samples_follow_the_probabilities():
    controller = scrambled_reinforce(small_space(3, 2))
    drawn = controller.propose(20000)
    for c, size in enumerate((3, 2)):
        shares = np.bincount(drawn[:, c], minlength=size) / 20000
        np.testing.assert_allclose(shares, controller.probabilities()[c, :size], atol=4 * np.sqrt(0.25 / 20000))


def test_reinforce_makes_good_networks_likelier_whatever_the_rewards_scale():
    space = small_space(4, 4, 4)
    for scale in (1, 1000):
        controller = controllers.make("reinforce", space, rng_seed=0)
        for _ in range(60):
            indices = controller.propose(16)
            controller.observe(indices, scale * (indices == 2).mean(1))
        assert (controller.propose(64) == 2).mean() > 0.8  # 0.25 by chance


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


AFTER = """
import multiprocessing, torch
torch.set_num_threads(2)
from nas import controllers
from search_spaces import spaces

def total(n):
    return float((torch.ones(500, 500) @ torch.ones(500, 500)).sum()) * n

if __name__ == "__main__":
    controller = controllers.make("rnn_ppo", spaces.get("mnasnet"), rng_seed=0)
    for _ in range(2):
        indices = controller.propose(10)
        controller.observe(indices, (indices == 1).mean(1))
    print(torch.get_num_threads())
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(sum(pool.map(total, range(3))))
"""


def test_processes_can_be_forked_after_a_search_by_rnn_ppo():
    """Where torch has started threads, they are missing in a forked process, which waits for them for ever."""
    ended = subprocess.run([sys.executable, "-c", AFTER], capture_output=True, text=True, timeout=HANGS_S)
    assert ended.stdout.split() == ["2", "375000000.0"], ended.stderr


def test_the_number_of_threads_is_given_back_whatever_happens():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with contextlib.suppress(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_pieces_make_no_difference_to_reinforce(monkeypatch):
    space = small_space(4, 2, 3)

    def drive():
        controller = Reinforce(space, rng_seed=0)
        for _ in range(5):
            indices = controller.propose(7)
            controller.observe(indices, indices.sum(1) / 10)
        return controller.logits

    whole = drive()
    monkeypatch.setattr(reinforce, "_AT_ONCE", 30)  # two rows at a time
    np.testing.assert_allclose(drive(), whole, rtol=1e-12)


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
