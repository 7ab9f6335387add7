"""The journal of a search: what it gives back, what it refuses, and how a search goes on after failures."""

import contextlib
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas import controllers
from nas.executor import SerialExecutor
from nas.journal import Journal, JournalError
from nas.loop import EvaluationError, search
from nas.trial import Trial
from nas_runtime.files import FileError
from nas_runtime.records import Records
from search_spaces import spaces, zoo
from search_spaces.space import Choice, SearchSpace

SMALL = zoo.get("mnasnet_small")


def space_of(options: int) -> SearchSpace:
    """`options` squared networks, which differ in their resolution only."""
    return SearchSpace(
        name="small",
        choices=(Choice("a", tuple(range(options))), Choice("b", tuple(range(options)))),
        decode=lambda point: replace(SMALL, resolution_px=32 + options * int(point[0]) + int(point[1])),
    )


def zoo_space() -> SearchSpace:
    return SearchSpace(name="zoo", choices=(Choice("a", (0, 1)),), decode=lambda point: SMALL)


SPACE = space_of(40)


def number(arch) -> int:
    """Of a network in its space."""
    return arch.resolution_px - 32


def top1(arch) -> float:
    return 0.5 + number(arch) / 5000


def run(path=None, *, space=SPACE, evaluate=top1, samples=24, name="evolution", rng_seed=0, **settings) -> list[Trial]:
    defaults = {"latency_ms": lambda arch: arch.resolution_px / 4, "reward": lambda top1, ms: top1 / ms, "batch": 4}
    return search(
        space=space,
        controller=controllers.make(name, space, rng_seed=rng_seed),
        evaluate=evaluate,
        samples=samples,
        executor=SerialExecutor(retries=0),
        journal=Journal(path, space.decode) if path else None,
        **{**defaults, **settings},
    )


def told(trials: list[Trial]) -> list[tuple]:
    return [(t.sample, t.indices, t.top1, t.latency_ms, t.reward, t.status, t.reused) for t in trials]


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "journal.jsonl"
    run(path, samples=8)
    return path


def broken(condition):
    """An evaluator that raises where `condition` of (call, network's number) holds, and the networks it was called
    with."""
    calls: list[int] = []

    def evaluate(arch):
        calls.append(number(arch))
        if condition(len(calls) - 1, calls[-1]):
            raise OSError("no data")
        return top1(arch)

    return evaluate, calls


