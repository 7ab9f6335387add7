"""Controllers against one conformance suite and against mathematics."""

import itertools
import math

import numpy as np
import pytest
import torch

from nas import controllers
from nas.controllers.bayesian import Bayesian, BayesianSettings, GaussianProcess
from nas.controllers.evolution import Evolution, EvolutionSettings
from nas.controllers.reinforce import Reinforce
from nas.controllers.rnn_ppo import RNNPPO, Policy, PPOSettings
from nas.reward import Reward
from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace


def small_space(*sizes: int) -> SearchSpace:
    choices = tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes))
    return SearchSpace(name="small", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


def conditional_space() -> SearchSpace:
    """The kernel matters only where there is a layer."""
    choices = (
        Choice("layers", (0, 1)),
        Choice("kernel", (3, 5, 7), when=("layers", (1,))),
        Choice("se", (False, True)),
    )
    return SearchSpace(name="conditional", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


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


def test_choices_that_do_not_matter_are_survived_and_do_not_count(name):
    """Where the layer is left out, its kernel can be anything: no controller may learn from it."""
    more = tuple(Choice(f"c{i}", (0, 1, 2, 3)) for i in range(4))
    space = SearchSpace(name="conditional", choices=(*conditional_space().choices, *more), decode=lambda indices: None)
    early = {"evolution": {"population": 4, "tournament": 2}, "bayesian": {"random": 2}}  # learns from the beginning
    controller = controllers.make(name, space, rng_seed=0, settings=early.get(name))
    for _ in range(5):
        indices = controller.propose(6)
        assert space.active(indices).shape == indices.shape
        controller.observe(indices, 1.0 - space.canonical(indices)[:, 0] + indices[:, 3])
    state, seen = controller.state_dict(), []
    told = ((0, np.array([0.2, 0.9])), (2, np.array([0.2, 0.9])), (0, np.array([9.0, 0.9])))
    for kernel, rewards in told:
        other = controllers.make(name, space, rng_seed=0, settings=early.get(name))
        other.load_state_dict(state)
        other.observe(np.array([[0, kernel, 0, 1, 1, 1, 1], [0, kernel, 1, 1, 1, 1, 1]]), rewards)
        seen.append(space.canonical(np.vstack([other.propose(8) for _ in range(4)])))
    if name not in ("rnn_ppo", "evolution"):  # later tokens may depend on any earlier one; children inherit what slept
        assert (seen[0] == seen[1]).all()
    assert name == "random" or (seen[0] != seen[2]).any()  # from what matters it learns


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
    with pytest.raises(
        ValueError, match="no controller 'annealing'; there are: rnn_ppo, reinforce, evolution, bayesian, random"
    ):
        controllers.make("annealing", small_space(2))
    with pytest.raises(ValueError, match="rnn_ppo has no setting 'lrr'; allowed: baseline_decay, clip"):
        controllers.make("rnn_ppo", small_space(2), settings={"lrr": 1})
    with pytest.raises(ValueError, match="random has no setting 'lr'"):
        controllers.make("random", small_space(2), settings={"lr": 1})


# ---- evolution


def test_children_differ_from_a_parent_in_one_choice_and_none_is_proposed_twice():
    space = small_space(4, 4, 4, 4)
    controller = Evolution(space, EvolutionSettings(population=8, tournament=8), rng_seed=0)
    first = controller.propose(8)
    assert len({tuple(row) for row in first}) == 8
    rewards = first @ [1, 0.1, 0.01, 0.001]
    controller.observe(first, rewards)
    best = first[rewards.argmax()]
    children = controller.propose(10)
    assert ((children != best).sum(1) == 1).all()
    assert len({tuple(row) for row in np.vstack([first, children])}) == 18


def test_the_oldest_die_however_good_they_were():
    space = small_space(10, 10)
    controller = Evolution(space, EvolutionSettings(population=2, tournament=2), rng_seed=0)
    controller.observe(np.array([[9, 9]]), np.array([1.0]))
    controller.observe(np.array([[0, 0], [0, 1]]), np.array([0.1, 0.2]))
    assert all((child == [0, 1]).sum() == 1 for child in controller.propose(5))


def test_an_exhausted_space_is_proposed_again():
    controller = Evolution(small_space(2, 2), EvolutionSettings(population=4, tournament=2), rng_seed=0)
    for _ in range(3):
        indices = controller.propose(4)
        controller.observe(indices, indices.sum(1))
    assert indices.shape == (4, 2)


# ---- the mathematics of bayesian


def test_the_process_knows_what_it_was_told_and_draws_around_its_mean():
    rng = np.random.default_rng(0)
    sizes = [3, 4, 2, 5]
    points = np.unique(rng.integers(0, sizes, (60, 4)), axis=0)
    rewards = 5 + points @ [1.0, -0.5, 2.0, 0.1] + 0.5 * points[:, 0] * points[:, 1]
    process = GaussianProcess(points[:40], rewards[:40], sizes)
    np.testing.assert_allclose(process.mean(points[:40]), rewards[:40], atol=0.02)  # exact rewards: next to no noise
    assert np.corrcoef(process.mean(points[40:]), rewards[40:])[0, 1] > 0.9
    assert process.weights.argmin() == 3  # the choice that matters least
    drawn = process.draw(points, 4000, rng)
    np.testing.assert_allclose(drawn.mean(axis=0), process.mean(points), atol=0.1)
    assert drawn[:, :40].std(axis=0).max() < drawn[:, 40:].std(axis=0).min()


def test_the_process_takes_noise_for_noise():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 4, (200, 6))
    exact = points[:, 0] + 0.5 * points[:, 1]
    process = GaussianProcess(points, exact + rng.standard_normal(200), [4] * 6)
    assert process.noise >= 0.2
    assert np.abs(process.mean(points) - exact).mean() < 0.5  # 0.8 for the rewards themselves


def test_the_process_equals_its_formula():
    """Mean and deviation of the posterior from the kernel's definition."""
    points = np.array([[0, 0], [1, 0], [1, 1]])
    rewards = np.array([0.0, 1.0, 3.0])
    process = GaussianProcess(points, rewards, [2, 2])

    def k(a, b):
        return math.exp(-sum(w for w, x, y in zip(process.weights, a, b, strict=True) if x != y) / process.length)

    kernel = np.array([[k(a, b) for b in points] for a in points]) + process.noise * np.eye(3)
    new = [0, 1]
    across = np.array([k(new, a) for a in points])
    y = (rewards - rewards.mean()) / rewards.std()
    expected = rewards.mean() + rewards.std() * across @ np.linalg.solve(kernel, y)
    assert process.mean(np.array([new]))[0] == pytest.approx(expected)


def test_bayesian_finds_the_best_of_a_space_with_an_interaction():
    space = small_space(6, 6, 6, 6)
    controller = Bayesian(space, BayesianSettings(random=16), rng_seed=0)

    def rewards(indices):
        return -np.abs(indices - 3).sum(1) - 4 * ((indices[:, 0] == 2) != (indices[:, 1] == 4))

    seen = []
    for _ in range(15):
        indices = controller.propose(8)
        controller.observe(indices, rewards(indices))
        seen += indices.tolist()
    assert len({tuple(row) for row in seen}) == len(seen)  # none twice
    assert rewards(np.array(seen)).max() == 0  # 3, 3, 3, 3: one of 1296, with 120 samples


def best_found(rng_seed: int, *, informed: bool, samples: int = 64) -> float:
    """The best reward on a space whose latency is the sum of all choices, and whose accuracy is of two of them."""
    space, reward = small_space(*[5] * 8), Reward(name="absolute", target_ms=20, beta=-0.2)
    controller = Bayesian(space, BayesianSettings(random=16), rng_seed=rng_seed)

    def latency_ms(points):
        return 4.0 + points @ [1, 2, 3, 4, 1, 2, 3, 4]

    if informed:
        controller.inform(latency_ms, reward)
    found = []
    for _ in range(samples // 8):
        indices = controller.propose(8)
        top1 = 0.5 + 0.02 * indices[:, 0] + 0.02 * indices[:, 3]
        rewards = np.array([reward(a, ms) for a, ms in zip(top1, latency_ms(indices), strict=True)])
        controller.observe(indices, rewards)
        found += rewards.tolist()
    return max(found)


def test_bayesian_takes_the_latency_from_what_it_was_told():
    """0.64 is the best: 4 and 3 of the two choices that matter take 20 ms, and nothing is left for the others."""
    assert np.mean([best_found(seed, informed=True) for seed in range(8)]) > 0.635
    assert np.mean([best_found(seed, informed=False) for seed in range(8)]) < 0.625


def test_rewards_that_say_nothing_of_the_accuracy_are_left_out():
    """Above a limit the reward is 0 whatever the accuracy; a diverged training is told as worse than nothing."""
    space = small_space(4, 4, 4, 4)
    controller = Bayesian(space, BayesianSettings(random=8), rng_seed=1)
    controller.inform(lambda points: 1.0 + points.sum(axis=1), lambda top1, ms: top1 if ms <= 4 else 0.0)
    found = []
    for _ in range(10):
        indices = controller.propose(8)
        ms = 1.0 + indices.sum(axis=1)
        top1 = 0.1 + 0.2 * indices[:, 1]
        rewards = np.where(ms <= 4, top1, 0.0)
        rewards[indices[:, 0] == 3] = -5.0
        controller.observe(indices, rewards)
        found += rewards.tolist()
    assert max(found) == pytest.approx(0.7)  # 0, 3, 0, 0


def test_a_latency_that_all_have_and_a_reward_that_is_the_accuracy_say_nothing():
    space = small_space(4, 4, 4, 4)
    plain, told = (Bayesian(space, BayesianSettings(random=8), rng_seed=1) for _ in range(2))
    told.inform(lambda points: np.full(len(points), 7.0), lambda top1, ms: top1)
    for _ in range(6):
        indices = plain.propose(8)
        np.testing.assert_array_equal(told.propose(8), indices)
        for controller in (plain, told):
            controller.observe(indices, indices.sum(1) / 12)


def test_a_changed_reward_replaces_the_old_one():
    space = small_space(4, 4, 4)
    for controller in (
        Evolution(space, EvolutionSettings(population=8, tournament=8), rng_seed=0),
        Bayesian(space, BayesianSettings(random=2), rng_seed=0),
    ):
        points = np.unique(controller.propose(6), axis=0)
        controller.observe(points, 10.0 + np.arange(len(points)))
        controller.observe(points, -np.arange(len(points), dtype=float))
        state = controller.state_dict()
        told = state["rewards"] if "rewards" in state else [reward for reward, _ in state["population"]]
        assert sorted(told) == sorted(-np.arange(len(points), dtype=float))


def test_a_batch_larger_than_the_neighbourhood_is_still_chosen():
    """Bayesian, batches of 300: better than chance."""
    space = small_space(*[4] * 12)
    controller = Bayesian(space, BayesianSettings(), rng_seed=0)
    for _ in range(4):
        indices = controller.propose(300)
        assert len({tuple(row) for row in indices}) == 300
        controller.observe(indices, (indices == 2).mean(1))
    assert (indices == 2).mean() > 0.5  # 0.25 by chance


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("evolution", {"population": 50.5}, "population=50.5; it must be a whole number"),
        ("reinforce", {"lr": "fast"}, "lr=fast; it must be a number"),
        ("rnn_ppo", {"hidden": 0}, "hidden=0; it must be above 0"),
        ("evolution", {"tournament": 0}, "allowed: 1 <= tournament <= population"),
        ("evolution", {"again": 1.0}, "allowed: from 0 to below 1"),
        ("bayesian", {"random": 1}, "random=1; it must be at least 2"),
        ("reinforce", {"lr": 0}, "it must be above 0"),
        ("reinforce", {"beta2": 1}, "allowed: from 0 to below 1"),
        ("reinforce", {"entropy": -1}, "it must be at least 0"),
    ],
)
def test_settings_are_checked(name, settings, message):
    with pytest.raises(ValueError, match=message):
        controllers.make(name, small_space(2), settings=settings)


# ---- the mathematics of reinforce


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
