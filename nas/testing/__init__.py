"""Whether what you have made keeps what is promised of its kind: the suites that this project's own things pass.

In the tests of your package:

    from nas.testing import check_controller
    from my_package import Annealing

    def test_annealing():
        check_controller(Annealing)

Each `check_...` raises an AssertionError that says what is promised and what came instead. The promises are what a
search relies on; whether a controller finds good networks, or a space has some, is yours to test.
"""

from nas.testing.controllers import CONTROLLER_CHECKS, check_controller
from nas.testing.data import check_dataset
from nas.testing.rewards import check_reward
from nas.testing.runtimes import check_runtime
from nas.testing.spaces import SPACE_CHECKS, check_space
from nas.testing.strategies import check_evaluator, check_strategy

__all__ = [
    "CONTROLLER_CHECKS",
    "SPACE_CHECKS",
    "check_controller",
    "check_dataset",
    "check_evaluator",
    "check_reward",
    "check_runtime",
    "check_space",
    "check_strategy",
]
