"""An update of the policies against the formulas of their papers, written out again."""

import copy
import math

import numpy as np
import pytest
import torch

from nas.controllers.reinforce import Reinforce, ReinforceSettings
from nas.controllers.rnn_ppo import RNNPPO, PPOSettings
from nas.testing.controllers import conditional_space, small_space

# ---- proximal policy optimisation (arXiv:1707.06347, equation 7)


def scrambled(space, **settings) -> RNNPPO:
    """A controller far from uniform."""
    controller = RNNPPO(space, PPOSettings(hidden=8, **settings), rng_seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in controller.policy.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return controller


def test_advantages_are_rewards_above_the_moving_average_in_moving_deviations():
    controller = RNNPPO(small_space(2), PPOSettings(baseline_decay=0.75))
    assert controller._advantages(np.array([1.0, 3.0])).tolist() == [-1.0, 1.0]  # the first batch is its own baseline
    # baseline 0.75 * 2 + 0.25 * 6 = 3; deviations 1 and 5, whose mean is 3; scale 0.75 * 1 + 0.25 * 3 = 1.5
    assert controller._advantages(np.array([4.0, 8.0])) == pytest.approx([1 / 1.5, 5 / 1.5])
    # baseline 0.75 * 3 + 0.25 * 3 = 3; deviation 0; scale 0.75 * 1.5
    assert controller._advantages(np.array([3.0, 3.0])).tolist() == [0.0, 0.0]
    assert (controller._baseline, controller._scale) == pytest.approx((3.0, 1.125))


POINTS = np.array([[0, 2, 1], [1, 0, 0], [1, 1, 1], [0, 0, 1], [1, 2, 0], [0, 1, 0]])
REWARDS = np.array([0.9, 0.1, 0.4, 0.7, 0.2, 0.6])


@pytest.mark.parametrize("entropy", [0.0, 0.5])
def test_an_update_follows_the_clipped_objective(entropy):
    """Samples whose ratio has left 1 ± clip to the side that their advantage wants have no gradient any more, all
    others that of ratio * advantage; beside it the entropy's."""
    space, clip, lr = conditional_space(), 0.2, 0.05
    controller = scrambled(space, clip=clip, lr=lr, epochs=4, entropy=entropy)
    policy = copy.deepcopy(controller.policy)
    advantages = (REWARDS - REWARDS.mean()) / np.abs(REWARDS - REWARDS.mean()).mean()
    tokens, active = torch.from_numpy(POINTS), torch.from_numpy(space.active(POINTS))
    assert not active.all()
    optimizer = torch.optim.Adam(policy.parameters(), lr=lr)
    before = policy(tokens, active)[0].detach()
    left, stayed = 0, 0
    for _ in range(4):
        optimizer.zero_grad()
        log_prob, entropies = policy(tokens, active)
        for i, advantage in enumerate(advantages):
            ratio = float((log_prob[i].detach() - before[i]).exp())
            if (advantage > 0 and ratio > 1 + clip) or (advantage < 0 and ratio < 1 - clip):
                left += 1
                continue
            stayed += 1
            (-advantage * ratio / len(advantages) * log_prob[i]).backward(retain_graph=True)
        (-entropy * entropies.mean()).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    assert left >= 6
    assert stayed >= 10
    controller.observe(POINTS, REWARDS)
    for (name, own), expected in zip(controller.policy.named_parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5, msg=name)


class OneLogit(torch.nn.Module):
    """One choice of two options, the first with p = 1 / (1 + exp(-z))."""

    def __init__(self, z: float) -> None:
        super().__init__()
        self.z = torch.nn.Parameter(torch.tensor(z, dtype=torch.float64))

    def forward(self, tokens, active):
        log_p = torch.stack([self.z, torch.zeros_like(self.z)]).log_softmax(0)
        return log_p[tokens[:, 0]], -(log_p.exp() * log_p).sum().expand(len(tokens))


@pytest.mark.parametrize(
    ("z", "rewards", "entropy", "lr", "ratios"),
    [
        (-1.0, [1.0, 0.0], 0.0, 0.6, [1.234, 0.914]),  # better and likelier than 1 + clip: held; the other one is not
        (1.0, [1.0, 0.0], 0.0, 1.0, [1.118, 0.678]),  # worse and less likely than 1 - clip: held
        (-1.0, [0.0, 1.0], 4.0, 2.5, [1.598, 0.780]),  # both outside, where the entropy took them against their rewards
    ],
)
def test_the_clipped_objective_of_two_samples_by_hand(z, rewards, entropy, lr, ratios):
    """Two steps of gradient ascent on mean(min(r A, clip(r, 0.8, 1.2) A)) + entropy * H, whose derivatives in z are
    r A (1 - p) or -r A p, nothing where the clip holds, and H' = -p (1 - p) z."""
    controller = RNNPPO(small_space(2), PPOSettings(clip=0.2, epochs=2, entropy=entropy))
    controller.policy = OneLogit(z)
    controller._optimizer = torch.optim.SGD(controller.policy.parameters(), lr=lr)
    controller.observe(np.array([[0], [1]]), np.array(rewards))

    def p(token: int) -> float:
        return 1 / (1 + math.exp(-z if token == 0 else z))

    before = p(0), p(1)
    for step in range(2):
        r = [p(token) / before[token] for token in (0, 1)]
        if step == 1:
            assert r == pytest.approx(ratios, abs=0.002)
        gradient = entropy * -p(0) * p(1) * z
        for token, advantage in enumerate(np.sign(np.array(rewards) - 0.5)):  # their mean deviation is 0.5
            held = r[token] > 1.2 if advantage > 0 else r[token] < 0.8
            gradient += 0 if held else r[token] * advantage * ((token == 0) - p(0)) / 2
        assert abs(gradient) < 1  # gradients are cut to a norm of 1
        z += lr * gradient
    assert controller.policy.z.item() == pytest.approx(z, rel=1e-6)


def test_gradients_are_cut_to_a_norm_of_1():
    controller = RNNPPO(small_space(2), PPOSettings(clip=0.2, epochs=1, entropy=100.0))
    controller.policy = OneLogit(1.0)
    controller._optimizer = torch.optim.SGD(controller.policy.parameters(), lr=0.25)
    controller.observe(np.array([[0], [1]]), np.array([0.0, 1.0]))
    assert controller.policy.z.item() == pytest.approx(0.75, abs=1e-4)


def test_choices_that_do_not_matter_count_in_neither_probability_nor_entropy():
    """By the policy's own probabilities of every single choice."""
    space = conditional_space()
    policy = scrambled(space).policy.double()
    tokens = torch.tensor([[0, 2, 1], [1, 2, 1]])

    def each(row: list[int], c: int) -> torch.Tensor:
        """Log-probabilities of the options of choice `c`, given the ones before it."""
        points = torch.tensor([[*row[:c], option, *row[c + 1 :]] for option in range(len(space.choices[c].options))])
        only = torch.zeros(len(points), 3, dtype=torch.bool)
        only[:, c] = True
        return policy(points, only)[0].detach()

    active = torch.from_numpy(space.active(tokens.numpy()))
    assert active.tolist() == [[True, False, True], [True, True, True]]
    log_prob, entropy = (value.detach() for value in policy(tokens, active))
    for i, row in enumerate(tokens.tolist()):
        own = [each(row, c) for c in range(3)]
        assert all(float(log_p.exp().sum()) == pytest.approx(1) for log_p in own)
        counts = active[i].tolist()
        expected = sum(float(log_p[token]) for log_p, token, on in zip(own, row, counts, strict=True) if on)
        assert float(log_prob[i]) == pytest.approx(expected)
        entropies = [-float((log_p.exp() * log_p).sum()) for log_p in own]
        assert float(entropy[i]) == pytest.approx(sum(h for h, on in zip(entropies, counts, strict=True) if on) / 3)


# ---- REINFORCE (arXiv:2008.06120, section 3.2)


def test_steps_of_reinforce_by_hand():
    """One choice of two options, with an entropy bonus: the logits are z and -z, whose p is 1 / (1 + exp(-2 z)). The
    baseline is the mean of all rewards, each batch's with a weight that decays."""
    lr, beta2, decay, bonus = 0.1, 0.9, 0.75, 0.3
    controller = Reinforce(small_space(2), ReinforceSettings(lr=lr, beta2=beta2, baseline_decay=decay, entropy=bonus))
    z, second, scale, means = 0.0, 0.0, 0.0, []
    batches = [([0, 1, 0], [1.0, 0.0, 2.0]), ([0, 0, 1], [0.5, 0.5, 3.0]), ([1, 1, 1], [1.0, 2.0, 6.0])]
    for step, (points, rewards) in enumerate(batches, start=1):
        controller.observe(np.array(points)[:, None], np.array(rewards))
        means.append(sum(rewards) / 3)
        weights = [decay ** (step - 1 - i) for i in range(step)]
        baseline = sum(w * mean for w, mean in zip(weights, means, strict=True)) / sum(weights)
        above = [r - baseline for r in rewards]
        scale = decay * scale + (1 - decay) * sum(map(abs, above)) / 3
        p = 1 / (1 + math.exp(-2 * z))
        entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
        gradient = sum(a * ((point == 0) - p) for a, point in zip(above, points, strict=True)) / 3
        gradient += bonus * scale * -p * (math.log(p) + entropy)
        second = beta2 * second + (1 - beta2) * gradient**2
        z += lr * gradient / math.sqrt(second / (1 - beta2**step))
        assert controller.logits[0].tolist() == pytest.approx([z, -z])


def test_gradients_as_small_as_adams_epsilon_make_shorter_steps():
    """Of 5e-7 the root of the mean square is 5e-7 * sqrt(0.001) = 1.58e-8 after one batch; epsilon is 1e-8."""
    controller = Reinforce(small_space(2), ReinforceSettings(lr=0.1, beta2=0.999))
    controller.observe(np.array([[0], [1]]), np.array([2e-6, 0.0]))
    step = 0.1 * 5e-7 * math.sqrt(0.001) / (5e-7 * math.sqrt(0.001) + 1e-8)
    assert controller.logits[0].tolist() == pytest.approx([step, -step])
    assert 0.05 < step < 0.07


def test_entropy_pulls_towards_all_options():
    """Rewards that are all the same say nothing; with the scale of earlier ones the bonus makes options even again."""
    controller = Reinforce(small_space(3), ReinforceSettings(entropy=1.0))
    controller.observe(np.array([[0], [1]]), np.array([1.0, 0.0]))
    entropy = [float(controller.entropy()[0])]
    controller.lr = 0.02
    for _ in range(3):
        controller.observe(np.array([[0], [1], [2]]), np.full(3, controller._baseline))
        entropy.append(float(controller.entropy()[0]))
    assert entropy == sorted(entropy)
    assert math.log(3) > entropy[-1] > entropy[0]
