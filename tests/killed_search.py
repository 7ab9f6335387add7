"""A search for tests to kill: `python -m tests.killed_search FOLDER CONTROLLER SAMPLES SECONDS [ray | LIFE]`.

Every evaluation takes SECONDS or more and then leaves a line in FOLDER/evaluated. At the end the controller's state is
written to FOLDER/controller. After LIFE seconds of searching the process is killed by a signal that Python does not
see, wherever it is.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import latency_luts
from nas import controllers
from nas.executor import SerialExecutor
from nas.journal import Journal
from nas.loop import search
from nas.reward import Reward
from nas.surrogate import Surrogate
from nas.trial import Evaluation
from search_spaces import spaces


class Sleeping:
    """The surrogate, slowly."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.surrogate = Surrogate.load()

    def __call__(self, arch) -> Evaluation:
        time.sleep(self.seconds)
        evaluation = self.surrogate.evaluate(arch)
        with (self.folder / "evaluated").open("a") as file:
            file.write(f"{os.getpid()} {hash(arch)}\n")
        return evaluation


def main(folder: Path, controller_name: str, samples: int, seconds: float, executor, life_s: float = 0) -> None:
    space = spaces.get("accel_nasbench")
    controller = controllers.make(controller_name, space, rng_seed=0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, life_s)  # none, if it is 0
    search(
        space=space,
        controller=controller,
        evaluate=Sleeping(folder, seconds),
        latency_ms=latency_luts.load("pixel1").latency_ms,
        reward=Reward(name="soft", target_ms=51),
        samples=samples,
        batch=8,
        executor=executor,
        journal=Journal(folder / "journal.jsonl", space.decode),
    )
    with np.printoptions(threshold=10**9, precision=17):
        (folder / "controller").write_text(repr(controller.state_dict()))


if __name__ == "__main__":
    _, path, name, count, pause, *more = sys.argv
    if more == ["ray"]:
        from nas.executor_ray import RayExecutor

        with RayExecutor(workers=2, num_cpus=0.5) as ray_executor:
            main(Path(path), name, int(count), float(pause), ray_executor)
    else:
        main(Path(path), name, int(count), float(pause), SerialExecutor(), *map(float, more))
