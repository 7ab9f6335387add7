"""Regularized evolution: who becomes a parent, and how much a child differs."""

import numpy as np
import pytest

from nas.controllers.evolution import Evolution, EvolutionSettings
from nas.testing.controllers import small_space


def test_a_parent_is_the_best_of_a_tournament_without_repetition():
    """Of four networks two are drawn: the best is the parent in 3 of the 6 pairs, then 2, then 1, the worst never."""
    controller = Evolution(small_space(500, 500, 500), EvolutionSettings(population=4, tournament=2), rng_seed=0)
    members = np.repeat(np.array([[100], [200], [300], [400]]), 3, axis=1)
    controller.observe(members, np.array([0.3, 0.9, 0.1, 0.5]))
    children = controller.propose(1200)
    alike = (children[:, None] == members[None]).sum(axis=2)
    assert (alike.max(axis=1) == 2).all()  # a child differs in one of three choices
    shares = np.bincount(alike.argmax(axis=1), minlength=4) / 1200
    np.testing.assert_allclose(shares, [1 / 6, 1 / 2, 0, 1 / 3], atol=4 * np.sqrt(0.25 / 1200))
    assert shares[2] == 0


@pytest.mark.parametrize("again", [0.0, 0.5, 0.8])
def test_a_child_is_changed_again_with_a_given_probability(again):
    """1 / (1 - again) changes in the mean; one more time with the probability that there was one more."""
    settings = EvolutionSettings(population=1, tournament=1, again=again)
    controller = Evolution(small_space(*[1000] * 300), settings, rng_seed=1)
    parent = np.zeros((1, 300), dtype=int)
    controller.observe(parent, np.array([1.0]))
    changes = (controller.propose(500) != parent).sum(axis=1)
    for least in (1, 2, 3, 5):
        expected = again ** (least - 1)
        assert (changes >= least).mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 500))
    assert changes.min() == 1
