"""The loop, and what happens when things break."""

import functools

import numpy as np
import pytest

from nas import controllers, reward
from nas.controllers.random import Random
from nas.executor import SerialExecutor
from nas.journal import Journal
from nas.loop import EvaluationError, best, search
from nas.trial import Evaluation, Trial
from search_spaces import cost


def latency_ms(arch):
    return cost.madds(arch) / 1e6


def top1(arch):
    return 1 - 1 / (1 + cost.params(arch) / 1e6)


def run(space, *, evaluate=top1, samples=12, rng_seed=0, **settings):
    return search(
        space=space,
        controller=controllers.make("rnn_ppo", space, rng_seed=rng_seed),
        evaluate=evaluate,
        latency_ms=latency_ms,
        reward=lambda top1, ms: reward.soft(top1, ms, target_ms=60, w=-0.15),
        samples=samples,
        batch=4,
        **settings,
    )


def same(a: list[Trial], b: list[Trial]) -> bool:
    return [(t.sample, t.indices, t.top1, t.reward, t.status) for t in a] == [
        (t.sample, t.indices, t.top1, t.reward, t.status) for t in b
    ]


def test_trials_are_what_was_measured(space):
    trials = run(space)
    assert [t.sample for t in trials] == list(range(12))
    for t in trials:
        assert t.arch == space.decode(t.indices)
        assert t.top1 == top1(t.arch)
        assert t.reward == pytest.approx(reward.soft(t.top1, t.latency_ms, target_ms=60, w=-0.15))
    assert best(trials).reward == max(t.reward for t in trials)


def test_the_order_in_which_evaluations_finish_does_not_matter(space):
    class Backwards:
        def run(self, evaluate, archs):
            yield from reversed(list(SerialExecutor().run(evaluate, archs)))

    assert same(run(space), run(space, executor=Backwards()))


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7, 11])
def test_a_killed_search_continues_as_if_nothing_had_happened(space, tmp_path, stop):
    calls = []

    def evaluate(arch):
        if len(calls) == stop:
            raise KeyboardInterrupt
        calls.append(arch)
        return top1(arch)

    path = tmp_path / "journal.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(space, evaluate=evaluate, journal=Journal(path, space.decode))
    if stop:
        with path.open("a") as file:
            file.write('{"crc32": "0')  # a line cut short
    evaluated = []
    trials = run(space, evaluate=lambda a: evaluated.append(a) or top1(a), journal=Journal(path, space.decode))
    assert same(trials, run(space))
    assert len(evaluated) == 12 - stop
    assert sorted(Journal(path, space.decode).trials) == list(range(12))


@pytest.mark.parametrize("first", [8, 6])
def test_more_samples_continue_a_finished_search(space, tmp_path, first):
    path = tmp_path / "journal.jsonl"
    run(space, samples=first, journal=Journal(path, space.decode))
    evaluated = []
    longer = run(space, evaluate=lambda a: evaluated.append(a) or top1(a), journal=Journal(path, space.decode))
    assert same(longer, run(space))
    assert len(evaluated) == 12 - first


def test_a_network_is_evaluated_once(space):
    class Stubborn:
        def propose(self, n):
            return np.zeros((n, len(space.choices)), dtype=int)

        def observe(self, indices, rewards):
            assert len(rewards) == len(indices)

    evaluated = []
    trials = search(
        space=space,
        controller=Stubborn(),
        evaluate=lambda a: evaluated.append(a) or 0.5,
        latency_ms=latency_ms,
        reward=lambda top1, ms: top1,
        samples=6,
        batch=4,
    )
    assert len(evaluated) == 1
    assert [t.reused for t in trials] == [None, 0, 0, 0, 0, 0]


