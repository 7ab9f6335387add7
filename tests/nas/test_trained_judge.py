"""The end of a search that trains: who is in the last round, how long it may take, and what is delivered."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from nas.references import references
from nas.seeds import final_seed
from nas.strategies import trained
from nas.strategies.own_training import OwnTraining
from nas.training.recipe import Recipe
from nas.training.trainer import Trainer
from nas.trial import Trial
from search_spaces import zoo
from tests.nas.test_strategies import RECIPE, trainings
from tests.nas.test_trained_strategies import opened


@pytest.mark.parametrize(("epochs", "timeout_s"), [(3, 30.0), (1, 10.0)])
def test_the_last_round_and_what_is_delivered(monkeypatch, tmp_path, epochs, timeout_s):
    """Finals of three times the epochs of samples may take three times as long."""
    seen, delivered = {}, {}

    class Round:
        def __init__(self, **given):
            seen.update(given)

        def hold(self, trials, rewards, final):
            seen.update(trials=trials, by=rewards, final=final, timeout_s=judge.executor.timeout_s)
            return [(("a", "b"), {"ref": {}})]

    def deliver(run, arch, trainer, **given):
        delivered.update(given, run=run, arch=arch, trainer=trainer)
        return "final"

    monkeypatch.setattr(trained, "LastRound", Round)
    monkeypatch.setattr(trained.finish, "best_of", lambda finalists, reward: SimpleNamespace(arch=(finalists, reward)))
    monkeypatch.setattr(trained.finish, "deliver", deliver)
    its = replace(trainings(), final_epochs=epochs, finalists=7)
    judge, trainer, _ = opened(OwnTraining(trainings=its), monkeypatch, tmp_path)
    judge = replace(judge, inherited="inherited")
    judge.executor.timeout_s = 10.0
    (decision,) = judge.decide(["trials"], [SimpleNamespace(reward="reward", run=judge.run)])
    assert (seen["run"], seen["executor"], seen["console"]) == (judge.run, judge.executor, "console")
    assert (seen["latency"], seen["epochs"], seen["networks"]) == ("latency", epochs, 7)
    assert seen["beside"] == references(judge.task.space)
    assert (seen["trials"], seen["by"], seen["final"]) == (["trials"], ["reward"], judge.final)
    assert (seen["timeout_s"], judge.executor.timeout_s) == (timeout_s, 10.0)
    assert (delivered["run"], delivered["arch"], delivered["trainer"]) == (judge.run, (("a", "b"), "reward"), trainer)
    assert (delivered["epochs"], delivered["start"], delivered["inherited"]) == (epochs, "scratch", "inherited")
    assert delivered["rng_seed"] == final_seed(5)
    its_files = delivered["delivered"]
    assert (its_files.options, its_files.latency, its_files.console) == (its.delivery, "device", "console")
    assert (decision.finalists, decision.references) == (("a", "b"), {"ref": {}})
    assert (decision.final, decision.start, decision.winner.arch) == ("final", "scratch", (("a", "b"), "reward"))


def test_finals_have_their_own_number_of_epochs(stripes):
    trainer = Trainer(data=stripes, recipe=Recipe(epochs=2, batch=16, lr=0.3))
    longer = replace(trainings(), final_epochs=9).longer(trainer)
    assert longer == replace(trainer, recipe=replace(trainer.recipe, epochs=9))


def test_the_data_are_read_as_they_were_looked_at():
    data = SimpleNamespace(load=lambda console, facts: (console, facts))
    its = replace(trainings(), data=data, trainer=SimpleNamespace(on=lambda data: ("trainer", data)))
    assert its.load("console") == ("trainer", ("console", its.facts))


def test_trainings_of_too_few_updates_are_said_before_they_are_made():
    """40 pictures are two updates an epoch."""

    def own(epochs):
        trainer = replace(trainings().trainer, recipe=replace(RECIPE, epochs=epochs))
        return OwnTraining(trainings=replace(trainings(), trainer=trainer))

    (note,) = own(24).notes
    assert note == (
        "40 pictures make 48 updates of a sample's 24 epochs, from which networks learn little: epochs=25 makes 50"
    )
    assert not own(25).notes


def test_accuracies_that_chance_would_give_have_a_note(monkeypatch, tmp_path):
    judge, *_ = opened(OwnTraining(trainings=trainings()), monkeypatch, tmp_path)
    arch = zoo.get("mnasnet_small")

    def trials(top1):
        return [
            Trial(sample=i, indices=(i,), arch=arch, top1=top1, latency_ms=1.0, reward=top1, status="ok")
            for i in range(20)
        ]

    assert judge.notes(trials(0.99)) == []
    (note,) = judge.notes(trials(1 / judge.trainings.facts.classes))
    assert "chance" in note


def test_at_its_full_size_the_winner_is_delivered_by_a_training_there(monkeypatch, tmp_path):
    given = {}
    full = SimpleNamespace(deliver=lambda run, winner, **how: given.update(how, run=run, winner=winner) or "full")
    judge, *_ = opened(OwnTraining(trainings=trainings()), monkeypatch, tmp_path)
    judge = replace(judge, trainings=replace(judge.trainings, full=full))
    assert judge._delivered("arch", SimpleNamespace(path="folder")) == "full"
    assert (given["run"], given["winner"], given["rng_seed"]) == (judge.run, "arch", final_seed(5))
    assert given["into"] == "folder"
    assert (given["latency"], given["console"]) == ("device", "console")
    assert given["options"] == judge.trainings.delivery
