"""Controllers, spaces, rewards and data sets of one's own, by dotted names."""

import math
import pickle
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

from latency_luts import runtime
from nas import controllers, testing
from nas.controllers import inform
from nas.reward import Reward, is_linear
from nas.strategies import plugged
from nas.testing.controllers import small_space
from nas.training import sources
from nas.training.sources import DataError
from nas_runtime import declared
from nas_runtime.declared import defaults
from search_spaces import spaces
from tests import own_parts


def mine(name):
    return f"tests.own_parts:{name}"


# ---- controllers


def test_settings_are_those_that_the_annotation_declares():
    space = small_space(2, 3)
    assert defaults(own_parts.Sleepy, "x") == {"nights": 7, "depth": 0.5}
    assert defaults(own_parts.Plain, "x") == {}
    made = controllers.make(mine("Sleepy"), space, settings={"nights": 3})
    assert made.settings == own_parts.SleepySettings(nights=3)
    assert controllers.make(mine("Sleepy"), space).settings == own_parts.SleepySettings()
    same = controllers.make(mine("Plain"), space, rng_seed=4).propose(5)
    assert (same == controllers.make("random", space, rng_seed=4).propose(5)).all()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "Sleepy",
            {"night": 3},
            "own_parts:Sleepy has no setting 'night'; did you mean nights.; allowed: depth, nights",
        ),
        ("Sleepy", {"nights": -1}, "controller sleepy: nights=-1; it must be at least 0"),
        ("Plain", {"nights": 3}, "own_parts:Plain has no setting 'nights'; allowed: none, it has no settings"),
        (
            "NeedsMore",
            {},
            r"NeedsMore cannot be called as \(..., rng_seed=...\): missing a required argument: 'friend'",
        ),
        ("WithDict", {}, "own_parts:WithDict: annotate its parameter settings with the dataclass of its settings"),
        (
            "WithUnknown",
            {},
            r"annotations cannot be read \(name 'Unknown' is not defined\); import that name at run time",
        ),
        ("Mute", {}, "own_parts:Mute has no method observe; a controller has propose, observe, state_dict, load_"),
        ("LOOKED_AT", {}, "own_parts:LOOKED_AT is Source.*; it must be a class or a function"),
    ],
)
def test_controllers_that_are_none_are_refused(name, settings, message):
    with pytest.raises(ValueError, match=message):
        controllers.make(mine(name), small_space(2), settings=settings)


def test_settings_need_defaults():
    with pytest.raises(ValueError, match="x: its settings need a default each"):
        defaults(own_parts.WithChoosy, "x")


# ---- spaces


def test_a_space_is_called_what_it_was_asked_for_by():
    space = spaces.get(mine("slim"), base_width=2.0, resolution_px=96, classes=10)
    assert space.name == mine("slim")
    same = spaces.get("mnasnet", base_width=0.7, resolution_px=96, classes=10)
    assert space.decode(space.largest) == same.decode(same.largest)
    assert spaces.get(space.name, base_width=2.0).choices == space.choices


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_space", "search space tests.own_parts:no_space gave 3; it must give a SearchSpace"),
        ("needs_depth", r"cannot be called as \(base_width=..., .*missing a required argument: 'depth'"),
        ("LOOKED_AT", "it must be a class or a function"),
    ],
)
def test_spaces_that_are_none_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        spaces.get(mine(name))


# ---- rewards


def test_any_function_is_a_reward():
    reward = replace(Reward(name=mine("linear"), target_ms=1.0), target_ms=10.0)
    assert reward(0.7, 20.0) == pytest.approx(0.5)
    assert pickle.loads(pickle.dumps(reward)) == reward
    assert reward.describe() == "tests.own_parts:linear: A tenth for each target."
    assert Reward(name=mine("squared"), target_ms=1.0).describe() == mine("squared")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("endless", "endless of top-1 0.5 at 12 ms is inf; it must be a finite number"),
        ("wordy", "wordy of top-1 0.5 at 12 ms is 'good'; it must be a finite number"),
        ("of_two", r"cannot be called as \(top1, latency_ms, target_ms=...\): got an unexpected keyword"),
        ("LOOKED_AT", "it must be a class or a function"),
    ],
)
def test_rewards_that_are_none_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        Reward(name=mine(name), target_ms=1.0)(0.5, 12.0)


def test_a_reward_that_is_not_linear_tells_nothing_beforehand():
    """The Gaussian process would take its values for accuracies."""
    told = []

    class Curious(own_parts.Plain):
        def inform(self, latency_ms, reward):
            told.append(reward)

    controller = Curious(small_space(2))
    for name, linear in (("soft", True), ("hard", True), ("absolute", True), (mine("linear"), True)):
        reward = Reward(name=name, target_ms=15.8)
        assert is_linear(reward)
        assert inform(controller, np.ones, reward) is linear
        assert told.pop() is reward
    for reward in (
        Reward(name=mine("squared"), target_ms=15.8),
        lambda top1, ms: max(top1, 0.5) - ms,
        lambda top1, ms: top1 if ms < 5 else top1**1.01,
        Reward(name=mine("endless"), target_ms=1.0),
    ):
        assert not is_linear(reward)
        assert inform(controller, np.ones, reward) is False
        assert told == []
    assert inform(own_parts.Plain(small_space(2)), np.ones, Reward(name="soft", target_ms=1.0)) is False


# ---- data sets


