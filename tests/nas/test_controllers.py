"""Every controller against one conformance suite; evolution; settings."""

import tracemalloc
from functools import partial

import numpy as np
import pytest

from nas import controllers
from nas.controllers.bayesian import Bayesian, BayesianSettings
from nas.controllers.evolution import Evolution, EvolutionSettings
from nas.testing import CONTROLLER_CHECKS
from nas.testing.controllers import conditional_space, small_space
from search_spaces.space import Choice, SearchSpace

EARLY = {"evolution": {"population": 4, "tournament": 2}, "bayesian": {"random": 2}}
"""Settings with which a controller learns from the beginning."""


@pytest.fixture(params=controllers.names())
def name(request):
    return request.param


@pytest.mark.parametrize("check", CONTROLLER_CHECKS, ids=lambda check: check.__name__)
def test_a_promise_of_all_controllers(name, check):
    check(partial(controllers.make, name, settings=EARLY.get(name)))


@pytest.mark.parametrize("n", [0, -1, 2.5, True, None])
def test_numbers_of_proposals_without_sense(n):
    with pytest.raises(ValueError, match=f"{n} proposals; it must be a whole number of at least 1"):
        controllers.make("random", small_space(4, 2)).propose(n)


@pytest.mark.parametrize(
    ("indices", "rewards", "message"),
    [
        ([[0, 1]], [0.5], r"takes indices \(n, 3\) and rewards \(n,\), not \(1, 2\) and \(1,\)"),
        ([0, 1, 2], [0.5], r"not \(3,\) and \(1,\)"),
        ([[0, 1, 2]], [0.5, 0.6], r"not \(1, 3\) and \(2,\)"),
        ([[0, 1, 2]], [[0.5]], r"not \(1, 3\) and \(1, 1\)"),
        ([[0, 1, -1]], [0.5], "an index is no whole number, or outside its choice"),
        ([[0, 2, 0]], [0.5], "an index is no whole number, or outside its choice"),
        ([[0.0, 1.0, 2.0]], [0.5], "an index is no whole number"),
        ([[0, 1, 2]], ["good"], "rewards must be numbers"),
        ([[0, 1, 2]], [np.inf], "a reward is infinite; rewards must be finite, or NaN"),
    ],
)
def test_observations_without_sense(indices, rewards, message):
    with pytest.raises(ValueError, match=message):
        controllers.make("random", small_space(4, 2, 3)).observe(indices, rewards)


def test_states_of_other_controllers_or_spaces_are_refused(name):
    controller = controllers.make(name, small_space(4, 2, 3))
    others = [
        controllers.make(other, small_space(4, 2, 3)).state_dict() for other in controllers.names() if other != name
    ]
    elsewhere = controllers.make(name, small_space(5, 5, 2, 2))
    elsewhere.observe(elsewhere.propose(4), np.arange(4.0))
    others += [elsewhere.state_dict()] * (name != "random")  # which knows nothing of its space
    for state in others:
        with pytest.raises(ValueError, match=f"controller {name}: this is the state of another"):
            controller.load_state_dict(state)


def test_choices_that_do_not_matter_are_survived_and_do_not_count(name):
    """Where the layer is left out, its kernel can be anything: no controller may learn from it."""
    more = tuple(Choice(f"c{i}", (0, 1, 2, 3)) for i in range(4))
    space = SearchSpace(name="conditional", choices=(*conditional_space().choices, *more), decode=lambda indices: None)
    controller = controllers.make(name, space, rng_seed=0, settings=EARLY.get(name))
    for _ in range(5):
        indices = controller.propose(6)
        assert space.active(indices).shape == indices.shape
        controller.observe(indices, 1.0 - space.canonical(indices)[:, 0] + indices[:, 3])
    state, seen = controller.state_dict(), []
    told = ((0, np.array([0.2, 0.9])), (2, np.array([0.2, 0.9])), (0, np.array([9.0, 0.9])))
    for kernel, rewards in told:
        other = controllers.make(name, space, rng_seed=0, settings=EARLY.get(name))
        other.load_state_dict(state)
        other.observe(np.array([[0, kernel, 0, 1, 1, 1, 1], [0, kernel, 1, 1, 1, 1, 1]]), rewards)
        seen.append(space.canonical(np.vstack([other.propose(8) for _ in range(4)])))
    if name not in ("rnn_ppo", "evolution"):  # later tokens may depend on any earlier one; children inherit what slept
        assert (seen[0] == seen[1]).all()
    assert name == "random" or (seen[0] != seen[2]).any()  # from what matters it learns


