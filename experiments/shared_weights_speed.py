"""How fast shared weights are trained, and networks evaluated with them: `python -m experiments.shared_weights_speed`

On the default space and the embedded data, one thread or one GPU, weights as they are at the start (figures do not
depend on them). Training: updates of the shared weights on the space's largest network, against a loop of forward,
backward and optimizer step of that network by itself on one ready batch; and on random networks within half to one and
a half times 15.8 ms on a Pixel 1, as in the last phase. In turns; medians.
Evaluation: seconds for 2,000 images of the holdout, batch norm's statistics included, of 40 such networks.

    python -m experiments.shared_weights_speed [turns=5] [networks=40] [updates=80] [batch=64] [device=cuda]
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import latency_luts
from experiments import options
from experiments.proxy_validation import ALLOWED
from experiments.training_throughput import bare_loop, rate
from nas.executor import SerialExecutor
from nas.supernet.evaluator import SharedWeights
from nas.supernet.module import Supernet
from nas.supernet.phases import Phase
from nas.supernet.prepare import within
from nas.supernet.train import Training
from nas.training import sources
from nas.training.recipe import Recipe
from nas.training.train import batches, new_net
from nas.training.trainer import Trainer
from search_spaces import spaces
from search_spaces.arch import Arch
from search_spaces.layout import Layout
from search_spaces.space import SearchSpace

Draw = Callable[[np.random.Generator], np.ndarray]

TARGET_MS, BAND = 15.8, 0.5
DEFAULTS = {"turns": 5, "networks": 40, "updates": 80, "batch": 64, "device": "cpu"}
BARE = "the largest network by itself, bare"
PHASES = {  # shares of the phases of a training
    "the largest network, shared weights": {"largest": 1.0, "align": 0.0, "mixed": 0.0},
    "random networks, shared weights": {"largest": 0.0, "align": 0.0, "mixed": 1.0},
}


def main() -> None:
    given = options.read(DEFAULTS, {"device": ALLOWED["device"]})
    torch.set_num_threads(1)
    recipe = Recipe(steps=given["updates"], batch=given["batch"])
    trainer = Trainer(data=sources.load("fashion_mnist_mini"), recipe=recipe, device=given["device"])
    space, latency = spaces.get("mnasnet", base_width=0.35), latency_luts.load("pixel1")
    draw = within(space, latency, TARGET_MS * (1 - BAND), TARGET_MS * (1 + BAND))
    rates = _rates(trainer, space, draw, given["turns"])
    first = statistics.median(rates[BARE])
    for name, own in rates.items():
        print(f"{name:38s} {statistics.median(own):6.0f} images a second, {statistics.median(own) / first:.2f}")
    seconds = _seconds(trainer, space, draw, given["networks"])
    low, median, high = np.quantile(seconds, (0.1, 0.5, 0.9))
    where, at_a_time = ("on 2 cores", 2) if trainer.device == "cpu" else ("one after the other", 1)
    print(
        f"an evaluation: median {median:.3f} s, 10 % below {low:.3f}, 10 % above {high:.3f}; 1,000 {where}: "
        f"{1000 * np.mean(seconds) / at_a_time / 60:.1f} minutes"
    )


def _rates(trainer: Trainer, space: SearchSpace, draw: Draw, turns: int) -> dict[str, list[float]]:
    """Images a second of each way to train, by turn."""
    data, recipe = trainer.data, trainer.recipe
    x, y = next(batches(data.train, data, recipe, rng=np.random.default_rng(0), device=trainer.device))
    alone = new_net(trainer.small(space.decode(space.largest)), rng_seed=0)
    rates: dict[str, list[float]] = {name: [] for name in (BARE, *PHASES)}
    for _ in range(turns):
        for name, own in rates.items():
            with tempfile.TemporaryDirectory() as folder:
                if name == BARE:
                    work = partial(bare_loop, alone, x, y, recipe)
                else:
                    work = _training(trainer, space, draw, PHASES[name], Path(folder)).run
                own.append(rate(work, (recipe.steps or 0) * recipe.batch))
    return rates


def _training(trainer: Trainer, space: SearchSpace, draw: Draw, shares: dict[str, float], folder: Path) -> Training:
    net = _supernet(trainer, space)

    def route(indices: np.ndarray):
        arch = space.decode(indices)
        return net.route(arch, trainer.small(arch))

    return Training(
        supernet=net,
        data=trainer.data,
        recipe=trainer.recipe,
        phases={name: Phase(share=share, lr=1e-3) for name, share in shares.items()},
        largest=route(space.largest),
        draw=lambda rng: route(draw(rng)),
        rng_seed=0,
        identity={},
        file=folder / "shared.safetensors",
        device=trainer.device,
        every_s=1e9,
    )


def _supernet(trainer: Trainer, space: SearchSpace) -> Supernet:
    data, generator = trainer.data, torch.Generator().manual_seed(0)
    return Supernet(Layout(space), in_ch=data.channels, classes=data.classes, generator=generator)


def _seconds(trainer: Trainer, space: SearchSpace, draw: Draw, networks: int) -> list[float]:
    """Of an evaluation, one for each network; the first, which builds what all use, is not among them."""
    weights = {name: weight.detach().numpy() for name, weight in _supernet(trainer, space).weights.items()}
    evaluator = SharedWeights(
        key="speed",
        space=space,
        weights=SerialExecutor().share(weights),
        trainer=trainer,
        kernels="centre",
        images=2000,
        bn_images=512,
    )
    rng = np.random.default_rng(0)
    return [_timed(evaluator, space.decode(draw(rng))) for _ in range(networks + 1)][1:]


def _timed(evaluator: SharedWeights, arch: Arch) -> float:
    start = time.perf_counter()
    evaluator.evaluate(arch)
    return time.perf_counter() - start


if __name__ == "__main__":
    options.run(main)