class Stubborn:
    """Proposes two networks again and again."""

    def __init__(self, space):
        self.points = np.zeros((2, len(space.choices)), dtype=int)
        self.points[1, 6] = 1  # block 2: block 1 is left out

    def propose(self, n):
        return self.points[np.arange(n) % 2]

    def observe(self, indices, rewards):
        assert len(rewards) == len(indices)


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 5])
def test_on_request_it_is_evaluated_again_with_another_seed(space, tmp_path, stop):
    evaluated = []

    def once(journal, samples):
        evaluated.clear()

        def evaluate(arch, times=0):
            evaluated.append(times)
            return 0.5 + 0.01 * times

        def again(times):
            assert times > 0  # the first time it is `evaluate` itself
            return functools.partial(evaluate, times=times)

        return search(
            space=space,
            controller=Stubborn(space),
            evaluate=evaluate,
            latency_ms=latency_ms,
            reward=lambda top1, ms: top1,
            samples=samples,
            batch=4,
            journal=journal,
            evaluate_again=again,
        )

    if stop:
        once(Journal(tmp_path / "journal.jsonl", space.decode), stop)
    trials = once(Journal(tmp_path / "journal.jsonl", space.decode), 6)
    assert [trial.top1 for trial in trials] == pytest.approx([0.5, 0.5, 0.51, 0.51, 0.52, 0.52])
    assert all(trial.reused is None for trial in trials)
    assert len(evaluated) == 6 - stop


def test_failures_and_divergence_are_results(space):
    def evaluate(arch):
        n = len(seen)
        seen.append(arch)
        if n % 3 == 0:
            raise RuntimeError("the camera is on fire")
        if n % 3 == 1:
            return Evaluation(top1=0.9, status="diverged", note="NaN")
        return top1(arch)

    seen = []
    trials = run(space, evaluate=evaluate, executor=SerialExecutor(retries=0))
    assert {t.status for t in trials} == {"ok", "diverged", "failed"}
    assert all(t.reward == 0 and t.top1 == 0 for t in trials if t.status != "ok")
    assert trials[0].note.startswith("RuntimeError: the camera is on fire (test_loop.py, line ")
    assert best(trials).status == "ok"


def test_a_nan_accuracy_is_a_failure(space):
    trials = run(space, evaluate=lambda a: float("nan") if len(a.blocks) % 2 else 0.5)
    odd = [t for t in trials if len(t.arch.blocks) % 2]
    assert odd
    assert all((t.status, t.reward) == ("failed", 0.0) for t in odd)


def test_a_broken_evaluator_stops_the_search(space):
    with pytest.raises(EvaluationError, match="the last 8 evaluations failed; the latest: OSError: no data"):
        run(space, evaluate=lambda arch: (_ for _ in ()).throw(OSError("no data")), samples=100)


def test_no_winner_without_a_success():
    with pytest.raises(ValueError, match="^none of 0 networks could be evaluated$"):
        best([])


def test_w_is_adjusted_once_and_counts_for_all_trials(space):
    """After 8 trials another reward: the returned trials all have it, continued runs too."""
    calls = []

    def adjust(trials):
        calls.append(len(trials))
        return lambda top1, ms: 10 * top1

    plain = run(space, samples=8)
    trials = run(space, samples=16, adjust_after=6, adjust=adjust)
    assert calls == [8]
    assert [t.indices for t in trials[:8]] == [t.indices for t in plain]
    assert [t.reward for t in trials] == [pytest.approx(10 * t.top1) for t in trials]


def test_a_controller_that_uses_it_is_told_what_is_known_of_points(space):
    class Informed(Random):
        told = ()

        def inform(self, latency_ms, reward):
            self.told += ((latency_ms(np.zeros((2, 5))).tolist(), reward(1.0, 3.0)),)

    controller = Informed(space, rng_seed=0)
    known = {"latency_ms": latency_ms, "latency_ms_batch": lambda points: np.full(len(points), 5.0)}
    search(space=space, controller=controller, evaluate=top1, reward=lambda top1, ms: top1 / ms, samples=4, **known)
    assert controller.told == (([5, 5], 1 / 3),)
    changed = {"adjust_after": 4, "adjust": lambda trials: lambda top1, ms: 9.0}  # another reward is told anew
    search(
        space=space, controller=controller, evaluate=top1, reward=lambda top1, ms: 6.0, samples=4, **known, **changed
    )
    assert [reward for _, reward in controller.told[1:]] == [6, 9]
    plain = controllers.make("random", space)
    search(space=space, controller=plain, evaluate=top1, reward=lambda top1, ms: 6.0, samples=4, **known)


