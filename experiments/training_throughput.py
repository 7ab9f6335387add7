"""What the training loop costs over the bare steps: `python -m experiments.training_throughput`

Trains published networks on the embedded data with `nas.training.train.train` (shuffling, augmentation, normalisation,
schedule, divergence check) and with a loop of forward, backward and optimiser step on one ready batch, in turns on the
same weights. Prints images a second of both, medians of the turns, and their ratio.
"""

import statistics
import time

import torch
from torch.nn import functional as F

from experiments import options
from nas.training import sources
from nas.training.optimizers import new_optimizer
from nas.training.recipe import Recipe
from nas.training.train import batches, new_net, train
from nas.training.trainer import Trainer
from search_spaces import zoo

IMAGES, TURNS = 1280, 7


def main() -> None:
    options.read({})
    import numpy as np

    torch.set_num_threads(1)
    data = sources.load("fashion_mnist_mini", train_images=IMAGES)
    recipe = Recipe(epochs=1)
    trainer = Trainer(data=data, recipe=recipe)
    print(f"{'network':22s} {'bare':>8s} {'train()':>8s}  ratio   (images a second, medians of {TURNS} turns)")
    for name, width in (("mobilenet_v3_small", 1.0), ("mnasnet_small", 1.0), ("mobilenet_v2", 0.35)):
        net = new_net(trainer.small(zoo.get(name, width=width)), rng_seed=0)
        x, y = next(batches(data.train, data, recipe, rng=np.random.default_rng(0), device="cpu"))
        bare, ours = [], []
        for _ in range(TURNS):
            bare.append(rate(lambda net=net, x=x, y=y: bare_loop(net, x, y, recipe)))
            ours.append(rate(lambda net=net: train(net, data.train, data, recipe, rng_seed=0)))
        a, b = statistics.median(bare), statistics.median(ours)
        print(f"{name + f' {width:g}':22s} {a:8.0f} {b:8.0f}  {b / a:.2f}", flush=True)


def bare_loop(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, recipe: Recipe) -> None:
    net.to(x.device).train()
    optimizer = new_optimizer(net, recipe)
    for _ in range(recipe.steps or recipe.epochs * IMAGES // recipe.batch):
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y, label_smoothing=recipe.label_smoothing).backward()
        optimizer.step()
    if x.is_cuda:
        torch.cuda.synchronize()


def rate(work, images: int = IMAGES) -> float:
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


if __name__ == "__main__":
    options.run(main)
