"""What a network costs, and what its accuracy is worth at these costs."""

import math
import pickle
from functools import partial
from operator import truediv

import pytest

from nas import controllers
from nas.journal import Journal
from nas.loop import search
from nas.objective import Objective
from nas.trial import Trial
from search_spaces import cost

MS = partial(truediv, 8.0)  # of a network that is a number


def trial(sample: int, top1: float, status: str = "ok") -> Trial:
    return Trial(sample=sample, indices=(sample,), arch=None, top1=top1, latency_ms=4.0, reward=0.0, status=status)


def broken(arch):
    raise KeyError("no such unit")


@pytest.mark.parametrize(
    ("ms", "costs", "note"),
    [
        (MS, {}, ""),
        (MS, {"params": lambda n: 1000 * n}, ""),
        (broken, {}, "the latency is not known: KeyError: 'no such unit'"),
        (lambda n: 0.0, {}, "the latency is 0 ms; it must be above 0 and finite"),
        (lambda n: math.inf, {}, "the latency is inf ms; it must be above 0 and finite"),
        (MS, {"other_ms": broken}, "the cost other_ms is not known: KeyError: 'no such unit'"),
        (MS, {"gb": lambda n: "many"}, "the cost gb is not known: ValueError: gb='many': it must be a number"),
    ],
)
def test_costs_by_name(ms, costs, note):
    found = Objective(latency_ms=ms, reward=lambda top1, ms: top1, costs=costs).costs(2)
    assert found.note == note
    assert found.others == ({"params": 2000.0} if costs and not note else {})
    assert math.isnan(found.latency_ms) if note else found.latency_ms == 4.0


def test_the_reward_of_trials():
    objective = Objective(latency_ms=MS, reward=lambda top1, ms: top1 / (top1 - 0.5) / ms)
    assert objective.value(0.75, 4.0) == (0.75, "")
    assert objective.value(0.5, 4.0) == (0.0, "the reward is not known: ZeroDivisionError: float division by zero")
    assert objective.rewarded(trial(0, 0.75)).reward == 0.75
    assert objective.rewarded(trial(0, 0.5)).status == "failed"
    assert objective.rewarded(trial(0, 0.0, "diverged")) == trial(0, 0.0, "diverged")


def test_the_reward_is_adjusted_once_by_all_trials_when_enough_are_good():
    asked = []

    def adjust(trials):
        asked.append([t.sample for t in trials])
        return lambda top1, ms: 9.0

    objective = Objective(latency_ms=MS, reward=lambda top1, ms: top1, adjust_after=2, adjust=adjust)
    trials = [trial(0, 0.5), trial(1, 0.0, "failed"), trial(2, 0.25), trial(3, 0.75)]
    assert [objective.changed(trials[:n]) for n in (1, 2, 3, 4)] == [False, False, True, False]
    assert asked == [[0, 1, 2]]
    assert objective.value(0.5, 4.0) == (9.0, "")


def test_other_processes_get_nothing_that_is_never_called():
    objective = Objective(latency_ms=MS, reward=truediv, adjust=lambda trials: truediv)  # a lambda cannot be sent
    assert pickle.loads(pickle.dumps(objective)).value(0.5, 4.0) == (0.125, "")


def test_a_search_with_several_costs_goes_on_from_its_journal(space, tmp_path):
    """Latencies on two devices and parameters: in every trial and in the journal."""
    asked = []

    def params(arch):
        asked.append(arch)
        return cost.params(arch)

    def run(samples):
        return search(
            space=space,
            controller=controllers.make("random", space),
            evaluate=lambda arch: 0.5,
            latency_ms=lambda arch: cost.madds(arch) / 1e6,
            costs={"latency_ms of the watch": lambda arch: cost.madds(arch) / 1e5, "params": params},
            reward=lambda top1, ms: top1 / ms,
            samples=samples,
            journal=Journal(tmp_path / "journal.jsonl", space.decode),
        )

    run(3)
    trials = run(5)
    assert len(asked) == 5
    for t in trials:
        assert t.costs == {"latency_ms of the watch": pytest.approx(10 * t.latency_ms), "params": cost.params(t.arch)}
    kept = Journal(tmp_path / "journal.jsonl", space.decode).trials
    assert [kept[sample].costs for sample in range(5)] == [t.costs for t in trials]
