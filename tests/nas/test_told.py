"""What a controller is told of samples that have no reward of their own: mathematics of the rule."""

import math

import numpy as np
import pytest

from nas.told import Outcome, told


def ok(*rewards):
    return Outcome(status="ok", curve=rewards)


def stopped(*rewards):
    return Outcome(status="stopped", curve=rewards)


DIVERGED, FAILED = Outcome(status="diverged"), Outcome(status="failed")


def test_of_parallel_curves_a_stopped_one_is_told_its_end():
    rng = np.random.default_rng(0)
    gains = rng.normal(size=6).cumsum()
    levels = rng.normal(size=20)
    curves = [tuple(level + gains) for level in levels]
    ends = [6 if i == 3 else int(rng.integers(1, 7)) for i in range(20)]
    outcomes = [ok(*c) if n == 6 else stopped(*c[:n]) for c, n in zip(curves, ends, strict=True)]
    assert told(outcomes, 20) == pytest.approx([c[-1] for c in curves])


def test_what_an_epoch_adds_is_accuracy_and_worth_what_the_network_makes_of_it():
    """ACC x TAR/LAT of parallel curves, the slower ones stopped: told as if all had been trained to the end."""
    worths = [1.0, 1 / 2, 1 / 8]
    outcomes = [
        Outcome(status=status, curve=curve, reward=lambda top1, worth=worth: top1 * worth)
        for worth, status, curve in zip(
            worths, ["ok", "stopped", "stopped"], [(0.2, 0.5, 0.6), (0.3, 0.6), (0.1,)], strict=True
        )
    ]
    assert told(outcomes, 3) == pytest.approx([0.6, 0.7 / 2, 0.5 / 8])
    unknown = Outcome(status="stopped", curve=(0.3,), reward=lambda top1: math.nan)
    assert np.isnan(told([*outcomes, unknown], 1)).all()
    assert told([*outcomes, unknown, DIVERGED], 1) == [0.0]


def test_an_epoch_adds_what_it_added_on_average():
    """By hand: the second epoch added 0.2 and 0.4, the third 0.1."""
    outcomes = [ok(0.4, 0.6, 0.7), stopped(0.1, 0.5), stopped(0.0), stopped(-0.25)]
    assert told(outcomes, 4) == pytest.approx([0.7, 0.6, 0.4, 0.15])
    assert told([*outcomes, *outcomes], 4) == pytest.approx([0.7, 0.6, 0.4, 0.15])  # samples of one network count once


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_curves(seed):
    """Those stopped at one epoch keep their order; and whoever is stopped by what it had, the mean is right."""
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(4000, 1)) + rng.normal(size=(4000, 5)).cumsum(axis=1) + np.arange(5)
    on = curves[:, 0] > 0.5
    ends = np.where(on, np.where(curves[:, 2] > 2.5, 5, 3), 1)  # rungs after the first and the third epoch
    outcomes = [ok(*c) if n == 5 else stopped(*c[:n]) for c, n in zip(curves, ends, strict=True)]
    values = told(outcomes, 4000)
    assert (values[ends == 5] == curves[ends == 5, 4]).all()
    for end in (1, 3):
        (rows,) = np.nonzero(ends == end)
        assert (np.argsort(values[rows]) == np.argsort(curves[rows, end - 1])).all()
        error = values[rows] - curves[rows, 4]
        assert abs(error.mean()) < 5 * error.std() / np.sqrt(min(len(rows), (ends == 5).sum()))
        assert (curves[rows, end - 1] - curves[rows, 4]).mean() < -1.5  # as their own rewards would be


def test_without_a_network_that_was_trained_on_nothing_is_said():
    assert np.isnan(told([stopped(0.4), stopped(0.2)], 2)).all()
    assert np.isnan(told([ok(0.9), stopped(0.4)], 1)).all()  # trained, but nobody knows how it was before its end
    assert np.isnan(told([ok(0.5, 0.7), stopped(0.4, 0.6)], 1)).all()  # nor what comes after that


def test_epochs_beyond_the_end_add_nothing():
    """The whole trainings had two epochs; one that was longer says nothing of their end."""
    outcomes = [ok(0.4, 0.6), stopped(0.1, 0.3, 0.9), stopped(0.1)]
    assert told(outcomes, 1) == pytest.approx([0.3])
    assert np.isnan(told(outcomes, 2)[0])


def test_what_diverged_is_as_bad_as_the_worst():
    assert told([ok(0.5), DIVERGED], 1) == [0.0]
    assert told([ok(-3.0), DIVERGED, ok(5.0)], 3) == pytest.approx([-3.0, -3.0, 5.0])
    assert told([ok(-1.0, 1.0), stopped(-4.0), DIVERGED], 2) == pytest.approx(
        [-2.0, -2.0]
    )  # a stopped one is a network
    assert told([ok(0.5), Outcome(status="diverged", without=-0.25)], 1) == [-0.25]
    assert told([DIVERGED], 1) == [0.0]
    assert told([ok(-3.0), DIVERGED], 1) == [-3.0]  # the worst of all, not of the last ones


def test_what_failed_says_nothing():
    assert np.isnan(told([FAILED], 1)).all()
    assert told([FAILED, ok(0.5), DIVERGED], 2) == pytest.approx([0.5, 0.0])
    assert told([ok(0.5)], 0).shape == (0,)
