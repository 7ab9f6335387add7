"""Batches that processes make: the same as without, whatever happens to the processes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nas import train_plan
from nas.estimate import full_training_s
from nas.train_options import TrainOptions
from nas.training.augment import Augmentation
from nas.training.datasets import Preprocessing
from nas.training.feed import Feed, count_correct
from nas.training.pictures import PictureSet
from nas.training.sources import DataError
from nas.training.workers import made
from nas_runtime.compose import compose, plain
from nas_runtime.options import read
from search_spaces import zoo

ALL = Augmentation(crop_area=0.3, colour=0.4, randaugment=1, erasing=0.5, mixup=0.2, cutmix=1.0)


@dataclass(frozen=True)
class Noise:
    """Pictures that differ, of different sizes; at one place something happens instead."""

    images: int
    bad: int = -1
    what: str = ""

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.images) % 3

    def __len__(self) -> int:
        return self.images

    def read(self, place: int, px: int) -> np.ndarray:
        if place == self.bad:
            if self.what == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError(f"{self.name(place)} is not a readable image (truncated)")
        shape = (10 + place % 7, 10 + place % 5, 3)
        return np.random.default_rng(place).integers(0, 256, shape, dtype=np.uint8)

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        return self.read(place, 8)[:8, :8]

    def name(self, place: int) -> str:
        return f"{place}.png"


def noise(**train) -> PictureSet:
    return PictureSet(
        name="noise",
        class_names=("a", "b", "c"),
        train=Noise(40, **train),
        holdout=Noise(10),
        test=Noise(9),
        resolution_px=8,
        channels=3,
        resize="shorter_side",
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        identity="noise",
    )


def fed(data: PictureSet, workers: int, **other) -> Feed:
    given = {"batch": 12, "micro_batch": 5, "rng_seed": 3, "device": "cpu", **other}
    return Feed(data.train, data, ALL, workers=workers, **given)


def same(a, b) -> bool:
    pairs = [(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True)]
    return all(torch.equal(x, y) for one, other in pairs for x, y in zip(one, other, strict=True))


@pytest.fixture(autouse=True)
def _no_worker_left():
    yield
    assert multiprocessing.active_children() == []


def test_workers_make_the_same_batches_over_many_epochs():
    data = noise()
    state, on_child = torch.random.get_rng_state(), signal.getsignal(signal.SIGCHLD)
    with fed(data, 2) as several:
        alone = fed(data, 0)
        for number in (0, 1):
            assert same(several.epoch(number), alone.epoch(number))
            workers = [process.pid for process in multiprocessing.active_children()]
            assert len(workers) == 2
        assert same(several.epoch(2), alone.epoch(2))
        assert [process.pid for process in multiprocessing.active_children()] == workers
        assert same(several.epoch(1, first=2), alone.epoch(1, first=2))  # begun anew
        assert len(multiprocessing.active_children()) == 2
    assert torch.equal(torch.random.get_rng_state(), state)
    assert signal.getsignal(signal.SIGCHLD) == on_child


def test_an_epoch_that_was_left_goes_on_where_it_was():
    data = noise()
    with fed(data, 1) as feed:
        whole = list(fed(data, 0).epoch(0))
        for i, update in enumerate(feed.epoch(0)):
            assert same([update], whole[i : i + 1])
            if i == 1:
                break
        (worker,) = multiprocessing.active_children()
        assert same(feed.epoch(0, first=2), whole[2:])
        assert multiprocessing.active_children() == [worker]


def test_workers_look_at_the_same_pictures_in_an_evaluation():
    data = noise()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    counts = [count_correct(net, data.holdout, data, device="cpu", workers=workers) for workers in (0, 2)]
    assert counts[0] == counts[1]
    assert counts[0][1] == 10


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_any_more_is_one_line(workers):
    with (
        fed(noise(bad=17), workers) as feed,
        pytest.raises(DataError, match=r"^17\.png is not a readable image \(truncated\)$"),
    ):
        for _ in feed.epoch(0):
            pass


def test_a_worker_that_dies_is_one_line():
    message = r"^a process that reads pictures has ended before its work was done; .* try fewer workers, or 0$"
    with fed(noise(bad=17, what="dies"), 2) as feed, pytest.raises(ChildProcessError, match=message):
        for _ in feed.epoch(0):
            pass


def _wrong(item: int) -> np.ndarray:
    raise RuntimeError(f"a fault of the program at {item}")


def test_a_fault_of_the_program_stays_one():
    with pytest.raises(RuntimeError, match="a fault of the program at 7"):
        list(made(_wrong, [7], workers=1))
    with pytest.raises(RuntimeError, match="^a fault of the program at 7$"):
        list(made(_wrong, [7], workers=0))


def _nice(item: int) -> np.ndarray:
    return np.array([os.nice(0)])


def test_workers_stand_back_behind_this_process():
    ((value,),) = made(_nice, [0], workers=1)
    assert value == 19


@pytest.mark.parametrize(("cpus", "readers"), [(1, 0), (2, 2), (64, 4)])
def test_a_training_has_as_many_readers_as_are_of_use(monkeypatch, cpus, readers):
    monkeypatch.setattr(train_plan, "available_cpus", lambda: cpus)
    assert train_plan.place_of("cpu").readers == readers
    assert train_plan.place_of("cpu", readers=7).readers == 7


def test_more_workers_than_batches_do_no_harm():
    data = replace(noise(), train=Noise(8))
    with fed(data, 3, batch=4) as feed:
        assert same(feed.epoch(0), fed(data, 0, batch=4).epoch(0))


SCRIPT = """
import sys
from tests.nas.test_workers import fed, noise

