"""Trainings on small images in memory: what a proxy evaluation, the last round of a search and NetAdapt's fine-tuning
have in common. Each update is a `nas.training.learner.Learner`'s, as in the trainings of `nas.training.full`."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.training import on_gpu
from nas.training.datasets import Dataset, Split
from nas.training.learner import Learner
from nas.training.pictures import PictureSet
from nas.training.recipe import Recipe
from nas.training.schedules import learning_rate
from nas_runtime.memory import keep_freed_memory
from search_spaces import torch_net
from search_spaces.arch import Arch

__all__ = [
    "Moments",
    "Trained",
    "augmented",
    "batches",
    "calibrate_norms",
    "new_net",
    "normalise",
    "top1",
    "train",
]

_FEWEST_GRAPHED = 10  # updates; a graph costs about two to make


@dataclass(frozen=True)
class Moments:
    """The state of AdamW: number of updates, and by parameter the means of gradients and of their squares; nothing of
    other optimizers."""

    updates: int
    first: Mapping[str, Tensor]
    second: Mapping[str, Tensor]


@dataclass(frozen=True)
class Trained:
    """What a training came to: images seen, whether the loss became NaN or infinite (then it was cut short), and the
    optimizer's state at the end."""

    images: int
    diverged: bool
    moments: Moments