def test_spaces_of_many_options_or_choices(name):
    """Less than 200 MiB, whatever the number of options is."""
    settings = {"bayesian": {"random": 4, "children": 256}, "rnn_ppo": {"hidden": 2}}
    sizes = ([3000, 4, 4], [3] * 100) if name == "rnn_ppo" else ([10_000, 4, 4], [3] * 3000)
    for space in (small_space(*each) for each in sizes):
        controller = controllers.make(name, space, rng_seed=0, settings=settings.get(name))
        tracemalloc.start()
        for _ in range(3):
            indices = controller.propose(4)
            controller.observe(indices, indices.mean(1) / indices.max())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 200 * 2**20


def test_spaces_that_are_too_large_for_a_policy_are_refused():
    many = Choice("a", tuple(range(3000)))
    space = SearchSpace(name="vast", choices=(many, *(Choice(f"c{i}", (0, 1)) for i in range(3000))), decode=tuple)
    with pytest.raises(ValueError, match="space 'vast' has 3,001 choices of up to 3000 options; .*=evolution"):
        controllers.make("reinforce", space)
    with pytest.raises(ValueError, match="has 70000 options; times hidden=1024 they must be at most 67108864"):
        controllers.make("rnn_ppo", small_space(70_000), settings={"hidden": 1024})


def test_unknown_controller_or_setting():
    with pytest.raises(
        ValueError, match="no controller 'annealing'; there are: rnn_ppo, reinforce, evolution, bayesian, random"
    ):
        controllers.make("annealing", small_space(2))
    with pytest.raises(ValueError, match="no controller 'evolutoin'; did you mean evolution"):
        controllers.make("evolutoin", small_space(2))
    with pytest.raises(
        ValueError, match="rnn_ppo has no setting 'lrr'; did you mean lr.; allowed: baseline_decay, clip"
    ):
        controllers.make("rnn_ppo", small_space(2), settings={"lrr": 1})
    with pytest.raises(ValueError, match="random has no setting 'lr'"):
        controllers.make("random", small_space(2), settings={"lr": 1})


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


# ---- settings


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("evolution", {"population": 50.5}, "population=50.5; it must be a whole number from 1 to 100000"),
        ("evolution", {"tournament": 0}, "tournament=0; it must be a whole number from 1 to"),
        ("evolution", {"population": 4}, "tournament=25, population=4; allowed: 1 <= tournament <= population"),
        ("evolution", {"again": 1.0}, "again=1.0; it must be a number from 0 to 0.99"),
        ("evolution", {"population": True}, "population=True; it must be a whole number"),
        ("reinforce", {"lr": "fast"}, "lr='fast'; it must be a number above 0 to 100"),
        ("reinforce", {"lr": 0}, "lr=0; it must be a number above 0"),
        ("reinforce", {"lr": float("nan")}, "lr=nan; it must be a number above 0"),
        ("reinforce", {"beta2": 1}, "beta2=1; it must be a number from 0 to below 1"),
        ("reinforce", {"entropy": -1}, "entropy=-1; it must be a number from 0 to 1000"),
        ("rnn_ppo", {"hidden": 0}, "hidden=0; it must be a whole number from 1 to 1024"),
        ("rnn_ppo", {"hidden": 10**9}, "hidden=1000000000; it must be a whole number from 1 to 1024"),
        ("rnn_ppo", {"lr": float("inf")}, "lr=inf; it must be a number above 0 to 1"),
        ("rnn_ppo", {"epochs": 10**6}, "epochs=1000000; it must be a whole number from 1 to 100"),
        ("rnn_ppo", {"baseline_decay": None}, "baseline_decay=None; it must be a number from 0 to below 1"),
        ("bayesian", {"random": 1}, "random=1; it must be a whole number from 2 to 100000"),
        ("bayesian", {"window": 10**6}, "window=1000000; it must be a whole number from 2 to 4096"),
        ("bayesian", 5, "settings=5; give {name: value}, allowed: children, parents, random, window"),
        ("random", [("lr", 1)], "give {name: value}, allowed: none, it has no settings"),
    ],
)
def test_settings_are_checked(name, settings, message):
    with pytest.raises(ValueError, match=f"^controller {name}: .*{message}"):
        controllers.make(name, small_space(2), settings=settings)


@pytest.mark.parametrize("rng_seed", [-1, 1.5, "0", None, True, 2**63])
def test_seeds_are_checked(name, rng_seed):
    with pytest.raises(ValueError, match=f"controller {name}: rng_seed=.*; it must be a whole number from 0 to 9"):
        controllers.make(name, small_space(2), rng_seed=rng_seed)
