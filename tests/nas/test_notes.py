"""Notes on a search at its end."""

from dataclasses import replace

import pytest

from nas.report import notes
from nas.reward import Reward
from nas.trial import Trial
from search_spaces import zoo

ARCH = zoo.get("mnasnet_small")


def trials(points, top1=0.5, status="ok"):
    return [
        Trial(sample=i, indices=(point,), arch=ARCH, top1=top1, latency_ms=9.0, reward=0.5, status=status)
        for i, point in enumerate(points)
    ]


def test_a_search_that_has_settled():
    many = range(1000)
    note = notes.settled(trials([*many, *(i % 27 for i in range(1000))]))
    assert note is not None
    assert note.startswith("The last 1000 samples are 27 different networks only: the controller has settled")
    assert notes.settled(trials([*many, *(i % 50 for i in range(1000))])) is None
    assert notes.settled(trials([*range(200), *[0] * 200])) == note.replace("1000", "200").replace("27", "1").replace(
        "networks only", "network only"
    )
    assert notes.settled(trials([0] * 150)) is None  # too few to say so
    assert notes.settled(trials(i % 27 for i in range(3000))) is not None
    assert notes.settled(trials(i % 27 for i in range(3000)), space_size=27) is None  # there are no more
    assert notes.settled([]) is None


@pytest.mark.parametrize(
    ("top1", "classes", "noted"),
    [
        (0.1, 10, True),
        (0.14, 10, True),
        (0.15, 10, False),
        (0.5, 2, True),
        (0.55, 2, False),
        (0.001, 1000, True),
        (0.01, 1000, False),
        (0.0, 10, True),
    ],
)
def test_networks_that_guess(top1, classes, noted):
    note = notes.at_chance(trials(range(3), top1=top1), classes, 10**6)
    assert (note is not None) == noted
    assert not noted or f"chance (top-1 {1 / classes:.2%} with {classes} classes; the best of the samples has" in str(
        note
    )


def test_one_network_above_chance_is_enough():
    some = [*trials(range(3), top1=0.1), *trials([3], top1=0.3)]
    assert notes.at_chance(some, 10, 1000) is None
    assert notes.at_chance(trials(range(3), top1=0.0, status="failed"), 10, 1000) is None
    assert notes.at_chance([], 10, 1000) is None


def test_on_few_images_luck_counts_as_chance():
    """Of 17 images and 3 classes the standard error is 0.114."""
    note = notes.at_chance(trials(range(42), top1=0.6), 3, 17)
    assert "No network is clearly better than chance (top-1 33.33% with 3 classes; the best of the samples has " in note
    assert "60.00% of 17 holdout images)" in note
    assert "more pictures" in note
    assert notes.at_chance(trials(range(42), top1=0.7), 3, 17) is None
    assert notes.at_chance(trials(range(42), top1=0.6), 3, 1700) is None


@pytest.mark.parametrize(
    ("ms", "reward", "can", "said", "unsaid"),
    [
        (
            5,
            {"name": "soft", "w": -0.15},
            {},
            ["pays more for speed", "reward=absolute", "smaller |w| (now -0.15)"],
            [],
        ),
        (5, {"name": "soft", "w": 0.0, "w_above": -0.3}, {}, ["is more accurate", "more samples"], ["|w|", "absolute"]),
        (5, {"name": "hard"}, {"wider": False}, ["is more accurate", "a harder data set"], ["base_width", "speed"]),
        (5, {"name": "absolute", "beta": -0.2}, {"trains": False}, ["larger beta (now 0.2)"], ["data set", "pays"]),
        (15, {"name": "soft", "w": -0.07}, {}, ["50% over", "larger |w| (now -0.07)", "narrower space"], ["wider"]),
        (15, {"name": "hard"}, {"narrower": False}, ["50% over", "more samples"], ["base_width", "|w|"]),
    ],
)
def test_remedies_are_those_that_help(ms, reward, can, said, unsaid):
    winner = replace(trials([0])[0], latency_ms=ms)
    note = notes.far_from_target(winner, Reward(target_ms=10.0, **reward), **can)
    assert all(words in note for words in said), note
    assert not any(words in note for words in unsaid), note


def test_near_the_target_there_is_nothing_to_say():
    for ms in (7, 10, 11):
        winner = replace(trials([0])[0], latency_ms=ms)
        assert notes.far_from_target(winner, Reward(name="soft", target_ms=10.0)) is None


def test_trainings_that_came_to_no_accuracy():
    def lines(**counts):
        return notes.failures([trial for status, n in counts.items() for trial in some(n, status)])

    def some(n, status):
        found = trials(range(n))
        return [replace(t, status=status, curve=(t.top1,) if status == "stopped" else ()) for t in found]

    assert lines(ok=20, diverged=2) == []
    assert lines(ok=10, failed=1) == ["1 of 11 evaluations failed; the journal says why."]
    assert lines(ok=10, diverged=2) == ["2 of 12 trainings diverged; try a lower evaluator.lr."]
    (line,) = lines(ok=10, stopped=5)
    assert line.startswith("5 of 15 trainings were stopped early: their accuracies cannot be compared with the others'")