def test_an_informed_search_continues(space, tmp_path):
    """A third of the evaluations diverge; the controller looks at latencies."""

    def go(samples, folder):
        return search(
            space=space,
            controller=controllers.make("bayesian", space, rng_seed=0, settings={"random": 4, "children": 256}),
            evaluate=lambda arch: Evaluation(top1=0.0, status="diverged") if cost.madds(arch) % 3 == 0 else top1(arch),
            latency_ms=latency_ms,
            latency_ms_batch=lambda points: np.array([latency_ms(space.decode(row)) for row in points]),
            reward=lambda top1, ms: reward.absolute(top1, ms, target_ms=60, beta=-0.2),
            samples=samples,
            batch=4,
            journal=Journal(folder / "journal.jsonl", space.decode),
        )

    go(10, tmp_path / "pieces")
    assert same(go(24, tmp_path / "pieces"), go(24, tmp_path / "whole"))


def test_an_adjusted_search_continues(space, tmp_path):
    def go(samples):
        return run(
            space,
            samples=samples,
            journal=Journal(tmp_path / "journal.jsonl", space.decode),
            adjust_after=8,
            adjust=lambda trials: lambda top1, ms: 10 * top1,
        )

    go(10)
    assert same(go(20), run(space, samples=20, adjust_after=8, adjust=lambda trials: lambda top1, ms: 10 * top1))


def test_a_diverged_training_counts_as_the_worst_and_a_failed_one_says_nothing(space):
    """Rewards may be negative: 0 would make a broken network the best."""
    told = []

    class Watched:
        def propose(self, n):
            return space.sample(np.random.default_rng(len(told)), n)

        def observe(self, indices, rewards):
            told.append(rewards)

    statuses = iter(["ok", "diverged", "failed", "ok"])
    search(
        space=space,
        controller=Watched(),
        evaluate=lambda arch: Evaluation(top1=0.5, status=next(statuses)),
        latency_ms=latency_ms,
        reward=lambda top1, ms: -ms,
        samples=4,
        batch=4,
        executor=SerialExecutor(retries=0),
    )
    good, diverged, failed, _ = told[0]
    assert diverged <= good < 0
    assert np.isnan(failed)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_failed_evaluation_is_tried_again_so_often(space, retries):
    calls = []

    def broken(arch):
        calls.append(arch)
        raise RuntimeError("no camera")

    (arch,) = [space.decode(row) for row in space.sample(np.random.default_rng(0), 1)]
    ((_, evaluation),) = SerialExecutor(retries=retries).run(broken, [arch])
    line = broken.__code__.co_firstlineno + 2
    assert (evaluation.status, evaluation.note) == ("failed", f"RuntimeError: no camera (test_loop.py, line {line})")
    assert len(calls) == 1 + retries


def test_nothing_is_adjusted_before_a_network_is_good(space):
    """Else a run whose first evaluations fail could never go on."""
    statuses = iter(["diverged"] * 4 + ["ok"] * 8)
    calls = []

    def adjust(trials):
        calls.append(len(trials))
        return lambda top1, ms: top1

    run(space, evaluate=lambda a: Evaluation(top1=0.5, status=next(statuses)), adjust_after=4, adjust=adjust)
    assert calls == [8]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": -1}, "^samples=-1: it must be a whole number, at least 0$"),
        ({"samples": 2.5}, "^samples=2.5: it must be a whole number, at least 0$"),
        ({"batch": 0}, "^batch=0: it must be a whole number, at least 1$"),
        ({"batch": None}, "^batch=None: it must be a whole number, at least 1$"),
    ],
)
def test_counts_are_checked(space, settings, message):
    common = {"space": space, "controller": Stubborn(space), "evaluate": top1, "latency_ms": latency_ms, "samples": 4}
    with pytest.raises(ValueError, match=message):
        search(**common | {"reward": lambda top1, ms: top1} | settings)
