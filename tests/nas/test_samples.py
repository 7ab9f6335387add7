"""Equal networks among the samples of a batch: evaluated once, and again where the evaluation failed."""

import numpy as np
import pytest

from nas.executor import SerialExecutor
from nas.journal import Journal
from nas.loop import EvaluationError, search
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


class Watching(Same):
    """What it was told of each batch."""

    def observe(self, indices, rewards):
        super().observe(indices, rewards)
        self.told = [*getattr(self, "told", []), rewards.tolist()]


def go(space, pattern, evaluate, *, samples, batch, controller=None, **more):
    given = {"latency_ms": lambda arch: 1.0, "reward": lambda top1, ms: top1, **more}
    return search(
        space=space,
        controller=controller or Same(space, *pattern),
        evaluate=evaluate,
        samples=samples,
        batch=batch,
        executor=SerialExecutor(retries=0),
        **given,
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


def test_each_batch_tells_its_own_rewards_and_another_reward_all_of_them(space):
    """The reward is another one after four good trials: the controller is told of all again."""
    evaluated = iter(range(1, 9))
    controller = Watching(space, 0, 1)
    trials = go(
        space, (), lambda arch: next(evaluated) / 10, samples=6, batch=2, controller=controller,
        evaluate_again=lambda before: lambda arch: next(evaluated) / 10,
        adjust_after=4, adjust=lambda trials: lambda top1, ms: 10 * top1,
    )  # fmt: skip
    assert [t.top1 for t in trials] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert [t.reward for t in trials] == pytest.approx([1, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(np.concatenate(controller.told), [0.1, 0.2, 0.3, 0.4, 1, 2, 3, 4, 5, 6])
    assert list(map(len, controller.told)) == [2, 2, 4, 2]


def test_a_network_that_is_sampled_again_is_evaluated_as_often_as_it_was_before(space, tmp_path):
    """Also in the same batch, and where the journal knows the first times."""
    asked = []

    def again(before):
        def evaluate(arch):
            asked.append((before, len(arch.blocks)))
            return 0.1 * before

        return evaluate

    def run(samples):
        asked.clear()
        return go(
            space, [0, 0, 1], lambda arch: again(0)(arch), samples=samples, batch=3, evaluate_again=again,
            journal=Journal(tmp_path / "journal.jsonl", space.decode),
        )  # fmt: skip

    trials = run(6)
    a, b = (len(trials[i].arch.blocks) for i in (0, 2))
    assert sorted(asked[:3]) == sorted([(0, a), (0, b), (1, a)])
    assert sorted(asked[3:]) == sorted([(2, a), (3, a), (1, b)])
    assert [t.top1 for t in trials] == pytest.approx([0, 0.1, 0, 0.2, 0.3, 0.1])
    assert all(t.reused is None for t in trials)
    longer = run(9)
    assert sorted(asked) == sorted([(4, a), (5, a), (2, b)])
    assert longer[:6] == trials


@pytest.mark.parametrize("again", [False, True])
def test_eight_failures_end_a_search_after_their_batch(space, again):
    calls = []

    def broken(arch):
        calls.append(arch)
        raise OSError(f"no data {len(calls)}")

    more = {"evaluate_again": lambda before: broken} if again else {}
    with pytest.raises(EvaluationError, match="^the last 10 evaluations failed; the latest: OSError: no data 10"):
        go(space, [0, 1], broken, samples=50, batch=5, **more)
    assert len(calls) == 10


def test_a_network_whose_latency_is_not_known_is_not_evaluated(space):
    """The others are, and all are told of in the order in which they are done."""
    seen, evaluated = [], []
    unknown = space.decode(Same(space, 1).points[0])
    trials = go(
        space, [0, 1, 0], lambda arch: evaluated.append(arch) or 0.5, samples=3, batch=3, on_trial=seen.append,
        latency_ms=lambda arch: 0.0 if arch == unknown else 1.0,
    )  # fmt: skip
    assert [(t.sample, t.status, t.reused) for t in trials] == [(0, "ok", None), (1, "failed", None), (2, "ok", 0)]
    assert evaluated == [trials[0].arch]
    assert sorted(t.sample for t in seen) == [0, 1, 2]
