"""What is promised of every controller (`nas.controllers.Controller`)."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nas.controllers import Controller
from nas.testing.promise import global_random_states, promise, refused
from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace

__all__ = ["CONTROLLER_CHECKS", "MakeController", "check_controller", "conditional_space", "small_space"]

MakeController = Callable[..., Controller]
"""Called as ``make(space, rng_seed=0)``: a class, or ``partial(controllers.make, "evolution")``."""


def check_controller(make: MakeController) -> None:
    """Whether the controllers that `make` gives keep what is promised of all: proposals of the space, the same for the
    same seed, exact states, failures and refusals that leave it as it was.

    Args:
        make: called as ``make(space, rng_seed=0)``.

    Raises:
        AssertionError: a promise that is not kept.
    """
    for check in CONTROLLER_CHECKS:
        check(make)


def small_space(*sizes: int) -> SearchSpace:
    """A choice of each of `sizes` options; all points are one network."""
    choices = tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes))
    return SearchSpace(name="small", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


def conditional_space() -> SearchSpace:
    """The kernel matters only where there is a layer; all points are one network."""
    choices = (
        Choice("layers", (0, 1)),
        Choice("kernel", (3, 5, 7), when=("layers", (1,))),
        Choice("se", (False, True)),
    )
    return SearchSpace(name="conditional", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


def proposals_are_points_of_the_space(make: MakeController) -> None:
    for space in (small_space(2), small_space(1, 3, 1), small_space(4, 2, 3, 5), conditional_space()):
        for n in (1, 2, 7):
            controller = make(space, rng_seed=0)
            for _ in range(5):
                controller.observe(_proposed(controller, space, n), np.linspace(0, 1, n))


def numbers_of_proposals_are_whole_and_positive(make: MakeController) -> None:
    controller = make(small_space(4, 2), rng_seed=0)
    for n in (0, -1, 2.5, True, None):
        with refused(f"propose({n})"):
            controller.propose(n)  # pyright: ignore[reportArgumentType]


def the_seed_decides(make: MakeController) -> None:
    space = small_space(4, 2, 3)
    first, again, other = (_driven(make(space, rng_seed=seed), space, 6) for seed in (1, 1, 2))
    promise(np.array_equal(first, again), "with the same rng_seed, and told the same, it must propose the same")
    promise(not np.array_equal(first, other), "with another rng_seed it must propose something else")


def global_random_states_are_left_alone(make: MakeController) -> None:
    space, before = small_space(3, 3), global_random_states()
    _driven(make(space, rng_seed=5), space, 2)
    promise(global_random_states() == before, "random numbers must come from a generator of its own, made of rng_seed")


def states_are_exact(make: MakeController) -> None:
    """Taken between a proposal and its rewards, loaded twice, into a controller that has gone on."""
    space = small_space(4, 2, 3)
    controller = make(space, rng_seed=0)
    _driven(controller, space, 2)
    indices = controller.propose(4)
    state = controller.state_dict()

    def go_on(other: Controller) -> np.ndarray:
        other.observe(indices, _rewards(indices))
        return _driven(other, space, 3)

    expected = go_on(controller)
    for other, where in (
        (controller, "the same controller, later: a state must be a copy"),
        (make(space, rng_seed=9), "another controller: a state must hold all that decides"),
        (controller, "the same controller, for the second time: loading must copy"),
    ):
        other.load_state_dict(state)
        promise(np.array_equal(go_on(other), expected), f"a state goes on differently in {where}")


def states_of_others_are_refused(make: MakeController) -> None:
    space, elsewhere = small_space(4, 2, 3), small_space(5, 5, 2, 2)
    controller, other = make(space, rng_seed=0), make(elsewhere, rng_seed=0)
    _driven(controller, space, 2)
    _driven(other, elsewhere, 2)
    for state in ({}, None, 5, {"something": "else"}):
        with refused(f"load_state_dict({state})"):
            controller.load_state_dict(state)  # pyright: ignore[reportArgumentType]
    try:
        controller.load_state_dict(other.state_dict())
    except ValueError:
        return
    _driven(controller, space, 2)  # a state that knows nothing of its space


def failed_evaluations_are_survived(make: MakeController) -> None:
    space = small_space(4, 2, 3)
    controller = make(space, rng_seed=0)
    for rewards in ([np.nan] * 4, [0.1, np.nan, 0.3, np.nan], [0.0] * 4, [-1.0, 2.0, 0.0, np.nan]):
        controller.observe(_proposed(controller, space, 4), np.array(rewards))
    _proposed(controller, space, 4)


def duplicates_are_survived(make: MakeController) -> None:
    space = small_space(4, 2, 3)
    controller = make(space, rng_seed=0)
    same = np.repeat(_proposed(controller, space, 1), 5, axis=0)
    controller.observe(same, np.full(5, 0.5))
    controller.observe(same, np.linspace(0, 1, 5))
    _proposed(controller, space, 3)


def rewards_come_in_any_split(make: MakeController) -> None:
    """One by one, a part of what was proposed, again, for points that were never proposed, or for none."""
    space = small_space(4, 2, 3)
    controller = make(space, rng_seed=0)
    indices = _proposed(controller, space, 6)
    for part in (indices[:1], indices[1:4], indices, np.array([[3, 1, 2], [0, 0, 0]])):
        controller.observe(part, _rewards(part))
        _proposed(controller, space, 2)
    told, untold = (make(space, rng_seed=0) for _ in range(2))
    told.observe(np.zeros((0, 3), int), np.zeros(0))
    same = np.array_equal(_driven(told, space, 3), _driven(untold, space, 3))
    promise(same, "observe of no points must change nothing")


def what_is_told_is_checked(make: MakeController) -> None:
    """A refusal changes nothing."""
    space = small_space(4, 2, 3)
    for indices, rewards in (
        ([[0, 1]], [0.5]),
        ([0, 1, 2], [0.5]),
        ([[0, 1, 2]], [0.5, 0.6]),
        ([[0, 1, 2]], [[0.5]]),
        ([[0, 1, -1]], [0.5]),
        ([[0, 2, 0]], [0.5]),
        ([[0.0, 1.0, 2.0]], [0.5]),
        ([[0, 1, 2]], ["good"]),
        ([[0, 1, 2]], [np.inf]),
        ([[0, 1, 2], [0, 1, 1]], [0.5, -np.inf]),
    ):
        told, untold = (make(space, rng_seed=0) for _ in range(2))
        for controller in (told, untold):
            _driven(controller, space, 2)
        with refused(f"observe({indices}, {rewards}) in a space of 4, 2 and 3 options (see nas.controllers.contract)"):
            told.observe(indices, rewards)  # pyright: ignore[reportArgumentType]
        same = np.array_equal(_driven(told, space, 2), _driven(untold, space, 2))
        promise(same, f"observe({indices}, {rewards}) was refused, and must change nothing")


CONTROLLER_CHECKS: tuple[Callable[[MakeController], None], ...] = (
    proposals_are_points_of_the_space,
    numbers_of_proposals_are_whole_and_positive,
    the_seed_decides,
    global_random_states_are_left_alone,
    states_are_exact,
    states_of_others_are_refused,
    failed_evaluations_are_survived,
    duplicates_are_survived,
    rewards_come_in_any_split,
    what_is_told_is_checked,
)


def _proposed(controller: Controller, space: SearchSpace, n: int) -> np.ndarray:
    """(n, C) what `controller` proposes, checked."""
    indices = controller.propose(n)
    shape = (n, len(space.choices))
    promise(
        isinstance(indices, np.ndarray) and indices.shape == shape and indices.dtype.kind in "iu",
        f"propose({n}) must give whole numbers of shape {shape}, not {_kind(indices)}",
    )
    sizes = np.array([len(choice.options) for choice in space.choices])
    inside = ((indices >= 0) & (indices < sizes)).all(axis=1)
    promise(inside.all(), f"propose({n}) must give indices below {sizes.tolist()}, not {indices[~inside][:1].tolist()}")
    return indices


def _driven(controller: Controller, space: SearchSpace, rounds: int) -> np.ndarray:
    """(rounds, 4, C) what is proposed in so many rounds, each followed by its rewards."""
    seen = []
    for _ in range(rounds):
        indices = _proposed(controller, space, 4)
        controller.observe(indices, _rewards(indices))
        seen.append(indices.copy())
    return np.stack(seen)


def _rewards(indices: np.ndarray) -> np.ndarray:
    return indices.sum(axis=1) / 10


def _kind(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