def new_net(arch: Arch, *, rng_seed: int) -> torch_net.Net:
    """`arch` with the initial weights of this seed, in channels_last."""
    net = torch_net.build(arch, generator=torch.Generator().manual_seed(rng_seed))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train(
    net: nn.Module,
    split: Split,
    data: Dataset,
    recipe: Recipe,
    *,
    rng_seed: int,
    device: str = "cpu",
    moments: Moments | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> Trained:
    """Trains `net` in place on `split` with augmentation and label smoothing.

    The same seed gives the same weights, bit for bit, on the same machine with the same number of torch threads; on a
    GPU nearly so. There, from 10 updates on, an update is launched as one CUDA graph (`nas.training.on_gpu`).

    Args:
        net: a network ``(N, C, H, W) -> (N, classes)``; it is moved to `device` and to channels_last.
        data: gives the normalisation and whether mirroring is allowed.
        moments: the optimizer's state to begin with.
        on_epoch: called with the number of epochs that are done, after each.
    """
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    in_epoch = max(1, len(split) // recipe.batch)
    steps = recipe.steps or in_epoch * recipe.epochs
    rng = np.random.default_rng(rng_seed)
    size = min(recipe.batch, len(split))
    small = on_gpu.many_shapes(device, data.resolution_px)
    with small, torch.random.fork_rng(devices=[]), on_gpu.stream(device):  # dropout draws from torch's generator
        torch.manual_seed(rng_seed)
        graphed = steps >= _FEWEST_GRAPHED and _can_be_graphed(recipe) and on_gpu.keeps(split.images, device)
        lr_on = device if graphed else None
        learner = Learner(net, recipe, device=device, resolution_px=data.resolution_px, lr_on=lr_on)
        if moments is not None:
            _set_moments(learner, moments)
        update = _updates(learner, split, data, device, rng, graphed)
        for step, picked in enumerate(islice(_picked(len(split), size, rng), steps), 1):
            loss = update(picked, learning_rate(recipe, step - 1, updates=steps, in_epoch=in_epoch))
            epochs, left = divmod(step, in_epoch)
            if (left == 0 or step == steps) and not math.isfinite(loss.item()):
                return Trained(step * size, True, _moments(learner))
            if left == 0 and on_epoch:
                on_epoch(epochs)
                net.train()
        if learner.average is not None:
            net.load_state_dict(learner.result.state_dict())
        return Trained(steps * size, False, _moments(learner))


def _can_be_graphed(recipe: Recipe) -> bool:
    """Whether all updates launch the same: nothing in them is a number that Python computes anew."""
    return recipe.optimizer == "adamw" and recipe.ema is None and recipe.norm_momentum is None


def _updates(
    learner: Learner, split: Split, data: Dataset, device: str, rng: np.random.Generator, graphed: bool
) -> Callable[[np.ndarray, float], Tensor]:
    """A function that makes one update with the images at some places (n,) and a learning rate, and gives its loss."""
    crop_px = learner.recipe.crop_px

    def eager(picked: np.ndarray, lr: float) -> Tensor:
        learner.set_lr(lr)
        return learner.update(*augmented(split, picked, data, crop_px=crop_px, rng=rng, device=device))

    if not graphed:
        return eager
    size, lr_there = min(learner.recipe.batch, len(split)), learner.optimizer.param_groups[0]["lr"]
    graph = on_gpu.Graphed(lambda plan: learner.update(*_on_gpu(split, data, plan, crop_px)), size, device)

    def replayed(picked: np.ndarray, lr: float) -> Tensor:
        lr_there.fill_(lr)
        return graph(_plan(picked, data, crop_px, rng))

    return replayed


def top1(net: nn.Module, split: Split, data: Dataset, *, device: str = "cpu") -> float:
    """Share of `split` that `net` classifies correctly, in [0, 1]."""
    keep_freed_memory()
    batch = on_gpu.at_a_time(device, data.resolution_px)
    net.to(device).eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), on_gpu.many_shapes(device, data.resolution_px):
        for start in range(0, len(split), batch):
            x = normalise(torch.from_numpy(split.images[start : start + batch]), data, device)
            y = torch.from_numpy(split.labels[start : start + batch]).to(device)
            correct += (net(x).argmax(1) == y).sum()
    return correct.item() / len(split)


@torch.no_grad()
def calibrate_norms(net: nn.Module, split: Split, data: Dataset, *, device: str = "cpu") -> None:
    """Gives the batch norms of `net` the statistics of the images of `split`, as they are, instead of running ones."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
    before = [norm.momentum for norm in norms]
    parts = -(-len(split) // on_gpu.at_a_time(device, data.resolution_px))
    keep_freed_memory()
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    with on_gpu.many_shapes(device, data.resolution_px):
        for images in np.array_split(split.images, parts):  # of one size, since each counts as much
            net(normalise(torch.from_numpy(images), data, device))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    net.eval()


def batches(split: Split, data: Dataset, recipe: Recipe, *, rng: np.random.Generator, device: str):
    """One epoch of augmented, normalised batches ``(x, y)``: x (batch, C, H, W) float, y (batch,) int64."""
    size = min(recipe.batch, len(split))
    for picked in islice(_picked(len(split), size, rng), len(split) // size):
        yield augmented(split, picked, data, crop_px=recipe.crop_px, rng=rng, device=device)


def augmented(
    split: Split, picked: np.ndarray, data: Dataset, *, crop_px: int, rng: np.random.Generator, device: str
) -> tuple[Tensor, Tensor]:
    """The images `picked` of `split`, shifted and mirrored at random: x (n, C, H, W) float, y (n,) int64."""
    if device == "cpu":
        images = _shift_and_flip(split.images[picked], crop_px, data.flip, rng)
        return normalise(torch.from_numpy(images), data, device), torch.from_numpy(split.labels[picked])
    if on_gpu.keeps(split.images, device):
        return _on_gpu(split, data, on_gpu.sent(_plan(picked, data, crop_px, rng), device), crop_px)
    images = on_gpu.sent(_shift_and_flip(split.images[picked], crop_px, data.flip, rng), device)
    return normalise(images, data, device), on_gpu.sent(split.labels[picked], device)


def _plan(picked: np.ndarray, data: Dataset, crop_px: int, rng: np.random.Generator) -> np.ndarray:
    """Places of images, and how each is moved (`_moves`): (4, n) int64."""
    return np.stack([picked, *_moves(len(picked), crop_px, data.flip, rng)])


def _on_gpu(split: Split, data: Dataset, plan: Tensor, crop_px: int) -> tuple[Tensor, Tensor]:
    """`augmented` for a plan (4, n) that is on the GPU: places of images, and how they are moved."""
    device = str(plan.device)
    images, labels = on_gpu.resident(split.images, device), on_gpu.resident(split.labels, device)
    return normalise(on_gpu.gathered(images, plan, crop_px), data, device), labels[plan[0]]


def _picked(images: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The places (size,) of each batch's images in the split, in a new order each epoch."""
    while True:
        order = rng.permutation(images)
        for start in range(0, images - size + 1, size):
            yield order[start : start + size]


def _shift_and_flip(images: np.ndarray, crop_px: int, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """Each image (H, W, C) shifted by up to crop_px with black borders, and mirrored half of the time.

    Both are one gather: a row index and a column index for each image.
    """
    n, height, width, _ = images.shape
    down, right, mirrored = _moves(n, crop_px, flip, rng)
    rows = np.arange(height) + down[:, None]
    columns = np.arange(width) + right[:, None]
    columns[mirrored == 1] = columns[mirrored == 1, ::-1]
    padded = np.pad(images, ((0, 0), (crop_px, crop_px), (crop_px, crop_px), (0, 0)))
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _moves(n: int, crop_px: int, flip: bool, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For n images by how many rows and columns each is shifted, and whether it is mirrored (0 or 1): int64, (n,)."""
    down, right = (rng.integers(0, 2 * crop_px + 1, n) for _ in range(2))
    return down, right, (rng.random(n) < 0.5).astype(np.int64) if flip else np.zeros(n, np.int64)


def normalise(images: Tensor, data: Dataset | PictureSet, device: str) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) float in channels_last, mean 0 and deviation 1 by channel."""
    n, height, width, channels = images.shape
    mean, std = _scale(data.mean, data.std, width, device)
    rows = images.to(device).float().contiguous().view(n, height, width * channels)
    return rows.sub_(mean).div_(std).view(n, height, width, channels).permute(0, 3, 1, 2)


@cache
@torch.inference_mode(False)
def _scale(mean: tuple[float, ...], std: tuple[float, ...], width: int, device: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of pixels from 0 to 255 in a row of an image, (width * C,): five times as fast as (C,)."""
    own = (torch.tensor(mean) * 255), (torch.tensor(std) * 255).clamp(min=1.0)
    return own[0].repeat(width).to(device), own[1].repeat(width).to(device)


def _moments(learner: Learner) -> Moments:
    optimizer, net = learner.optimizer, learner.net
    states = {name: optimizer.state[p] for name, p in net.named_parameters() if p in optimizer.state}
    if learner.recipe.optimizer != "adamw":
        return Moments(0, {}, {})
    return Moments(
        updates=max((int(state["step"]) for state in states.values()), default=0),
        first={name: state["exp_avg"] for name, state in states.items()},
        second={name: state["exp_avg_sq"] for name, state in states.items()},
    )


def _set_moments(learner: Learner, moments: Moments) -> None:
    for name, p in learner.net.named_parameters():
        learner.optimizer.state[p] = {  # like p, whose memory format the fused update takes for granted
            "step": torch.tensor(float(moments.updates), device=p.device),
            "exp_avg": torch.empty_like(p).copy_(moments.first[name]),
            "exp_avg_sq": torch.empty_like(p).copy_(moments.second[name]),
        }
