"""Trials as the loop and Ray Tune make them: what is evaluated, reused or taken from the journal, and what is told."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nas.journal import Journal, JournalError
from nas.objective import Objective
from nas.recorder import Recorder, Sampling
from nas.trial import Evaluation, Trial
from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace

SMALL = zoo.get("mnasnet_small")


def network(point):
    return replace(SMALL, resolution_px=32 + int(point[0]))


SPACE = SearchSpace(name="nine", choices=(Choice("px", tuple(range(9))),), decode=network)


def latency_ms(arch) -> float:
    """1, 2, ... 9 ms."""
    return arch.resolution_px - 31.0


def recorder(*, reward=lambda top1, ms: top1 / ms, journal=None, on_trial=None, batch=1, **objective) -> Recorder:
    objective = Objective(**{"latency_ms": latency_ms, "reward": reward, **objective})
    sampling = Sampling(
        space=SPACE, controller=None, objective=objective, samples=9, batch=batch, journal=journal, on_trial=on_trial
    )  # type: ignore[arg-type]
    return Recorder(sampling)


def evaluated(its: Recorder, sample: int, index: int, **evaluation) -> Trial:
    point = its.point(sample, np.array([index]))
    assert its.begun(point) is None
    return its.evaluated(point, Evaluation(**{"top1": 0.5, **evaluation}))


def test_a_trial_has_what_was_evaluated_and_what_its_network_costs():
    seen = []
    its = recorder(on_trial=seen.append, costs={"px": lambda arch: arch.resolution_px})
    trial = evaluated(its, 3, 1, top1=0.75, seconds=9.0, note="n", curve=(0.25, 0.75))
    assert trial == Trial(
        sample=3, indices=(1,), arch=network([1]), top1=0.75, latency_ms=2.0, reward=0.375, seconds=9.0, note="n",
        curve=(0.25, 0.75), costs={"px": 33.0},
    )  # fmt: skip
    assert [type(index) for index in trial.indices] == [int]
    diverged = evaluated(its, 4, 2, status="diverged", note="NaN")
    assert (diverged.top1, diverged.reward, diverged.status, diverged.note) == (0, 0, "diverged", "NaN")
    assert seen == [trial, diverged]
    assert evaluated(its, 5, 3, top1=0.25, curve=(0.25,), status="stopped").reward == 0.0625


def test_a_network_without_a_latency_is_not_evaluated():
    its = recorder(latency_ms=lambda arch: math.inf)
    trial = its.begun(its.point(0, [1]))
    assert trial is not None
    assert (trial.status, trial.top1, trial.reward, trial.costs) == ("failed", 0.0, 0.0, {})
    assert math.isnan(trial.latency_ms)
    assert trial.note == "the latency is inf ms; it must be above 0 and finite"
    assert not its.is_known(network([1]))


def test_results_are_reused_but_failures_are_not():
    its = recorder()
    assert its.reused(its.point(0, [1])) is None
    evaluated(its, 0, 1, status="failed")
    assert its.reused(its.point(1, [1])) is None
    first = evaluated(its, 1, 1, top1=0.5, seconds=9.0)
    evaluated(its, 2, 1, top1=0.75)  # on request again: the first result is the one that is reused
    assert its.is_known(network([1]))
    assert its.reused(its.point(3, [1])) == replace(first, sample=3, seconds=0.0, reused=1)


def test_of_another_reward_the_first_results_are_reused():
    rewards = {"now": lambda top1, ms: top1}
    its = recorder(reward=lambda top1, ms: rewards["now"](top1, ms))
    trials = [evaluated(its, i, index, top1=0.5 + i / 8) for i, index in enumerate((1, 2, 1, 3))]
    trials.append(evaluated(its, 4, 4, status="failed"))
    rewards["now"] = lambda top1, ms: 1 / (ms - 4) - top1  # without a value at 4 ms
    changed = its.rewarded(trials)
    assert [(t.sample, t.reward, t.status) for t in changed] == [
        (0, -1.0, "ok"), (1, -1.625, "ok"), (2, -1.25, "ok"), (3, 0.0, "failed"), (4, 0.0, "failed"),
    ]  # fmt: skip
    assert its.reused(its.point(5, [1])) == replace(changed[0], sample=5, seconds=0.0, reused=0)
    assert [its.is_known(network([index])) for index in (1, 2, 3, 4)] == [True, True, False, False]


def failing(its: Recorder, *statuses: str, first: int = 0) -> list[Trial]:
    return [evaluated(its, i, i % 9, status=status, note=f"no {i}") for i, status in enumerate(statuses, first)]


def test_eight_failures_one_after_the_other_end_a_search():
    its = recorder()
    assert its.failures(failing(its, "ok", *["failed"] * 3)) == ""
    assert its.failures(failing(its, *["failed"] * 4, first=4)) == ""  # seven
    assert its.failures(failing(its, "failed", first=8)) == "the last 8 evaluations failed; the latest: no 8"
    its = recorder()
    assert its.failures(failing(its, *["failed"] * 7, "diverged", *["failed"] * 7)) == ""
    assert its.failures([]) == ""


def test_what_is_reused_or_settled_is_no_evaluation_that_worked(tmp_path):
    path = tmp_path / "journal.jsonl"
    settled = evaluated(recorder(journal=Journal(path, network)), 0, 0)
    its = recorder(journal=Journal(path, network))
    assert (its.is_settled(0), its.is_settled(1)) == (True, False)
    assert its.replayed(its.point(0, [0])) == settled
    assert its.replayed(its.point(1, [0])) is None
    reused = its.reused(its.point(1, [0]))
    assert its.failures([*failing(its, *["failed"] * 4, first=2), settled, reused]) == ""
    assert its.failures(failing(its, *["failed"] * 4, first=6)).startswith("the last 8 evaluations failed")


def test_what_diverged_is_replayed_whatever_the_reward_says_of_it(tmp_path):
    path = tmp_path / "journal.jsonl"
    diverged = evaluated(recorder(journal=Journal(path, network)), 0, 1, status="diverged", note="NaN")
    its = recorder(reward=lambda top1, ms: math.nan, journal=Journal(path, network))
    assert its.replayed(its.point(0, [1])) == diverged
    assert its.is_known(network([1]))


def test_an_evaluation_whose_reward_failed_counts_where_the_reward_is_mended(tmp_path):
    """If it is of the same point, and whole: of a training that was stopped nobody knows how it would have ended."""
    path = tmp_path / "journal.jsonl"
    broken = recorder(reward=lambda top1, ms: 1 / 0, journal=Journal(path, network))
    for sample, evaluation in enumerate(({}, {"top1": 0.0}, {"curve": (0.25, 0.5)}, {}, {"status": "failed"})):
        assert evaluated(broken, sample, 1, **evaluation).status == "failed"
    its = recorder(journal=Journal(path, network))
    assert not its.is_settled(0)
    mended = its.begun(its.point(0, [1]))
    assert mended is not None
    assert (mended.top1, mended.reward, mended.status, mended.note) == (0.5, 0.25, "ok", "")
    assert [its.begun(its.point(sample, [index])) for sample, index in ((1, 1), (2, 1), (3, 2), (4, 1))] == [None] * 4
    assert recorder(journal=Journal(path, network)).replayed(its.point(0, [1])) == mended


@pytest.mark.parametrize(
    ("index", "reward", "message"),
    [
        (
            2,
            lambda top1, ms: top1 / ms,
            "sample 0 of the journal is not what this search proposes; its settings or the",
        ),
        (1, lambda top1, ms: 0.2501, "has reward 0.25 .top-1 0.5 at 2 ms., but in this search the reward is 0.2501; "),
        (1, lambda top1, ms: math.nan, "but in this search the reward is nan; use the reward that the journal was"),
        (1, lambda top1, ms: top1 / ms + 1e-11, None),
    ],
)
def test_a_journal_of_another_search_or_reward_is_refused(tmp_path, index, reward, message):
    path = tmp_path / "journal.jsonl"
    evaluated(recorder(journal=Journal(path, network)), 0, 1)
    its = recorder(reward=reward, journal=Journal(path, network))
    if message is None:  # another machine's arithmetic
        assert its.replayed(its.point(0, [index])).reward == 0.25
        return
    with pytest.raises(JournalError, match=message):
        its.replayed(its.point(0, [index]))


def test_a_controller_is_told_rewards_estimates_and_the_worst():
    """At 1, 2, ... ms: an epoch adds 0.25 to the accuracy of whoever is trained on. What diverged is as bad as the
    worst of all, and as a network without accuracy; what failed says nothing."""
    its = recorder(reward=lambda top1, ms: top1 / ms - 1)
    trials = [
        evaluated(its, 0, 1, top1=0.5, curve=(0.25, 0.5)),
        evaluated(its, 1, 3, top1=0.5, curve=(0.5,), status="stopped"),
        evaluated(its, 2, 4, status="diverged"),
        evaluated(its, 3, 5, status="failed"),
        evaluated(its, 4, 7, top1=1.0, curve=(0.9, 1.0), status="ok"),
    ]
    gain = (0.25 + 0.1) / 2
    expected = [0.5 / 2 - 1, (0.5 + gain) / 4 - 1, -1.0, math.nan, 1.0 / 8 - 1]
    np.testing.assert_allclose(its.told(trials, 5), expected)
    np.testing.assert_allclose(its.told(trials[:3], 2), [0.75 / 4 - 1, -1.0])
    np.testing.assert_allclose(its.told(trials, 1), expected[-1:])
    high = [replace(trials[1], top1=0.95, curve=(0.95,))]
    np.testing.assert_allclose(its.told([trials[0], *high], 1), [1.0 / 4 - 1])  # no accuracy is above 1


def test_a_reward_that_fails_says_nothing_of_a_stopped_training():
    its = recorder(reward=lambda top1, ms: top1 if top1 < 0.7 else math.nan)
    trials = [
        evaluated(its, 0, 1, top1=0.6, curve=(0.25, 0.6)),
        evaluated(its, 1, 3, top1=0.5, curve=(0.5,), status="stopped"),
    ]
    assert np.isnan(its.told(trials, 1)).all()
