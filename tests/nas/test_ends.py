"""When a search ends before it has all its samples."""

import itertools

import pytest

from nas.ends import Ends
from nas.trial import Trial
from search_spaces import zoo

ARCH = zoo.get("mobilenet_v3_small")


def trials(*rewards: float | None) -> list[Trial]:
    """None: one that diverged."""
    known = [0.0 if reward is None else reward for reward in rewards]
    statuses = ["diverged" if reward is None else "ok" for reward in rewards]
    return [
        Trial(sample=i, indices=(i,), arch=ARCH, top1=reward, latency_ms=10.0, reward=reward, status=status)
        for i, (reward, status) in enumerate(zip(known, statuses, strict=True))
    ]


def test_without_limits_it_goes_on():
    assert Ends(max_minutes=None, patience=None).why(trials(*[0.5] * 1000)) == ""


def test_the_minutes_are_those_of_this_call():
    clock = itertools.count(0, 50)  # seconds: one look every 50
    ends = Ends(max_minutes=2, patience=None, clock=lambda: float(next(clock)))
    assert ends.why(trials(0.5)) == ""  # nothing has begun yet: what an earlier call did is read
    ends.begin()
    ends.begin()
    assert [ends.why(trials(0.5)) for _ in range(3)] == ["", "", "max_minutes=2 are over"]


@pytest.mark.parametrize(
    ("rewards", "ends"),
    [
        ([0.5, 0.6, 0.6, 0.4], False),  # 2 samples after the first best
        ([0.5, 0.6, 0.6, 0.4, 0.6], True),
        ([0.5, 0.6, None, None, None], True),
        ([None, None, None, None], False),  # nothing good yet
        ([0.5, 0.6, 0.4, 0.4, 0.7], False),
    ],
)
def test_patience_counts_samples_since_the_best(rewards, ends):
    why = Ends(max_minutes=None, patience=3).why(trials(*rewards))
    assert why == ("none of the last 3 samples was better than sample 1 (patience=3)" if ends else "")


def test_time_does_not_end_a_search_that_has_found_nothing():
    ends = Ends(max_minutes=1e-9, patience=None)
    ends.begin()
    assert ends.why(trials(None)) == ""