def test_a_function_is_a_data_set():
    asked = {"holdout": 10, "train_images": 50, "resolution_px": 12}
    facts, data = sources.look(mine("noise"), **asked), sources.load(mine("noise"), **asked)
    assert sources.facts_of(data) == facts
    assert (facts.name, facts.train_images, facts.holdout_images, facts.resolution_px) == (mine("noise"), 50, 10, 12)
    assert facts.classes == 3


def test_what_must_be_read_to_be_known_is_read_once():
    own_parts.READS.clear()
    facts = sources.look(mine("slow"), resolution_px=12, holdout=15)
    data = sources.load(mine("slow"), resolution_px=12, holdout=15)
    assert sources.facts_of(data) == facts
    assert len(own_parts.READS) == 1


def test_what_can_be_told_before_is_not_read():
    assert sources.look(mine("LOOKED_AT")).train_images == 80
    with pytest.raises(AssertionError, match="read, though"):
        sources.load(mine("LOOKED_AT"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_data", {}, "data set tests.own_parts:no_data gave 3; it must give a nas.training.datasets.Dataset"),
        (
            "stubborn",
            {"holdout": 10},
            "holdout=10: the holdout of tests.own_parts:stubborn has 20 images",
        ),
        ("noise", {"download": True}, "huggingface can be downloaded, tests.own_parts:noise cannot"),
        ("noise", {"holdout": 100}, "holdout=100: allowed are 1 to 99"),
        ("of_two", {}, r"of_two cannot be called as \(wanted\): missing a required argument"),
        ("nothing", {}, "tests.own_parts has no 'nothing'"),
    ],
)
def test_data_sets_that_are_none_are_refused(name, options, message):
    with pytest.raises(DataError, match=message):
        sources.load(mine(name), **options)


# ---- nas.testing


def test_shipped_rewards_and_data_sets_keep_what_is_promised():
    for reward in ("soft", "hard", "absolute"):
        testing.check_reward(sources_of_rewards(reward))
    testing.check_dataset(own_parts.noise)
    testing.check_dataset(sources.DATASETS.get("fashion_mnist_mini"))


def sources_of_rewards(name):
    from nas.reward import REWARDS

    return REWARDS.get(name)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (own_parts.endless, "not finite"),
        (lambda top1, latency_ms, target_ms: -top1, "they must not fall"),
        (lambda top1, latency_ms, target_ms: top1 + latency_ms, "at the target"),
    ],
)
def test_rewards_without_sense_are_found(reward, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_reward(reward)


def test_data_sets_that_promise_too_much_are_found():
    with pytest.raises(AssertionError, match="holdout=10: the holdout has 20 images"):
        testing.check_dataset(own_parts.stubborn)
    lies = sources.Source(load=own_parts.noise, look=lambda wanted: replace(own_parts.look(wanted), channels=3))
    with pytest.raises(AssertionError, match="it tells channels 3, and has 1"):
        testing.check_dataset(lies)
    rng = np.random.default_rng(0)

    def restless(wanted):
        data = own_parts.noise(wanted)
        return replace(data, test=replace(data.test, labels=rng.integers(0, 3, 30)))

    with pytest.raises(AssertionError, match="read again, its test must be the same"):
        testing.check_dataset(restless)


class Broken:
    """Of somebody whose constructor fails."""

    def __init__(self, *arguments, **named):
        raise RuntimeError("no camera")

    def prepare(self, arch, *, batch):
        return None


class HalfAStrategy:
    def __init__(self, *, rng_seed=0):
        pass

    def open(self):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: controllers.make(f"{__name__}:Broken", spaces.get("mnasnet")),
            "controller .*:Broken cannot be made .RuntimeError: no camera.",
        ),
        (lambda: runtime.get(f"{__name__}:Broken"), "runtime .*:Broken cannot be made .RuntimeError: no camera."),
        (
            lambda: plugged.read(HalfAStrategy, SimpleNamespace(evaluator=SimpleNamespace(name="half"), rng_seed=0)),
            "evaluator half has open, but no classes; see nas.strategies.contract.Strategy",
        ),
    ],
)
def test_what_cannot_be_made_is_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_reward_that_raises_somewhere_is_asked_where_it_does_not():
    assert is_linear(lambda top1, ms: top1 - math.exp(ms / 10))
    assert not is_linear(lambda top1, ms: top1**2 - math.exp(ms / 10))


@dataclass(frozen=True, kw_only=True)
class Counted:
    steps: int = 3
    twice: int = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "twice", 2 * self.steps)


def test_what_a_dataclass_makes_itself_is_no_setting():
    def made(settings: Counted | None = None) -> Counted | None:
        return settings

    assert declared.defaults(made, "x") == {"steps": 3}
    assert declared.build(made, "x", settings={"steps": 4}).twice == 8
    with pytest.raises(ValueError, match="x has no setting 'twice'; allowed: steps"):
        declared.build(made, "x", settings={"twice": 1})


class Deaf:
    def __init__(self, *, rng_seed=0):
        pass

    def evaluate(self):
        return 0.5


def test_an_evaluator_that_takes_no_network_is_refused_beforehand():
    options = SimpleNamespace(evaluator=SimpleNamespace(name="deaf"), rng_seed=0)
    with pytest.raises(ValueError, match="evaluator deaf: its method evaluate cannot be called as .arch.: too many"):
        plugged.read(Deaf, options)
