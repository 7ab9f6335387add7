"""The last round of a search: final trainings of the best samples and of published networks."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from rich.console import Console

import latency_luts
from nas import delivery, finish
from nas.executor import SerialExecutor
from nas.finish import FinalTrainings, LastRound
from nas.reward import Reward
from nas.seeds import final_seed
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas.trial import Evaluation, Trial
from nas_runtime.run import Run
from search_spaces import onnx_net, spaces, text, torch_net, zoo

SPACE = spaces.get("mnasnet", base_width=0.35)
POINTS = SPACE.sample(np.random.default_rng(0), 4)


def trial(sample: int, point: int, reward: float, status: str = "ok") -> Trial:
    indices = tuple(int(i) for i in POINTS[point])
    arch = SPACE.decode(indices)
    return Trial(
        sample=sample,
        indices=indices,
        arch=arch,
        top1=reward,
        latency_ms=10.0,
        reward=reward,
        status=status,
        seconds=1.0,
    )


REWARD = Reward(name="hard", target_ms=20.0)


def last_round(folder, trials, evaluate, *, finalists=3, epochs=12, trained_on=None):
    (found,) = last_rounds(folder, trials, [REWARD], evaluate, finalists, epochs=epochs, trained_on=trained_on)
    return found


def last_rounds(folder, trials, rewards, evaluate, finalists, *, epochs=12, trained_on=None):
    last = LastRound(
        run=Run(folder, resumed=False),
        executor=SerialExecutor(),
        console=Console(quiet=True),
        latency=latency_luts.load("pixel1"),
        epochs=epochs,
        networks=finalists,
        beside={"mobilenet_v3_small": zoo.get("mobilenet_v3_small")},
    )
    trainings = FinalTrainings(
        from_scratch=evaluate,
        identity={"epochs": epochs, "start": "scratch"},
        trained_on=trained_on,
        inherited_identity={"epochs": epochs, "start": "inherited"},
    )
    return last.hold(trials, rewards, trainings)


TRIALS = [trial(0, 0, 0.5), trial(1, 1, 0.7), trial(2, 1, 0.7), trial(3, 2, 0.0, "failed"), trial(4, 3, 0.6)]


def test_the_best_distinct_networks_and_the_winner(tmp_path):
    after = {TRIALS[1].arch: 0.80, TRIALS[4].arch: 0.85, TRIALS[0].arch: 0.75}
    finalists, published = last_round(tmp_path, TRIALS, lambda arch: after.get(arch, 0.9))
    assert [(f.trial.sample, f.top1) for f in finalists] == [(1, 0.80), (4, 0.85), (0, 0.75)]
    assert published["mobilenet_v3_small"]["top1"] == 0.9
    winner = finish.best_of(finalists, REWARD)
    assert (winner.sample, winner.top1, winner.reward) == (4, 0.85, 0.85)


def test_the_winner_that_inherits_weights_is_trained_from_scratch_as_well(tmp_path):
    trained = []

    def evaluate(arch):
        trained.append(arch)
        return 0.5

    after = {TRIALS[1].arch: 0.80, TRIALS[4].arch: 0.85, TRIALS[0].arch: 0.75}
    for _ in range(2):  # the second time nothing is trained again
        finalists, beside = last_round(tmp_path, TRIALS, evaluate, trained_on=after.pop)
        assert [(f.trial.sample, f.top1) for f in finalists] == [(1, 0.80), (4, 0.85), (0, 0.75)]
        assert {name: row["top1"] for name, row in beside.items()} == {
            finish.FROM_SCRATCH: 0.5,
            "mobilenet_v3_small": 0.5,
        }
        assert trained == [TRIALS[4].arch, zoo.get("mobilenet_v3_small")]
    finalists, beside = last_round(tmp_path, TRIALS, evaluate)  # final.start=scratch: two more
    assert [f.top1 for f in finalists] == [0.5] * 3
    assert list(beside) == ["mobilenet_v3_small"]
    assert len(trained) == 4


def several_targets(folder, evaluate, **more):
    """The last round for 10 and 30 ms, with one finalist each, of networks that take 10, 20 and 30 ms."""
    trials = [
        replace(t, latency_ms=ms) for t, ms in zip((TRIALS[0], TRIALS[4], TRIALS[1]), (10.0, 20.0, 30.0), strict=True)
    ]
    rewards = [Reward(name="hard", target_ms=ms) for ms in (10.0, 30.0)]
    return rewards, last_rounds(folder, trials, rewards, evaluate, 1, **more)


@pytest.mark.parametrize(("slow", "winner"), [(0.9, 1), (0.7, 0)])
def test_several_targets_share_one_round_and_its_networks(tmp_path, slow, winner):
    """Of two targets each has its best sample; where that comes to less than the faster one, the faster one wins."""
    trained, after = [], {TRIALS[0].arch: 0.8, TRIALS[1].arch: slow}

    def evaluate(arch):
        trained.append(arch)
        return after.get(arch, 0.95)

    rewards, ((fast, beside), (long, _)) = several_targets(tmp_path, evaluate)
    assert trained == [TRIALS[0].arch, TRIALS[1].arch, zoo.get("mobilenet_v3_small")]
    assert [f.trial.sample for f in fast] == [0]
    assert [f.trial.sample for f in long] == ([1] if winner else [1, 0])
    assert finish.best_of(fast, rewards[0]).sample == 0
    assert finish.best_of(long, rewards[1]).sample == winner
    assert beside["mobilenet_v3_small"]["top1"] == 0.95


def test_the_winners_of_several_targets_are_each_trained_from_scratch(tmp_path):
    after = {TRIALS[0].arch: 0.8, TRIALS[1].arch: 0.9}
    _, rounds = several_targets(
        tmp_path, lambda arch: 0.1 * list(after).index(arch) if arch in after else 0.5, trained_on=after.get
    )
    assert [beside[finish.FROM_SCRATCH]["top1"] for _, beside in rounds] == [0.0, 0.1]


def test_a_training_is_done_once_for_a_number_of_epochs(tmp_path):
    trained = []

    def evaluate(arch):
        trained.append(arch)
        return 0.5

    last_round(tmp_path, TRIALS, evaluate, finalists=1)
    last_round(tmp_path, TRIALS, evaluate, finalists=2)  # one more
    assert len(trained) == 3
    last_round(tmp_path, TRIALS, evaluate, finalists=2, epochs=20)
    assert len(trained) == 6


def test_what_diverges_is_left_out_or_last(tmp_path):
    nothing = Evaluation(top1=0.0, status="diverged")
    finalists, published = last_round(tmp_path, TRIALS, lambda arch: 0.4 if arch == TRIALS[0].arch else nothing)
    assert [f.top1 for f in finalists] == [None, None, 0.4]
    assert published == {}
    assert finish.best_of(finalists, Reward(name="hard", target_ms=20.0)).sample == 0
    finalists, _ = last_round(tmp_path, TRIALS, lambda arch: nothing, finalists=2)
    with pytest.raises(ValueError, match="all 2 finalists diverged .* a larger final.networks, or .* goes on"):
        finish.best_of(finalists, REWARD)


def test_without_a_good_sample_nothing_is_trained(tmp_path):
    with pytest.raises(ValueError, match="none of 1 networks could be evaluated"):
        last_round(tmp_path, [TRIALS[3]], None)
    with pytest.raises(ValueError, match="the final training of sample 1 failed: no memory"):
        last_round(tmp_path, TRIALS, lambda arch: Evaluation(top1=0.0, status="failed", note="no memory"))


def test_what_is_trained_beside_a_training_that_fails_is_kept(tmp_path):
    trained = []

    def evaluate(arch, broken=None):
        if arch == broken:
            raise MemoryError("full")
        trained.append(arch)
        return 0.5

    broken = TRIALS[1].arch  # the best, which is the first to be trained
    with pytest.raises(
        ValueError, match=r"^the final training of sample 1 failed: MemoryError: full \(test_finish.py, line \d+\)$"
    ):
        last_round(tmp_path, TRIALS, lambda arch: evaluate(arch, broken))
    assert len(trained) == 3
    last_round(tmp_path, TRIALS, evaluate)
    assert trained[3:] == [broken]


class Recorded(Trainer):
    """Says what it was to train, and trains nothing."""

    trained: ClassVar[list] = []

    def train_fully(self, arch, *, state=None, **how):
        self.trained.append(state)
        return torch_net.build(self.small(arch), generator=torch.Generator().manual_seed(0)), 0.7, 0.6


@pytest.fixture
def final(tmp_path, stripes):
    """``final(start)``: the final training of a sample in `tmp_path`, by a `Recorded`."""
    Recorded.trained.clear()

    def run(start="scratch"):
        inherited = {"inherited": lambda arch: "weights", "scratch": None}[start]
        trainer = Recorded(data=stripes, recipe=Recipe())
        options = delivery.Delivery(input="uint8", batch=1, opset=18, quantize="none")
        delivered = finish.Delivered(options=options, latency=latency_luts.load("pixel1"), console=Console(quiet=True))
        return finish.deliver(
            Run(tmp_path, resumed=False),
            TRIALS[0].arch,
            trainer,
            epochs=2,
            start=start,
            rng_seed=final_seed(0),
            delivered=delivered,
            inherited=inherited,
        )

    return run


def test_final_json_vouches_for_no_other_trainings_files(final, monkeypatch):
    assert final("inherited") == final("inherited")
    assert Recorded.trained == ["weights"]

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_net, "export", killed)
    with pytest.raises(KeyboardInterrupt):
        final("scratch")
    monkeypatch.undo()
    final("inherited")  # whose weights the other training has replaced
    assert Recorded.trained == ["weights", None, "weights"]


def test_a_run_of_an_earlier_version_gets_the_files_that_it_lacks(final, tmp_path):
    record = final()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    net = torch_net.load(tmp_path)
    for name in ("searched.json", "preprocess.json", "labels.txt"):
        (tmp_path / name).unlink()
    (tmp_path / "best.json").rename(tmp_path / "trained.json")
    (tmp_path / "best.json").write_text(text.to_json(TRIALS[0].arch))
    torch_net.save(net, tmp_path / torch_net.WEIGHTS)  # which did not say of what training they are
    onnx_net.export(net.arch, tmp_path / "best.onnx", net=net)
    assert final() == record
    assert Recorded.trained == [None]
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == files.keys()
    assert all(after[name] == files[name] for name in files.keys() - {torch_net.WEIGHTS})
    (tmp_path / torch_net.WEIGHTS).write_bytes(b"nothing that could be read")
    assert final() == record
    assert Recorded.trained == [None, None]
