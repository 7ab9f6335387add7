import numpy as np
from simulated_annealing import Annealing, AnnealingSettings

from nas.controllers import make
from nas.testing import check_controller
from nas.testing.controllers import small_space


def test_it_is_a_controller():
    check_controller(Annealing)


def test_it_climbs():
    space = small_space(*[5] * 6)
    controller = make("annealing", space, rng_seed=0)
    for _ in range(200):
        indices = controller.propose(4)
        controller.observe(indices, indices.sum(axis=1) / 24)
    assert controller.state_dict()["reward"] >= 23 / 24


def test_a_loss_of_one_temperature_is_taken_in_one_of_e_cases():
    space, taken = small_space(2, 2), 0
    for rng_seed in range(1000):
        controller = Annealing(space, AnnealingSettings(temperature=0.1, cooling=1.0), rng_seed=rng_seed)
        controller.observe(np.array([[0, 0], [1, 1]]), np.array([0.6, 0.5]))
        taken += controller.state_dict()["points"][0, 0]
    assert abs(taken / 1000 - np.exp(-1)) < 0.05
