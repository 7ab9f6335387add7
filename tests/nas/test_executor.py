"""Evaluations in this process: what is tried again, and what is said of what an evaluator raises or returns."""

from pathlib import Path

import numpy as np
import pytest

from nas import executor
from nas.executor import SerialExecutor, cause, guarded
from nas.trial import Evaluation
from search_spaces import rewrite, zoo

ARCHS = [zoo.get("mnasnet_small", width=width) for width in (0.35, 0.5, 0.75)]
HERE = Path(__file__).name


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_what_fails_is_tried_again_until_it_does_not(retries):
    calls = []

    def evaluate(arch):
        calls.append(arch)
        return Evaluation(top1=0.5, status="ok" if calls.count(arch) > 1 or arch == ARCHS[2] else "failed")

    found = list(SerialExecutor(retries=retries).run(evaluate, ARCHS))
    assert [i for i, _ in found] == [0, 1, 2]
    assert [evaluation.status for _, evaluation in found] == (["ok"] if retries else ["failed"]) * 2 + ["ok"]
    assert calls == [arch for arch in ARCHS for _ in range(2 if retries and arch != ARCHS[2] else 1)]


def test_what_diverged_or_was_stopped_is_a_result():
    calls = []

    def evaluate(arch):
        calls.append(arch)
        return Evaluation(top1=0.0, status="diverged", note="NaN")

    ((_, evaluation),) = SerialExecutor().run(evaluate, ARCHS[:1])
    assert (evaluation.status, len(calls)) == ("diverged", 1)
    assert SerialExecutor().timeout_s is None


def test_what_is_shared_stays_here():
    value = object()
    assert SerialExecutor().share(value).get() is value


@pytest.mark.parametrize("result", [0.25, np.float32(0.25), np.array(0.25), Evaluation(top1=0.25)])
def test_a_number_or_an_evaluation_is_taken(result):
    assert guarded(lambda arch: result, ARCHS[0]) == Evaluation(top1=0.25)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (70.5, "the evaluator returned 70.5; expected a number in [0, 1] or an Evaluation; it looks like percent"),
        (-0.5, "the evaluator returned -0.5; expected a number in [0, 1] or an Evaluation"),
        (None, "the evaluator returned None; expected a number in [0, 1] or an Evaluation"),
        ([0.5], "the evaluator returned [0.5]; expected a number in [0, 1] or an Evaluation"),
        ("x" * 100, f"the evaluator returned '{'x' * 56}...; expected a number in [0, 1] or an Evaluation"),
    ],
)
def test_anything_else_has_failed(result, said):
    assert guarded(lambda arch: result, ARCHS[0]) == Evaluation(top1=0.0, status="failed", note=said)


def line_of(words: str) -> int:
    return next(i for i, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(words))


def broken(arch):
    return inner(arch)  # through the evaluator's own package


def inner(arch):
    raise OSError("no  data\n here")  # here


def asks_us(arch):
    return rewrite.width_multiplier(arch, 0)  # and there


def asks_numpy(arch):
    return np.zeros(3).reshape(2, 2)  # nor numpy


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        (broken, f"OSError: no data here ({HERE}, line {line_of('# here')})"),
        (asks_us, f"({HERE}, line {line_of('# and there')})"),
        (asks_numpy, f"({HERE}, line {line_of('# nor numpy')})"),
        (lambda arch: exit(3), f"SystemExit: 3 ({HERE}, line {line_of('# leaves')})"),  # leaves
    ],
)
def test_what_is_raised_is_said_with_the_last_line_of_the_evaluators_own_package(evaluate, said):
    """Not where this program raised it, or another that the evaluator asked."""
    evaluation = guarded(evaluate, ARCHS[0])
    assert (evaluation.status, evaluation.top1) == ("failed", 0.0)
    assert evaluation.note.endswith(said)


def test_what_this_program_raises_itself_has_no_place():
    arch = ARCHS[0]
    evaluation = guarded(lambda given: None, arch)
    assert "line" not in evaluation.note
    assert guarded(executor.SerialExecutor().share, arch).note.startswith("the evaluator returned _Here(")
    refused = guarded(rewrite.classes, arch)  # type: ignore[arg-type]
    assert refused.note.startswith("TypeError: ")
    assert "line" not in refused.note


def test_ctrl_c_ends_a_search():
    def evaluate(arch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(SerialExecutor().run(evaluate, ARCHS))


def test_causes_are_one_line_of_at_most_1000_characters():
    assert cause(ValueError("a\n\n b\tc")) == "ValueError: a b c"
    assert cause(KeyError("x")) == "KeyError: 'x'"
    assert cause(ValueError()) == "ValueError: "
    assert len(cause(ValueError("x" * 5000))) == 1000
