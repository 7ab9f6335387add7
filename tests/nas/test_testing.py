"""`nas.testing`: what keeps all promises but one is found by the check of that one."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas import testing
from nas.controllers.random import Random
from nas.testing import controllers as promised
from nas.testing import spaces as promised_of_spaces
from search_spaces.mnasnet import mnasnet
from search_spaces.space import SearchSpace


class Wide(Random):
    def propose(self, n):
        return super().propose(n)[:, :1]


class Fractional(Random):
    def propose(self, n):
        return super().propose(n).astype(float)


class Outside(Random):
    def propose(self, n):
        return super().propose(n) + 1


class Eager(Random):
    """Proposes more than it is asked for."""

    def propose(self, n):
        return super().propose(n + 1)


class Generous(Random):
    """Takes any number."""

    def propose(self, n):
        return super().propose(max(1, int(n or 1)))


class Deaf(Random):
    """To the seed."""

    def __init__(self, space, *, rng_seed=0):
        super().__init__(space, rng_seed=0)


class Moody(Random):
    def __init__(self, space, *, rng_seed=0):
        super().__init__(space, rng_seed=random.Random().randrange(2**32))


class Global(Random):
    def observe(self, indices, rewards):
        super().observe(indices, rewards)
        np.random.random()


class GlobalTorch(Random):
    def propose(self, n):
        torch.rand(1)
        return super().propose(n)


class Learner(Random):
    """What it proposes depends on the sum of all rewards."""

    def __init__(self, space, *, rng_seed=0):
        super().__init__(space, rng_seed=rng_seed)
        self.memory = {"sum": 0.0}

    def propose(self, n):
        found = super().propose(n)
        found[0] = self._space.sample(np.random.default_rng(round(10 * abs(self.memory["sum"]))), 1)[0]
        return found

    def observe(self, indices, rewards):
        super().observe(indices, rewards)
        self.memory["sum"] += float(np.nansum(rewards))

    def state_dict(self):
        return {**super().state_dict(), "memory": dict(self.memory)}

    def load_state_dict(self, state):
        if not isinstance(state, dict) or "memory" not in state:
            raise ValueError("not mine")
        super().load_state_dict({"rng": state["rng"]})
        self.memory = dict(state["memory"])


class Forgetful(Learner):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.memory = {"sum": 0.0}


class SharesItsState(Learner):
    def state_dict(self):
        return {**super().state_dict(), "memory": self.memory}


class KeepsTheState(Learner):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.memory = state["memory"]


class TakesAnyState(Random):
    def load_state_dict(self, state):
        if isinstance(state, dict) and "rng" in state:
            super().load_state_dict(state)


class Fragile(Random):
    def observe(self, indices, rewards):
        super().observe(indices, rewards)
        if np.isnan(rewards).any():
            raise RuntimeError("cannot learn from failures")


class Distinct(Random):
    def observe(self, indices, rewards):
        super().observe(indices, rewards)
        assert len({tuple(row) for row in np.asarray(indices).tolist()}) == len(indices), "a point twice"


class Trusting(Learner):
    """Takes anything for an observation."""

    def observe(self, indices, rewards):
        pass


class LearnsWhatItRefuses(Random):
    def observe(self, indices, rewards):
        if len(rewards):
            self._rng.random()
        super().observe(indices, rewards)


class LearnsFromNothing(Random):
    def observe(self, indices, rewards):
        super().observe(indices, rewards)
        if not len(rewards):
            self._rng.random()


def test_a_good_one_is_not_blamed():
    testing.check_controller(Random)
    testing.check_controller(Learner)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Wide, r"propose\(1\) must give whole numbers of shape \(1, 3\), not int64 of shape \(1, 1\)"),
        (Fractional, r"must give whole numbers of shape \(1, 1\), not float64"),
        (Outside, r"propose\(\d\) must give indices below \[2\], not"),
        (Eager, r"must give whole numbers of shape \(1, 1\), not int64 of shape \(2, 1\)"),
        (Generous, r"propose\(0\) must be refused with a ValueError, and was accepted"),
        (Deaf, "with another rng_seed it must propose something else"),
        (Moody, "with the same rng_seed, and told the same, it must propose the same"),
        (Global, "random numbers must come from a generator of its own"),
        (GlobalTorch, "random numbers must come from a generator of its own"),
        (Forgetful, "a state goes on differently in the same controller, later"),
        (SharesItsState, "a state goes on differently in the same controller, later: a state must be a copy"),
        (KeepsTheState, "a state goes on differently in another controller|for the second time: loading must copy"),
        (TakesAnyState, r"load_state_dict\({}\) must be refused"),
        (Fragile, "cannot learn from failures"),
        (Distinct, "a point twice"),
        (Trusting, r"observe\(\[\[0, 1\]\], \[0.5\]\) in a space of 4, 2 and 3 options .* must be refused"),
        (LearnsWhatItRefuses, "was refused, and must change nothing"),
        (LearnsFromNothing, "observe of no points must change nothing"),
    ],
)
def test_a_controller_that_breaks_one_promise_is_found(make, message):
    with pytest.raises((AssertionError, RuntimeError), match=message):
        testing.check_controller(make)


def with_decode(change, make=mnasnet):
    """A space like MnasNet's whose networks go through `change`, which is told the settings as well."""

    def changed(*, base_width=1.0, resolution_px=224, classes=1000):
        space = make(base_width=base_width, resolution_px=resolution_px, classes=classes)

        def decode(point):
            return change(space.decode(point), point, base_width)

        return SearchSpace(name="changed", choices=space.choices, decode=decode)

    return changed


