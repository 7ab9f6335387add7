"""The comparison of searches in equal time, with seconds instead of minutes, by a clock of its own."""

import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from experiments import equal_time, equal_time_searches
from nas.training import datasets, sources
from nas.training.trainer import Trainer


@pytest.fixture
def seconds(tmp_path, monkeypatch):
    """The experiment with minutes of a few seconds and trainings of a few updates, each of which takes a second, in
    this process and a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(equal_time, "pool", lambda where: ThreadPoolExecutor(1))
    for module in (equal_time, equal_time_searches):
        monkeypatch.setattr(module, "ORDINARY", (1, 96))
        monkeypatch.setattr(module, "REFERENCES", {name: module.REFERENCES[name] for name in [equal_time.CONTROL]})
    random = equal_time_searches.Method(controller="random", training=(1, 96))
    monkeypatch.setitem(equal_time_searches.METHODS, "random", random)
    monkeypatch.setattr(equal_time_searches, "CORES", 0.12)
    clock = SimpleNamespace(process_time=map(float, itertools.count()).__next__, time=time.time)
    monkeypatch.setattr(equal_time_searches, "time", clock)

    def load(name, **how):
        data = sources.load(name, holdout=100, **how)
        return replace(data, test=datasets.part(data.test, 100))

    equal_time_searches._load_data.cache_clear()
    monkeypatch.setattr(equal_time_searches, "sources", SimpleNamespace(load=load))
    monkeypatch.setattr(equal_time_searches, "SHARED_EPOCHS_A_MINUTE", {("mnasnet", "two_stage"): 12})
    monkeypatch.setattr(equal_time, "FINAL", {"fashion_mnist_mini": (1, 192)})
    monkeypatch.setattr(equal_time.tables, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["equal_time", "minutes=1", "seeds=1", "final_seeds=2", "methods=random,shared"])
    yield tmp_path
    equal_time_searches._load_data.cache_clear()


def test_searches_in_equal_time(seconds, monkeypatch, capsys):
    inherited = []
    train_fully = Trainer.train_fully

    def spied(self, arch, *, state, **how):
        inherited.append(state is not None)
        return train_fully(self, arch, state=state, **how)

    monkeypatch.setattr(Trainer, "train_fully", spied)
    equal_time.main()
    assert sorted(inherited) == [False] * 7 + [True] * 2  # the control but once; all others with two seeds
    _, rows = equal_time.tables.read(seconds / "equal_time_fashion_mnist_mini_1min.csv")
    control = "mobilenet_v3_small, 7 epochs"  # 1 of 192 images, and 12 of 96 of the shared weights
    names = ["random", "shared", "shared, from scratch", "mobilenet_v3_small", control]
    assert [row["search"] for row in rows] == names
    # of 7.2 s; with shared weights 1 for their training and 4 for finalists are set aside, of which there are but 2
    assert [(row["samples"], row["core seconds"]) for row in rows[:3]] == [("7", "7"), ("2", "5"), ("2", "5")]
    assert rows[1]["ms"] == rows[2]["ms"]  # one network, with its weights and without
    assert (seconds / "equal_time_fashion_mnist_mini_1min.png").stat().st_size > 0
    printed = capsys.readouterr().out

    def again(*arguments):
        raise AssertionError("it was done before")

    monkeypatch.setattr(equal_time, "_final", again)
    monkeypatch.setattr(equal_time_searches, "_trials_within", again)
    equal_time.main()
    assert capsys.readouterr().out == printed
