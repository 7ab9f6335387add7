"""Notes on a search at its end."""

import pytest

from nas.report import notes
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
    note = notes.at_chance(trials(range(3), top1=top1), classes)
    assert (note is not None) == noted
    assert not noted or f"chance (top-1 {1 / classes:.2%} with {classes} classes; the best of the samples has" in str(
        note
    )


def test_one_network_above_chance_is_enough():
    some = [*trials(range(3), top1=0.1), *trials([3], top1=0.3)]
    assert notes.at_chance(some, 10) is None
    assert notes.at_chance(trials(range(3), top1=0.0, status="failed"), 10) is None
    assert notes.at_chance([], 10) is None
