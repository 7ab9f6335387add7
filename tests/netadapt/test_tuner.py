"""What an adaptation records, and how it goes on after failures."""

from collections.abc import Iterator

import pytest

import latency_luts
from nas.executor import SerialExecutor
from nas.recorder import EvaluationError
from nas.training.recipe import Recipe
from nas.trial import Evaluation
from nas_runtime.records import JournalError, Records
from netadapt.adapt import Adaptation, Rule, adapt
from netadapt.tuner import Contest, FineTuning
from netadapt.weights import TrainedNet
from search_spaces import cost, zoo

SEED = zoo.get("mnasnet_small")


def net(arch) -> TrainedNet:
    return TrainedNet(arch=arch, weights={}, first={}, second={}, updates=0, top1=0.7)


class Fake(SerialExecutor):
    """Trains nothing: accuracy falls with the parameters. Fails where `fails` says so of the call's number."""

    def __init__(self, fails=lambda call: False) -> None:
        super().__init__()
        self.fails, self.calls = fails, 0

    def run(self, evaluate, archs) -> Iterator[tuple[int, Evaluation]]:
        for i, arch in enumerate(archs):
            self.calls += 1
            if self.fails(self.calls - 1):
                yield i, Evaluation(top1=0, status="failed", note="OSError: no data")
            else:
                yield i, Evaluation(top1=0.7 * cost.params(arch) / cost.params(SEED), state=net(arch))


def go(folder, executor, *, steps=4, rungs=(), kinds=("expansion",), rng_seed=0) -> Adaptation:
    latency_ms = latency_luts.load("pixel1").latency_ms
    tuner = FineTuning(
        executor=executor,
        trainer=executor.share(None),
        seed=net(SEED),
        contest=Contest(recipe=Recipe(epochs=1, steps=8), rungs=rungs, rng_seed=rng_seed),
        history=Records(folder / "history.jsonl", "history"),
        folder=folder / "steps",
    )
    target_ms = (1 - 0.019 * steps) * latency_ms(SEED)
    rule = Rule(delta=0.02, kinds=kinds)
    return adapt(SEED, tuner, seed_top1=0.7, latency_ms=latency_ms, target_ms=target_ms, rule=rule)


@pytest.mark.parametrize("rungs", [(), (0.0,)])
def test_what_failed_and_was_built_upon_stays(tmp_path, rungs):
    """The best proposal of the first step fails, and steps follow: the same again is the same adaptation."""
    whole = go(tmp_path / "whole", Fake(), rungs=rungs)
    best = [r["group"] for r in Records(tmp_path / "whole" / "history.jsonl", "history").records].index(
        whole.steps[0].kept.group
    )
    first = go(tmp_path / "failed", Fake(lambda call: call == best), steps=3, rungs=rungs)
    assert first.steps[0].kept.group != whole.steps[0].kept.group
    executor = Fake()
    longer = go(tmp_path / "failed", executor, rungs=rungs)
    assert longer.steps[:3] == first.steps
    assert executor.calls <= sum(s.proposals for s in longer.steps[3:]) * 2


@pytest.mark.parametrize("call", [0, 2, 21])
def test_an_adaptation_that_broke_down_goes_on_as_if_it_had_not(tmp_path, call):
    """Everything fails from one evaluation on, and again when nothing has been mended: no step is decided among the few
    proposals that worked."""
    whole = go(tmp_path / "whole", Fake())
    message = "the last 8 evaluations failed; the latest: OSError: no data"
    with pytest.raises(EvaluationError, match=message):
        go(tmp_path / "failed", Fake(lambda n: n >= call))
    with pytest.raises(EvaluationError, match=message):
        go(tmp_path / "failed", Fake(lambda n: True))
    assert go(tmp_path / "failed", Fake()) == whole


def test_a_step_of_few_proposals_that_all_fail_ends_an_adaptation(tmp_path):
    with pytest.raises(ValueError, match="no proposal of step 1 could be evaluated; the latest: OSError: no data"):
        go(tmp_path, Fake(lambda call: True), kinds=("bottleneck",))


@pytest.mark.parametrize("change", [{"step": [1]}, {"status": None, "top1": 1}, None])
def test_other_histories_are_refused(tmp_path, change):
    go(tmp_path, Fake(), steps=1)
    history = Records(tmp_path / "history.jsonl", "history")
    history.append(history.records[0] | change if change else {})
    with pytest.raises(JournalError, match="is not the history of this adaptation"):
        go(tmp_path, Fake(), steps=1)


def test_all_proposals_of_a_step_see_the_same_images_those_of_another_step_others(tmp_path):
    """A seed for each step, which depends on the adaptation's."""

    class Watching(Fake):
        def run(self, evaluate, archs):
            seeds.append(evaluate.rng_seed)
            return super().run(evaluate, archs)

    of_runs = []
    for rng_seed in (0, 0, 1):
        seeds: list[int] = []
        go(tmp_path / str(len(of_runs)), Watching(), rungs=(0.0,), rng_seed=rng_seed)
        of_runs.append(seeds)
        assert len(seeds) == 2 * len(set(seeds)) > 4  # two rungs a step
    assert of_runs[0] == of_runs[1]
    assert not set(of_runs[0]) & set(of_runs[2])
