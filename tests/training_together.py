"""Two workers that train shared weights together: `python -m tests.training_together FOLDER`.

One of them is killed in the middle. Prints, as JSON, how far the weights and the policy are from those of a training in
one process whose loss is the mean over both halves of a batch, and what was said.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nas.executor_ray import RayExecutor
from nas.supernet import parallel
from nas.supernet.train import Training
from nas.training.place import Workers
from tests.nas.test_supernet import training


class Halves(Training):
    """Computes what two workers do."""

    def _loss(self, step, phase, route, teacher):
        ranks = [Training(**{**vars(self), "rank": rank, "ranks": 2}) for rank in range(2)]
        return torch.stack([half._loss(step, phase, route, teacher) for half in ranks]).mean()


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    whole = Halves(**vars(training(folder / "whole", joint=True)))
    whole.run()

    together = training(folder / "together", joint=True)
    draw, mark, calls = together.draw, folder / "killed", []

    def deadly(rng: np.random.Generator):
        calls.append(1)
        if len(calls) == 3 and not mark.exists():  # update 7 of 12; the checkpoint has 4
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(rng)

    said = []
    together = replace(together, draw=deadly, every_s=0.0)
    together.file.parent.mkdir(parents=True)
    with RayExecutor(workers=2):
        parallel.train(together, Workers(count=2), lambda *news: said.append(news))
        try:
            parallel.train(together, Workers(count=3), print)
        except ValueError as e:
            refused = str(e)
    killed = mark.exists()
    assert together.done() == together.steps
    together.run()
    weights = [
        torch.cat([weight.detach().flatten() for weight in net.weights.values()])
        for net in (whole.supernet, together.supernet, training(folder / "new").supernet)
    ]
    logits = [t.policy.controller.logits for t in (whole, together)]
    finite = np.isfinite(logits[0])
    result = {
        "killed": killed,
        "said": said,
        "refused": refused,
        "trained": float((weights[0] - weights[2]).abs().mean()),
        "apart": float((weights[0] - weights[1]).abs().mean()),
        "logits": float(np.abs(logits[0][finite]).max()),
        "logits_apart": float(np.abs(logits[0][finite] - logits[1][finite]).max()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