def test_the_journal_gives_the_trials_back(path):
    assert told(list(Journal(str(path), SPACE.decode).trials.values())) == told(run(samples=8))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lines: [*lines[:2], lines[2].replace('"top1": 0.', '"top1": 0.9'), *lines[3:]], ":3 is damaged or was"),
        (lambda lines: [*lines[:2], "garbage\n", *lines[3:]], ":3 is damaged"),
        (lambda lines: lines[1:], ":1 is damaged|not a journal of format"),
        (lambda lines: [*lines, lines[-1]], "sample 7 stands twice"),
    ],
)
def test_damage_is_found(path, edit, message):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(edit(lines)))
    with pytest.raises(JournalError, match=message):
        Journal(path, SPACE.decode)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top1": 71.5}, r"top1=71.5: it must be in \[0, 1\]; it looks like percent"),
        ({"top1": math.nan}, r"top1=nan: it must be in \[0, 1\]"),
        ({"top1": "0.7"}, "top1='0.7': it must be a number"),
        ({"latency_ms": -1.0}, "latency_ms=-1: it must be above 0"),
        ({"latency_ms": None}, "latency_ms=nan: it must be above 0"),
        ({"reward": math.inf}, "reward=inf: it must be finite"),
        ({"status": "good"}, "status='good': it must be one of ok, stopped, diverged, failed"),
        ({"sample": -1}, "sample=-1: it must be at least 0"),
        ({"sample": 10**400}, None),
        ({"top1": 10**400}, "top1=1000.*: it is too large"),
        ({"seconds": None}, "seconds=None: it must be a number"),
        ({"colour": "blue"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_values_that_no_trial_has_are_refused(tmp_path, change, message):
    record = {"sample": 3, "indices": [1, 2], "top1": 0.7, "latency_ms": 9.0, "reward": 0.7, "status": "ok"}
    Records(tmp_path / "journal.jsonl", "journal").append(record | change)
    if message is None:  # nothing is wrong with the record itself
        Journal(tmp_path / "journal.jsonl", SPACE.decode)
        return
    with pytest.raises(JournalError, match=message) as caught:
        Journal(tmp_path / "journal.jsonl", SPACE.decode)
    assert f"journal.jsonl: sample {change.get('sample', 3)} is no trial of a search" in str(caught.value)


def test_the_journal_of_another_search_is_refused(path):
    with pytest.raises(JournalError, match="sample 0 of the journal is not what this search proposes"):
        run(path, rng_seed=1)
    for other in (space_of(3), zoo_space()):
        with pytest.raises(JournalError, match="does not belong to this search space .*; use another run_dir"):
            Journal(path, other.decode)


def test_the_journal_of_another_reward_is_refused(path):
    with pytest.raises(
        JournalError,
        match=r"sample 0 of the journal has reward .* \(top-1 .* at .* ms\), but in this search the reward is 0",
    ):
        run(path, reward=lambda top1, ms: top1 / ms * (1 + 1e-6))
    with pytest.raises(JournalError, match="but in this search the reward is not known: ZeroDivisionError"):
        run(path, reward=lambda top1, ms: 1 / 0)
    again = run(path, reward=lambda top1, ms: top1 / ms * (1 + 1e-12))  # another machine's arithmetic
    assert told(again)[:8] == told(run(samples=8))


def test_an_adjusted_search_goes_on_and_notices_another_reward(tmp_path):
    def go(samples, factor):
        return run(
            tmp_path / "journal.jsonl", samples=samples, adjust_after=6, adjust=lambda trials: lambda top1, ms: factor
        )

    go(10, 7.0)
    assert [t.reward for t in go(14, 7.0)] == [7.0] * 14
    with pytest.raises(
        JournalError, match="sample 8 of the journal has reward 7 .* but in this search the reward is 5"
    ):
        go(14, 5.0)


def test_a_full_disk_leaves_a_journal_that_goes_on(path, monkeypatch):
    journal = Journal(path, SPACE.decode)
    before = path.read_bytes()
    with monkeypatch.context() as full:
        full.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match=r"No space left on device: .*journal\.jsonl"):
            journal.append(run(samples=9)[8])
    assert path.read_bytes() == before
    assert 8 not in journal.trials
    assert told(run(path)) == told(run())


def test_only_one_search_at_a_time_writes(path):
    """Whoever comes second is refused before it evaluates anything; the object goes on once the first has ended."""
    early = Journal(path, SPACE.decode)
    evaluate, calls = broken(lambda call, network: False)

    def second(trial):
        with pytest.raises(FileError, match="is being written by another process; wait for it, or use another"):
            run(path, evaluate=evaluate)

    run(path, samples=12, on_trial=second)
    assert calls == []
    common = {"latency_ms": lambda arch: arch.resolution_px / 4, "reward": lambda top1, ms: top1 / ms, "batch": 4}
    controller = controllers.make("evolution", SPACE, rng_seed=0)
    search(space=SPACE, controller=controller, evaluate=evaluate, samples=16, journal=early, **common)
    assert len(calls) == 4  # the first eight were read, the next four were added meanwhile
    assert sorted(Journal(path, SPACE.decode).trials) == list(range(16))


def test_an_old_journal_goes_on(tmp_path):
    """Written before failures were tried again: some were reused, a NaN is among the accuracies."""
    space = space_of(3)
    path = tmp_path / "journal.jsonl"
    shutil.copy(Path(__file__).parents[1] / "data" / "old_journal.jsonl", path)
    old = Journal(path, space.decode).trials
    assert [t.sample for t in old.values() if t.status == "failed"] == [0, 2, 6, 8, 10]
    assert old[6].top1 == 0.0
    trials = run(
        path, space=space, evaluate=lambda arch: 0.5 + number(arch) / 100, samples=16, name="random", rng_seed=4
    )
    assert [t.status for t in trials[:8]] == ["failed", "ok", "failed", "ok", "ok", "ok", "failed", "diverged"]
    assert [t.status for t in trials[8:]] == ["ok"] * 8  # those of the last batch were tried again
    assert told(trials[3:6]) == told([old[i] for i in range(3, 6)])


def test_points_of_numpy_make_plain_records(tmp_path):
    path = tmp_path / "journal.jsonl"
    run(path, samples=4, latency_ms=lambda arch: np.float32(9.0), reward=lambda top1, ms: np.float32(top1))
    assert [t.latency_ms for t in run(path, samples=4, reward=lambda top1, ms: np.float32(top1))] == [9.0] * 4


@pytest.mark.parametrize("seed", range(12))
def test_whatever_breaks_a_search_its_journal_goes_on(tmp_path, seed):
    """Failures, breakdowns, Ctrl-C and cut lines at random, in pieces of random lengths, with two rewards."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "journal.jsonl"
    space = space_of(3 if seed % 3 == 0 else 40)
    settings = {"space": space, "adjust_after": 12, "adjust": lambda trials: lambda top1, ms: top1 / ms**2}
    if seed % 2:
        settings["evaluate_again"] = lambda before: top1
    share = 0.5

    def evaluate(arch):
        if rng.random() < 0.02:
            raise KeyboardInterrupt
        if rng.random() < share:
            raise OSError("no data")
        return top1(arch)

    for _ in range(12):
        share = rng.choice([0.0, 0.3, 0.9])
        with contextlib.suppress(KeyboardInterrupt, EvaluationError):
            run(path, evaluate=evaluate, samples=int(rng.integers(1, 32)), **settings)
        if rng.random() < 0.3 and path.exists():
            with path.open("ab") as file:
                file.write(b'{"crc32": "0')
    whole = run(path, samples=32, **settings)
    assert [t.sample for t in whole] == list(range(32))
    assert told(run(path, samples=32, evaluate=lambda arch: 1 / 0, **settings)) == told(whole)


def test_a_space_that_was_changed_is_refused(tmp_path):
    """Its points are other networks: their accuracies and latencies would be those of the old ones."""
    path = tmp_path / "journal.jsonl"
    wider = spaces.get("mnasnet", base_width=0.5)
    space = spaces.get("mnasnet", base_width=0.35)
    search(
        space=space,
        controller=controllers.make("random", space),
        evaluate=lambda arch: 0.5,
        latency_ms=lambda arch: 1.0,
        reward=lambda top1, ms: top1,
        samples=2,
        journal=Journal(path, space.decode),
    )
    assert len(Journal(path, space.decode).trials) == 2
    with pytest.raises(JournalError, match="sample 0 is another network in this space, which has changed; start again"):
        Journal(path, wider.decode)
