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
    """Trains nothing: accuracy falls with the parameters. Fails where `fails` says so of the call's number, and is
    interrupted at the call `end`."""

    def __init__(self, fails=lambda call: False, *, end: int | None = None) -> None:
        super().__init__()
        self.fails, self.end, self.calls, self.tasks = fails, end, 0, []

    def run(self, evaluate, archs) -> Iterator[tuple[int, Evaluation]]:
        self.tasks.append(evaluate)
        for i, arch in enumerate(archs):
            if self.calls == self.end:
                raise KeyboardInterrupt
            self.calls += 1
            if self.fails(self.calls - 1):
                yield i, Evaluation(top1=0, status="failed", note="OSError: no data")
            else:
                yield i, Evaluation(top1=top1(arch), seconds=1.23456, state=net(arch))


def top1(arch) -> float:
    return 0.7 * cost.params(arch) / cost.params(SEED)


def go(folder, executor, *, steps=4, rungs=(), kinds=("expansion",), rng_seed=0, on_evaluation=None) -> Adaptation:
    latency_ms = latency_luts.load("pixel1").latency_ms
    tuner = FineTuning(
        executor=executor,
        trainer=executor.share(None),
        seed=net(SEED),
        contest=Contest(recipe=Recipe(epochs=1, steps=8), rungs=rungs, rng_seed=rng_seed),
        history=Records(folder / "history.jsonl", "history"),
        folder=folder / "steps",
        on_evaluation=on_evaluation,
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


def records(folder) -> list[dict]:
    return Records(folder / "history.jsonl", "history").records


def test_every_evaluation_is_recorded_and_the_kept_network_is_not_trained_twice(tmp_path):
    executor = Fake(lambda call: call == 1)
    found = go(tmp_path, executor, steps=2)
    history = records(tmp_path)
    assert len(history) == executor.calls == sum(step.proposals for step in found.steps)
    for step in found.steps:
        own = [r for r in history if r["step"] == step.number]
        assert len({r["group"] for r in own}) == len(own) == step.proposals
        (kept,) = [r for r in own if r["group"] == step.kept.group]
        assert kept == {
            "step": step.number,
            "group": step.kept.group,
            "before": step.kept.before,
            "after": step.kept.after,
            "latency_ms": step.kept.latency_ms,
            "updates": 8,
            "top1": top1(step.kept.arch),
            "status": "ok",
            "seconds": 1.235,
            "note": "",
        }
    failed = {name: history[1][name] for name in ("top1", "status", "note")}
    assert failed == {"top1": 0.0, "status": "failed", "note": "OSError: no data"}
    assert [path.name for path in (tmp_path / "steps").iterdir()] == ["step-002.safetensors"]


def test_a_step_starts_from_the_network_of_the_one_before_which_workers_get_once(tmp_path):
    """In all rungs, whose fine-tunings are of 0, 4 and 8 updates; without any, there is no recipe."""
    executor = Fake()
    found = go(tmp_path, executor, steps=2, rungs=(0.0, 0.5))
    tasks = executor.tasks
    assert [task.recipe and task.recipe.steps for task in tasks] == [None, 4, 8] * 2
    assert {task.inherit for task in tasks} == {"l2"}
    parents = [task.parent for task in tasks]
    assert parents[0] is parents[1] is parents[2] is not parents[3]
    assert parents[3] is parents[4] is parents[5]
    assert [parents[i].get().arch for i in (0, 3)] == [SEED, found.steps[0].kept.arch]


def test_progress_counts_what_an_earlier_process_has_done(tmp_path):
    told: list[tuple[int, int, int]] = []

    def tell(step, done, total):
        told.append((step, done, total))

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, Fake(end=3), steps=1, rungs=(0.0,), on_evaluation=tell)
    n = told[0][2]
    assert told == [(1, done, n) for done in (1, 2, 3)]
    told.clear()
    go(tmp_path, Fake(), steps=1, rungs=(0.0,), on_evaluation=tell)
    half = -(-n // 2)
    assert told == [(1, done, n) for done in range(4, n + 1)] + [(1, done, half) for done in range(1, half + 1)]


@pytest.mark.parametrize("later", [False, True])
def test_a_failure_is_tried_again_until_a_later_rung_was_decided_without_it(tmp_path, later):
    whole = go(tmp_path / "whole", Fake(), steps=1, rungs=(0.0,))
    failed = go(tmp_path / "failed", Fake(lambda call: call == 0), steps=1, rungs=(0.0,))
    n = whole.steps[0].proposals
    assert n == len([r for r in records(tmp_path / "failed") if r["updates"] == 0])
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "cut", Fake(lambda call: call == 0, end=n + 1 if later else n - 1), steps=1, rungs=(0.0,))
    assert go(tmp_path / "cut", Fake(), steps=1, rungs=(0.0,)) == (failed if later else whole)
    of_first = [r for r in records(tmp_path / "cut") if r["group"] == records(tmp_path / "whole")[0]["group"]]
    assert [r["status"] for r in of_first if r["updates"] == 0] == ["failed", "ok"][: 1 if later else 2]


def test_weights_that_an_earlier_process_had_are_made_again(tmp_path):
    """It ended between the last evaluation of a step and the writing of the network."""
    whole = go(tmp_path, Fake(), steps=1)
    for path in (tmp_path / "steps").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=f"{whole.steps[0].kept.group} of step 1 could not be fine-tuned again: OSErr"):
        go(tmp_path, Fake(lambda call: True), steps=1)
    executor = Fake()
    assert go(tmp_path, executor, steps=1) == whole
    assert executor.calls == 1
    assert executor.tasks[0].recipe.steps == 8
    assert go(tmp_path, Fake(end=0), steps=1) == whole  # now nothing is evaluated
    (tmp_path / "steps" / "step-001.safetensors").rename(tmp_path / "steps" / "step-003.safetensors")
    with pytest.raises(ValueError, match="step-001.safetensors is missing, but the history goes on after it"):
        go(tmp_path, Fake(), steps=2)


def test_a_history_of_other_proposals_is_refused(tmp_path):
    go(tmp_path, Fake(), steps=1)
    path = tmp_path / "history.jsonl"
    others = [{**record, "after": record["after"] - 8} for record in records(tmp_path)]
    path.unlink()
    Records(path, "history").append(*others)
    with pytest.raises(JournalError, match="of step 1 is not what this adaptation proposes; its settings, table or"):
        go(tmp_path, Fake(), steps=1)


def test_only_failures_one_after_the_other_end_an_adaptation(tmp_path):
    """Seven, one that works, and seven again are none."""
    found = go(tmp_path, Fake(lambda call: call % 8 != 7), steps=3)
    assert len(found.steps) == 3
