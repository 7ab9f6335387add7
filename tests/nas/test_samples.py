"""Equal networks among the samples of a batch: evaluated once, and again where the evaluation failed."""

import numpy as np
import pytest

from nas.executor import SerialExecutor
from nas.loop import search
from nas.trial import Evaluation


class Same:
    """Proposes the points 0 and 1 of a space by a pattern, again and again."""

    def __init__(self, space, *pattern: int) -> None:
        self.points = np.zeros((len(pattern), len(space.choices)), dtype=int)
        self.points[:, 6] = pattern  # block 2: block 1 is left out

    def propose(self, n):
        return self.points[np.arange(n) % len(self.points)]

    def observe(self, indices, rewards):
        assert len(rewards) == len(indices)


def go(space, pattern, evaluate, *, samples, batch):
    return search(
        space=space,
        controller=Same(space, *pattern),
        evaluate=evaluate,
        latency_ms=lambda arch: 1.0,
        reward=lambda top1, ms: top1,
        samples=samples,
        batch=batch,
        executor=SerialExecutor(retries=0),
    )


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_after_a_failure_the_next_sample_of_the_network_is_evaluated(space, fails):
    """In the same batch, until an evaluation succeeds: that one is the result of all later samples."""
    evaluated = []

    def evaluate(arch):
        evaluated.append(arch)
        return Evaluation(top1=0.5, status="failed" if len(evaluated) <= fails else "ok")

    trials = go(space, [0], evaluate, samples=5, batch=5)
    assert [t.status for t in trials] == ["failed"] * fails + ["ok"] * (5 - fails)
    assert [t.reused for t in trials] == [None] * (fails + 1) + [fails] * (4 - fails)
    assert len(evaluated) == fails + 1


def test_a_failure_of_one_network_is_none_of_another(space):
    evaluated = []

    def evaluate(arch):
        evaluated.append(arch)
        return Evaluation(top1=0.1 * len(evaluated), status="failed" if len(evaluated) == 1 else "ok")

    trials = go(space, [0, 1, 1, 0, 0], evaluate, samples=10, batch=5)
    assert [t.reused for t in trials] == [None, None, 1, None, 3, 3, 1, 1, 3, 3]
    assert [t.top1 for t in trials] == pytest.approx([0, 0.2, 0.2, 0.3, 0.3, 0.3, 0.2, 0.2, 0.3, 0.3])
    assert [t.seconds for t in trials if t.reused is not None] == [0.0] * 7
    assert len(evaluated) == 3