if __name__ == "__main__":
    with fed(noise(), 2) as feed:
        for number in range(10**9):
            for _ in feed.epoch(number):
                if number == 1:
                    print("running", flush=True)
"""


@pytest.mark.parametrize("killed", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_when_the_program_is_stopped(tmp_path, killed):
    (tmp_path / "trains.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    program = subprocess.Popen(
        [sys.executable, tmp_path / "trains.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "running\n"
    if killed == signal.SIGINT:
        os.killpg(program.pid, killed)  # as a terminal does it
    else:
        program.kill()
    _, said = program.communicate(timeout=60)
    assert program.returncode == -killed
    if killed == signal.SIGINT:
        assert said.count("Traceback") == 1
        assert said.splitlines()[-1] == "KeyboardInterrupt"
    until = time.monotonic() + 30
    while time.monotonic() < until and in_session(program.pid):
        time.sleep(0.2)
    assert in_session(program.pid) == []


def in_session(leader: int) -> list[str]:
    """The commands of the processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append((stat.parent / "cmdline").read_text())
        except OSError:  # it has just ended
            continue
    return found


@pytest.mark.parametrize(
    ("num_cpus", "num_gpus", "readers", "cores"), [(1, 0, 0, 3), (2.5, 0, 2, 8), (9, 0, 4, 27), (6, 1, 6, 3)]
)
def test_a_workers_readers_go_by_its_own_device_and_cpus(num_cpus, num_gpus, readers, cores, monkeypatch):
    monkeypatch.setattr(train_plan, "available_cpus", lambda: 64)
    given = [
        "network=mobilenet_v3_small",
        "ray.train_workers=3",
        f"ray.num_cpus={num_cpus}",
        f"ray.num_gpus={num_gpus}",
    ]
    place = train_plan.read_plan(read(TrainOptions, plain(compose("train", given)), given)).place
    assert (place.readers, place.cores, place.device) == (readers, cores, "cuda" if num_gpus else "cpu")


def test_several_gpus_are_faster_than_one():
    how = {"images": 1000, "looked_at": 0}
    arch = zoo.get("mobilenet_v3_small")
    seconds = [full_training_s(arch, **how, device="cuda", cores=gpus) for gpus in (1, 8)]
    assert 4 < seconds[0] / seconds[1] < 9
