"""What fails in a search: the evaluation of a network, its latency, its reward."""

import json
import math

import pytest

from nas.journal import Journal
from nas.loop import EvaluationError
from nas.trial import Evaluation, Trial
from tests.nas.test_journal import SPACE, broken, number, run, space_of, told, top1


@pytest.mark.parametrize("fails_from", [0, 3, 5, 12])
def test_a_search_that_broke_down_goes_on_as_if_it_had_not(tmp_path, fails_from):
    path = tmp_path / "journal.jsonl"
    evaluate, _ = broken(lambda call, network: call >= fails_from)
    for _ in range(2):  # nothing has been mended the second time
        with pytest.raises(EvaluationError, match="the last (8|9|1[0-9]) evaluations failed; the latest: OSError: no"):
            run(path, evaluate=evaluate)
    failures = path.read_text().count("no data")
    trials = run(path)
    assert [t[:-1] for t in told(trials)] == [t[:-1] for t in told(run())]
    assert path.read_text().count("no data") == failures  # they stay where they are
    assert told(run(path, evaluate=lambda arch: 1 / 0)) == told(trials)  # nothing is left to evaluate


def test_a_failure_that_the_controller_has_built_upon_stays(tmp_path):
    """Sample 1 fails, and a batch with results follows: the same search again is the same search."""
    path = tmp_path / "journal.jsonl"
    evaluate, _ = broken(lambda call, network: call == 1)
    first = run(path, evaluate=evaluate, samples=12)
    assert [t.status for t in first].count("failed") == 1
    assert told(run(path, samples=12)) == told(first)
    longer = run(path)
    assert longer[1].note.startswith("OSError: no data (test_journal.py, line ")
    assert told(longer) != told(run())


def test_a_failure_in_the_last_batch_is_tried_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    evaluate, _ = broken(lambda call, network: call == 9)
    assert [t.status for t in run(path, evaluate=evaluate, samples=12)].count("failed") == 1
    evaluate, calls = broken(lambda call, network: False)
    assert told(run(path, evaluate=evaluate)) == told(run())
    assert len(calls) <= 24 - 11
    assert told(list(Journal(path, SPACE.decode).trials.values()))  # the latest record of a sample counts


def test_a_failure_is_never_another_samples_result():
    """Nine networks only: the next sample of one that failed is evaluated, also in the same batch."""
    evaluate, calls = broken(lambda call, network: call == 0)
    trials = run(space=space_of(3), evaluate=evaluate, samples=40, batch=20, name="random")
    by_network: dict[int, list[Trial]] = {}
    for trial in trials:
        by_network.setdefault(number(trial.arch), []).append(trial)
    failing = by_network[number(trials[0].arch)]
    assert len(failing) > 2
    assert [(t.status, t.reused) for t in failing[:2]] == [("failed", None), ("ok", None)]
    assert all(t.reused == failing[1].sample for t in failing[2:])
    for others in by_network.values():
        assert sum(t.reused is None and t.status == "ok" for t in others) == 1
    assert len(calls) == len(by_network) + 1


def test_latency_and_reward_may_fail(tmp_path):
    """The trial has failed and says why; a network whose latency is not known is not evaluated, and an evaluation whose
    reward fails is not lost."""
    path = tmp_path / "journal.jsonl"
    evaluate, calls = broken(lambda call, network: False)

    def latency_ms(arch):
        if number(arch) % 5 == 0:
            raise KeyError("no such unit")
        return math.nan if number(arch) % 5 == 1 else arch.resolution_px / 4

    def reward(top1, ms):
        return math.log(-1) if round(5000 * (top1 - 0.5)) % 5 == 2 else top1 / ms

    failing = run(path, evaluate=evaluate, latency_ms=latency_ms, reward=reward, name="random", samples=8)
    by_note = {t.note: t for t in failing}
    unknown = by_note["the latency is not known: KeyError: 'no such unit'"]
    assert math.isnan(unknown.latency_ms)
    assert math.isnan(Journal(path, SPACE.decode).trials[unknown.sample].latency_ms)
    assert "the latency is nan ms; it must be above 0 and finite" in by_note
    kept = by_note["the reward is not known: ValueError: math domain error"]
    assert (kept.status, kept.top1, kept.reward) == ("failed", top1(kept.arch), 0.0)
    assert len(calls) == sum(not math.isnan(t.latency_ms) for t in failing)
    evaluate, again = broken(lambda call, network: False)
    trials = run(path, evaluate=evaluate, name="random", samples=8)  # both mended
    assert trials[kept.sample].status == "ok"
    assert number(kept.arch) not in again
    assert all(json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines())


def test_a_latency_that_always_fails_stops_the_search():
    with pytest.raises(
        EvaluationError, match="the last 8 evaluations failed; the latest: the latency is not known: Ke"
    ):
        run(latency_ms=lambda arch: {}["unit"])


def test_the_reward_of_a_diverged_training_may_fail():
    """It is asked for the reward of a network without any accuracy."""
    trials = run(evaluate=lambda arch: Evaluation(top1=0, status="diverged"), reward=lambda top1, ms: math.log(top1))
    assert {t.status for t in trials} == {"diverged"}