def fixed_px(*, base_width=1.0, resolution_px=224, classes=1000):
    return mnasnet(base_width=base_width, classes=classes)


def fixed_classes(*, base_width=1.0, resolution_px=224, classes=1000):
    return mnasnet(base_width=base_width, resolution_px=resolution_px)


def holes(arch, point, base_width):
    if point[3] == 1:
        raise KeyError("no such network")
    return arch


def narrower(*, base_width=1.0, resolution_px=224, classes=1000):
    return mnasnet(base_width=0.4 / base_width if base_width else 0, resolution_px=resolution_px, classes=classes)


def tolerant(*, base_width=1.0, resolution_px=224, classes=1000):
    return mnasnet(base_width=base_width if base_width > 0 else 1.0, resolution_px=resolution_px, classes=classes)


def restless(arch, point, base_width):
    *others, last = arch.blocks
    return replace(arch, blocks=(*others, replace(last, dropout=random.Random().random() / 2)))


def unconditional(*, base_width=1.0, resolution_px=224, classes=1000):
    """Says that a choice does not matter, though it does."""
    space = mnasnet(base_width=base_width, resolution_px=resolution_px, classes=classes)
    choices = [replace(c, when=("block2.layers", (0, 1))) if c.name == "block2.kernel" else c for c in space.choices]
    return SearchSpace(name="sleepy", choices=tuple(choices), decode=space.decode.function)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda **settings: 3, "base_width=0.5, resolution_px=224, classes=1000: it must give a SearchSpace, not int"),
        (fixed_px, r"resolution_px=64, classes=10: the point \[0, .*\] is of 224 px, 10 classes"),
        (fixed_classes, r"classes=10: the point \[0, .*\] is of 64 px, 1000 classes"),
        (with_decode(holes), r"the point .* must be a network: KeyError: 'no such network'"),
        (tolerant, r"{'base_width': 0} must be refused"),
        (with_decode(restless), "made again, the point .* must be the same network"),
        (narrower, r"multiply-adds at base_width \[0.5, 1.0\]"),
        (unconditional, "must be the same network without the choices that do not matter in it"),
    ],
)
def test_a_space_that_breaks_one_promise_is_found(make, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_space(make)


def test_the_names_of_checks_are_told_apart():
    for checks in (testing.CONTROLLER_CHECKS, testing.SPACE_CHECKS):
        assert len({check.__name__ for check in checks}) == len(checks)
    for module, checks in ((promised, testing.CONTROLLER_CHECKS), (promised_of_spaces, testing.SPACE_CHECKS)):
        public = {
            name for name, value in vars(module).items() if callable(value) and value.__module__ == module.__name__
        }
        public -= {"check_controller", "check_space", "small_space", "conditional_space"}
        assert {name for name in public if not name.startswith("_")} == {check.__name__ for check in checks}
