"""Final trainings of an adaptation: which seeds they have, how long they are, and what is written down of them."""

from types import SimpleNamespace

import pytest

from nas.executor import SerialExecutor
from nas.seeds import final_seed
from nas.training.recipe import Recipe
from nas.trial import Evaluation
from nas_runtime.records import Records
from nas_runtime.run import Run
from netadapt import final
from netadapt.final import Contender
from netadapt.fine_tune import FineTune, Train
from netadapt.weights import TrainedNet
from search_spaces import zoo

ADAPTED, SEED = zoo.get("mnasnet_small", width=0.35), zoo.get("mnasnet_small", width=0.5)
NET = TrainedNet(arch=ADAPTED, weights={}, first={}, second={}, updates=0, top1=0.7)


class Watching(SerialExecutor):
    """Trains nothing: remembers tasks and networks. Accuracies say which repetition they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks = []

    def run(self, evaluate, archs):
        for i, arch in enumerate(archs):
            self.tasks.append((evaluate.task, arch))
            yield i, Evaluation(top1=0.7, state=(NET, 0.6))


def train(folder, executor, *, how: str, rng_seed: int = 0):
    plan = SimpleNamespace(
        rng_seed=rng_seed,
        final=how,
        final_epochs=5,
        repeats=2,
        recipe=Recipe(epochs=1, lr=0.02),
        fine_tune=Recipe(epochs=1, lr=0.001),
        inherit="l2",
    )
    contenders = [Contender(name="adapted", archs=(ADAPTED,) * 2), Contender(name="seed", archs=(SEED,) * 2)]
    inherited = NET if how == "finetune" else None
    return final.train(Run(folder), plan, contenders, executor, executor.share(None), inherited)


@pytest.fixture(autouse=True)
def nothing_is_delivered(monkeypatch):
    monkeypatch.setattr(final, "_deliver", lambda *_: None)
    monkeypatch.setattr(final, "_delivered", lambda *_: True)


@pytest.mark.parametrize("how", ["scratch", "finetune"])
@pytest.mark.parametrize("rng_seed", [0, 7])
def test_each_repetition_has_a_seed_of_its_own_and_all_that_are_compared_the_same(tmp_path, how, rng_seed):
    executor = Watching()
    train(tmp_path, executor, how=how, rng_seed=rng_seed)
    seeds = {(arch, task.rng_seed) for task, arch in executor.tasks}
    assert seeds == {(arch, final_seed(rng_seed, i)) for arch in (ADAPTED, SEED) for i in range(2)}
    assert {task.recipe.epochs for task, _ in executor.tasks} == {5}
    kinds = {arch: (type(task), task.recipe.lr) for task, arch in executor.tasks}
    assert kinds == {ADAPTED: (FineTune, 0.001) if how == "finetune" else (Train, 0.02), SEED: (Train, 0.02)}


def test_what_is_written_down_is_which_accuracy_is_which_and_nothing_is_trained_twice(tmp_path):
    executor = Watching()
    found = train(tmp_path, executor, how="scratch")
    assert list(found) == ["adapted", "seed"]
    for name, records in found.items():
        assert [(r["network"], r["holdout_top1"], r["test_top1"], r["rng_seed"]) for r in records] == [
            (name, 0.7, 0.6, final_seed(0, i)) for i in range(2)
        ]
    assert len(Records(tmp_path / "final.jsonl", "final trainings").records) == len(executor.tasks) == 4
    assert train(tmp_path, executor, how="scratch") == found
    assert len(executor.tasks) == 4
    train(tmp_path, executor, how="finetune")  # the seed's are the same
    assert len(executor.tasks) == 6


def test_a_final_training_that_fails_is_named(tmp_path):
    class Failing(Watching):
        def run(self, evaluate, archs):
            for i, evaluation in super().run(evaluate, archs):
                broken = archs[i] == SEED
                yield i, Evaluation(top1=0.0, status="failed", note="no memory") if broken else evaluation

    with pytest.raises(ValueError, match="^the final training of seed failed: no memory$"):
        train(tmp_path, Failing(), how="scratch")
    assert [r["network"] for r in Records(tmp_path / "final.jsonl", "final trainings").records] == ["adapted"]
