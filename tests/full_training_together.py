"""Two workers that train a network together: `python -m tests.full_training_together FOLDER`.

One of them is killed in the middle. Prints, as JSON, how far the weights are from those of one process with the same
batches and micro-batches, and what both came to.
"""

import io
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from nas.training import together
from nas.training.checkpoint import peek
from nas.training.full import FILE, Place, train_network
from nas.training.pictures import Pictures
from nas.training.place import Workers
from nas.training.session import FullTraining
from nas.training.sources import DataError
from nas_runtime import cluster
from nas_runtime.console import new_console
from nas_runtime.run import Run
from tests.tiny_training import RECIPE, tiny_arch, tiny_data

SHARED = replace(RECIPE, optimizer="sgd", lr=0.05, micro_batch=4, ema=0.9)


@dataclass(frozen=True)
class Deadly:
    """Pictures of which the last look kills the process, once."""

    pictures: Pictures
    mark: Path
    looks: ClassVar = [0]

    @property
    def labels(self):
        return self.pictures.labels

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, place: int, px: int):
        return self.pictures.read(place, px)

    def square(self, place: int, rule):
        self.looks[0] += 1
        if self.looks[0] == 70 and not self.mark.exists():  # in the second epoch of three
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.pictures.square(place, rule)

    def name(self, place: int) -> str:
        return self.pictures.name(place)


@dataclass(frozen=True)
class Hopeless:
    """A training of which a picture cannot be read, however often it is tried."""

    tries: Path

    def train_as(self, worker) -> None:
        with self.tries.open("a") as file:
            file.write("x")
        raise DataError("17.png is gone")


def tried(folder: Path) -> tuple[int, str]:
    """How often it was, and what is said."""
    try:
        with cluster.start(1):
            together.train(Hopeless(folder / "tries"), folder / "none", Workers(count=1, retries=50), print)
    except ValueError as e:
        return len((folder / "tries").read_text()), str(e)
    return 0, ""


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    data, ends, said = tiny_data(), {}, io.StringIO()
    deadly = replace(data, train=Deadly(data.train, folder / "killed"))
    for name, its, workers in (("one", data, None), ("two", deadly, Workers(count=2))):
        (folder / name).mkdir()
        place = Place(workers=workers, checkpoint_s=0.0)
        console = new_console(file=said)
        run = Run(folder / name)
        trained = train_network(tiny_arch(), its, SHARED, place=place, run=run, rng_seed=0, console=console)
        training = FullTraining(arch=tiny_arch(), data=data, recipe=SHARED, rng_seed=0)
        weights, progress = peek(folder / name / FILE, training.identity)
        flat = torch.cat([value.flatten().double() for value in weights.values()])
        ends[name] = flat, progress, trained
    begin = training.new_net().state_dict()
    (one, alone, _), (two, both, trained) = ends["one"], ends["two"]
    first = torch.cat([begin[name].flatten().double() for name in weights])
    result = {
        "killed": (folder / "killed").exists(),
        "trained": float((one - first).abs().mean()),
        "apart": float((one - two).abs().mean()),
        "losses": [[epoch.loss for epoch in progress.epochs] for progress in (alone, both)],
        "top1s": [
            [epoch.holdout_top1 for epoch in progress.epochs] + [progress.test_top1] for progress in (alone, both)
        ],
        "result": trained.test_top1,
        "hopeless": tried(folder),
        "said": said.getvalue().count("epoch 3:"),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
