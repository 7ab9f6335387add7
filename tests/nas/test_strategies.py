"""Strategies and evaluators: what `nas.testing` asks of all, and those of one's own by name."""

from dataclasses import replace

import pytest

from nas.delivery import Delivery
from nas.options import Data
from nas.search_options import SearchOptions
from nas.settings import TrainerSettings, executor_of
from nas.strategies import plugged
from nas.strategies.own_training import OwnTraining
from nas.strategies.shared_weights import Shared
from nas.strategies.surrogate import read as read_surrogate
from nas.strategies.trained import Trainings
from nas.strategies.untrained import Untrained
from nas.supernet.phases import Phase
from nas.supernet.prepare import SharedPlan
from nas.testing import check_evaluator, check_strategy
from nas.training.recipe import Recipe
from nas_runtime.compose import compose, plain
from nas_runtime.options import read
from search_spaces import spaces
from search_spaces.arch import Classifier, ConvBN, SepConv
from search_spaces.space import Layer, OneOf, declare
from tests import own_parts

RECIPE = Recipe(epochs=1, batch=20)


def trainings():
    data = Data(
        name="tests.own_parts:noise",
        path=None,
        download=False,
        train_images=40,
        holdout=None,
        test=None,
        resolution_px=None,
        crop=None,
    )
    trainer = TrainerSettings(recipe=RECIPE, min_px=2, dropout=0.0, device="cpu", threads=1)
    return Trainings(
        data=data,
        facts=data.look(),
        trainer=trainer,
        final_epochs=1,
        finalists=2,
        final_start="scratch",
        delivery=Delivery(input="uint8", batch=1, opset=18, quantize="none"),
    )


def options(*arguments) -> SearchOptions:
    return read(SearchOptions, plain(compose("search", arguments)))


def thrifty(name="Thrifty", *settings):
    arguments = [f"evaluator=tests.own_parts:{name}", *settings]
    return plugged.read(getattr(own_parts, name), options(*arguments))


def test_own_training():
    check_strategy(lambda: OwnTraining(trainings=trainings()))


def test_shared_weights():
    phases = {name: Phase(share=share, lr=1e-3) for name, share in (("largest", 0.0), ("align", 0.0), ("mixed", 1.0))}
    plan = SharedPlan(recipe=RECIPE, phases=phases, kernels="centre", band=1.0, images=20, bn_images=20)
    kernels = [OneOf(f"stage{i}.kernel", (3, 5)) for i in range(4)]
    stages = [Layer(SepConv, out_ch=16, kernel=kernel, stride=2) for kernel in kernels]
    layers = [Layer(ConvBN, out_ch=8, kernel=3, stride=2), *stages, Layer(Classifier, out_ch=3)]
    space = declare("short", layers, resolution_px=224)
    check_strategy(lambda: Shared(trainings=trainings(), shared=plan), space=space)


def test_the_surrogate():
    check_strategy(lambda: read_surrogate(options()), space=spaces.get("accel_nasbench"))


def test_an_evaluator_of_ones_own_is_a_strategy():
    check_evaluator(own_parts.Thrifty)
    check_strategy(thrifty)
    strategy = thrifty("Thrifty", "evaluator.settings.weight=0", "rng_seed=3")
    asked = options("executor=serial")
    executor = executor_of(asked, asked.ray)
    takes = strategy.estimate(1000, [], executor)
    assert takes == "as long as evaluator tests.own_parts:Thrifty takes for 1,000 networks"
    assert (strategy.classes, strategy.accuracy) == (10, "1 for a network without parameters")
    arch = spaces.get("mnasnet", base_width=0.35).decode([0] * 42)
    assert strategy.evaluator(3)(arch) == pytest.approx(1.0, abs=0.01)
    assert strategy.evaluator(3)(arch) != strategy.evaluator(4)(arch)


def test_what_is_no_evaluator_is_refused():
    with pytest.raises(ValueError, match=r"evaluator tests.own_parts:Speechless has no method evaluate\(arch\)"):
        thrifty("Speechless")


def test_a_strategy_of_ones_own_is_taken_as_it_is():
    class Whole(Untrained):
        def __init__(self, *, rng_seed=0):
            judge = own_parts.Thrifty(rng_seed=rng_seed)
            super().__init__(name="x", evaluator=lambda seed: judge.evaluate, classes=10, accuracy="a", about="b")

    strategy = plugged.read(Whole, options("evaluator=tests.own_parts:Speechless"))
    assert isinstance(strategy, Whole)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (own_parts.Undecided, "networks must be worth the same in any order"),
        (lambda rng_seed: Percent(), r"a top-1 in \[0, 1\] or a nas.trial.Evaluation, not 70"),
        (lambda rng_seed: Local(), "it must be possible to pickle it"),
    ],
)
def test_an_evaluator_that_breaks_one_promise_is_found(make, message):
    with pytest.raises(AssertionError, match=message):
        check_evaluator(make)


class Percent:
    def evaluate(self, arch):
        return 70


class Local:
    def __init__(self):
        self.evaluate = lambda arch: 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": ""}, "accuracy must be a line of words, not ''"),
        ({"about": "one\ntwo"}, "describe must be a line of words"),
        ({"classes": 1}, "classes is 1"),
        ({"evaluator": lambda seed: lambda arch: 7}, "sample 0 must be judged, and is failed"),
        ({"evaluator": lambda seed: own_parts.Undecided().evaluate}, "done again with the same seed"),
    ],
)
def test_a_strategy_that_breaks_one_promise_is_found(change, message):
    made = iter(range(100))

    def make():
        evaluator = own_parts.Undecided(rng_seed=next(made)).evaluate
        extra = {"evaluator": lambda seed: evaluator} if message == "done again with the same seed" else {}
        return replace(thrifty(), **{**change, **extra})

    with pytest.raises(AssertionError, match=message):
        check_strategy(make)
