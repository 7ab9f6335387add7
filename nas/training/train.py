"""The training loop: what a proxy evaluation, a final training and NetAdapt's fine-tuning have in common."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.training import on_gpu
from nas.training.datasets import Dataset, Split
from nas.training.pictures import PictureSet
from nas.training.recipe import Recipe
from search_spaces import torch_net
from search_spaces.arch import Arch

__all__ = [
    "Moments",
    "Trained",
    "augmented",
    "batches",
    "new_net",
    "new_optimizer",
    "normalise",
    "schedule",
    "top1",
    "train",
]

_FEWEST_GRAPHED = 10  # updates; a graph costs about two to make


@dataclass(frozen=True)
class Moments:
    """The state of AdamW: number of updates, and by parameter the means of gradients and of their squares."""

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
    warmup_steps = max(1, round(recipe.warmup * steps))
    rng = np.random.default_rng(rng_seed)
    size = min(recipe.batch, len(split))
    small = on_gpu.many_shapes(device, data.resolution_px)
    with small, torch.random.fork_rng(devices=[]), on_gpu.stream(device):  # dropout draws from torch's generator
        torch.manual_seed(rng_seed)
        graphed = steps >= _FEWEST_GRAPHED and on_gpu.keeps(split.images, device)
        optimizer = new_optimizer(net, recipe, lr_on=device if graphed else None)
        if moments is not None:
            _set_moments(optimizer, net, moments)
        update = _updates(net, optimizer, split, data, recipe, device, rng, graphed)
        for step, picked in enumerate(islice(_picked(len(split), size, rng), steps), 1):
            loss = update(picked, recipe.lr * schedule(step - 1, warmup_steps, steps))
            epochs, left = divmod(step, in_epoch)
            if (left == 0 or step == steps) and not math.isfinite(loss.item()):
                return Trained(step * size, True, _moments(optimizer, net))
            if left == 0 and on_epoch:
                on_epoch(epochs)
                net.train()
        return Trained(steps * size, False, _moments(optimizer, net))


def _updates(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    split: Split,
    data: Dataset,
    recipe: Recipe,
    device: str,
    rng: np.random.Generator,
    graphed: bool,
) -> Callable[[np.ndarray, float], Tensor]:
    """A function that makes one update with the images at some places (n,) and a learning rate, and gives its loss."""

    def update(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with on_gpu.autocast(device, data.resolution_px):
            loss = F.cross_entropy(net(x), y, label_smoothing=recipe.label_smoothing)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def eager(picked: np.ndarray, lr: float) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = lr
        return update(*augmented(split, picked, data, crop_px=recipe.crop_px, rng=rng, device=device))

    if not graphed:
        return eager
    size, lr_there = min(recipe.batch, len(split)), optimizer.param_groups[0]["lr"]
    graph = on_gpu.Graphed(lambda plan: update(*_on_gpu(split, data, plan, recipe.crop_px)), size, device)

    def replayed(picked: np.ndarray, lr: float) -> Tensor:
        lr_there.fill_(lr)
        return graph(_plan(picked, data, recipe.crop_px, rng))

    return replayed


def top1(net: nn.Module, split: Split, data: Dataset, *, device: str = "cpu") -> float:
    """Share of `split` that `net` classifies correctly, in [0, 1]."""
    batch = on_gpu.at_a_time(device, data.resolution_px)
    net.to(device).eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode(), on_gpu.many_shapes(device, data.resolution_px):
        for start in range(0, len(split), batch):
            x = normalise(torch.from_numpy(split.images[start : start + batch]), data, device)
            y = torch.from_numpy(split.labels[start : start + batch]).to(device)
            correct += (net(x).argmax(1) == y).sum()
    return correct.item() / len(split)


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
    mean, std = _scale(data.mean, data.std, device)
    return images.to(device).float().sub_(mean).div_(std).permute(0, 3, 1, 2)


@cache
@torch.inference_mode(False)
def _scale(mean: tuple[float, ...], std: tuple[float, ...], device: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation (C,) of pixels from 0 to 255, on the device."""
    return (torch.tensor(mean) * 255).to(device), (torch.tensor(std) * 255).clamp(min=1.0).to(device)


def schedule(step: int, warmup_steps: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up to 1, then cosine to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def new_optimizer(net: nn.Module, recipe: Recipe, *, lr_on: str | None = None) -> torch.optim.Optimizer:
    """AdamW; weights of convolutions and linear layers decay, biases and batch norm do not.

    Args:
        lr_on: a GPU that keeps the learning rate, in one tensor for all groups, for updates that are CUDA graphs.
    """
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if lr_on is None:
        return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
    lr = torch.tensor(recipe.lr, device=lr_on)
    return torch.optim.AdamW([{**group, "lr": lr} for group in groups], lr=lr, fused=True, capturable=True)


def _moments(optimizer: torch.optim.Optimizer, net: nn.Module) -> Moments:
    states = {name: optimizer.state[p] for name, p in net.named_parameters() if p in optimizer.state}
    return Moments(
        updates=max((int(state["step"]) for state in states.values()), default=0),
        first={name: state["exp_avg"] for name, state in states.items()},
        second={name: state["exp_avg_sq"] for name, state in states.items()},
    )


def _set_moments(optimizer: torch.optim.Optimizer, net: nn.Module, moments: Moments) -> None:
    for name, p in net.named_parameters():
        optimizer.state[p] = {  # like p, whose memory format the fused update takes for granted
            "step": torch.tensor(float(moments.updates), device=p.device),
            "exp_avg": torch.empty_like(p).copy_(moments.first[name]),
            "exp_avg_sq": torch.empty_like(p).copy_(moments.second[name]),
        }
