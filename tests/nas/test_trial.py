"""Evaluations and trials check their fields, and what an evaluator returns is judged alike everywhere."""

import math
import sys

import numpy as np
import pytest
import torch

from nas.executor import guarded
from nas.trial import Evaluation, Trial
from search_spaces import zoo

ARCH = zoo.get("mnasnet_small")
TRIAL = {"sample": 0, "indices": (1, 2), "arch": ARCH, "top1": 0.5, "latency_ms": 9.0, "reward": 0.4}


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5)])
def test_numbers_become_plain(value):
    assert type(guarded(lambda arch: value, ARCH).top1) is float
    evaluation = Evaluation(top1=value, seconds=value)
    assert evaluation == Evaluation(top1=0.5, seconds=0.5)
    trial = Trial(**TRIAL | {"sample": np.int64(3), "indices": np.array([1, 2]), "reward": value, "latency_ms": value})
    assert [type(x) for x in (trial.sample, *trial.indices, trial.reward, trial.latency_ms)] == [int] * 3 + [float] * 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        ((0.5, 0.1), "(0.5, 0.1)"),
        (np.array([0.5]), "array([0.5])"),
        ("0.5", "'0.5'"),
        (True, "True"),
        (math.nan, "nan"),
        (-3, "-3"),
        (0.5j, "0.5j"),
        ({"top1": 0.5}, "{'top1': 0.5}"),
        (np.zeros((50, 50)), f"{' '.join(repr(np.zeros((50, 50))).split())[:57]}..."),
    ],
)
def test_what_is_no_accuracy_is_a_failure(value, shown):
    evaluation = guarded(lambda arch: value, ARCH)
    assert (evaluation.top1, evaluation.status) == (0.0, "failed")
    assert evaluation.note == f"the evaluator returned {shown}; expected a number in [0, 1] or an Evaluation"


def test_percent_are_recognised():
    assert guarded(lambda arch: 71.5, ARCH).note.endswith(
        "returned 71.5; expected a number in [0, 1] or an Evaluation; it looks like percent"
    )
    assert (
        "top1=71.5: it must be in [0, 1]; it looks like percent"
        in guarded(lambda arch: Evaluation(top1=71.5), ARCH).note
    )


def test_whatever_is_raised_is_a_failure_in_one_line():
    def two_lines(arch):
        raise RuntimeError("no\n  camera" + "!" * 5000)

    note = guarded(two_lines, ARCH).note
    assert note.startswith("RuntimeError: no camera!!")
    assert len(note) < 1100
    assert guarded(lambda arch: sys.exit(3), ARCH).note.startswith("SystemExit: 3 (test_trial.py, line ")
    with pytest.raises(KeyboardInterrupt):
        guarded(lambda arch: (_ for _ in ()).throw(KeyboardInterrupt), ARCH)


def test_without_a_result_there_is_no_accuracy():
    assert Evaluation(top1=math.nan, status="diverged").top1 == 0.0
    assert Evaluation(top1=0.9, status="failed").top1 == 0.0
    assert math.isnan(Trial(**TRIAL | {"status": "failed", "latency_ms": math.nan}).latency_ms)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top1": -0.1}, r"^top1=-0.1: it must be in \[0, 1\]$"),
        ({"status": "good"}, "^status='good': it must be one of ok, stopped, diverged, failed$"),
        ({"seconds": -1}, "^seconds=-1: it must be at least 0 and finite$"),
        ({"latency_ms": 0}, "^latency_ms=0: it must be above 0 and finite$"),
        ({"latency_ms": math.nan}, "^latency_ms=nan: it must be above 0 and finite$"),
        ({"latency_ms": math.inf, "status": "failed"}, "^latency_ms=inf: it must be above 0 and finite$"),
        ({"reward": math.nan}, "^reward=nan: it must be finite$"),
        ({"reward": "high"}, "^reward='high': it must be a number$"),
        ({"indices": (0.5,)}, "^indices=0.5: it must be a whole number$"),
        ({"reused": -1}, "^reused=-1: it must be at least 0$"),
    ],
)
def test_fields_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        Trial(**TRIAL | change)
    if not change.keys() - {"top1", "status", "seconds"}:
        with pytest.raises(ValueError, match=message):
            Evaluation(**{"top1": 0.5} | change)
