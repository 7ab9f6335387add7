"""A training that is killed again and again: `python -m tests.killed_training FOLDER SEED`.

Trains once undisturbed, and once in processes that are killed at random moments by a signal that Python does not see,
each going on from the checkpoint. Prints, as JSON, how many were killed, at which updates they had arrived, and whether
both came to the same.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from nas.training.checkpoint import peek
from nas.training.seat import Seat
from nas.training.session import FullTraining
from tests.tiny_training import RECIPE, tiny_training


def run(training: FullTraining, file: Path, life_s: float) -> int:
    """Trains in a process of its own, which is killed after so many seconds (0: not at all); its exit status."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, life_s)
        training.run(Seat(file=file, every_s=0.0))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, seed: int) -> None:
    torch.set_num_threads(1)
    training = tiny_training(replace(RECIPE, epochs=12))
    begun = time.monotonic()
    assert run(training, folder / "whole", 0) == 0
    seconds = time.monotonic() - begun
    rng, arrived, file = random.Random(seed), [], folder / "killed"
    while run(training, file, rng.uniform(0.2, 0.6) * seconds) != 0:
        arrived.append(peek(file, training.identity)[1].updates)
        if arrived[-2:-1] == arrived[-1:]:
            seconds *= 1.3  # the machine is busier than before
        for left in folder.glob("*.partial"):
            assert left.name.startswith(file.name)
    ends = [peek(path, training.identity) for path in (folder / "whole", file)]
    same = all(torch.equal(value, ends[1][0][name]) for name, value in ends[0][0].items())
    top1s = [[epoch.holdout_top1 for epoch in progress.epochs] + [progress.test_top1] for _, progress in ends]
    print(json.dumps({"arrived": arrived, "same": same, "top1s": top1s, "files": sorted(os.listdir(folder))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
