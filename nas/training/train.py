"""The training loop: what a proxy evaluation, a final training and NetAdapt's fine-tuning have in common."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.training.datasets import Dataset, Split
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

    The same seed gives the same weights, bit for bit, on the same machine with the same number of torch threads.

    Args:
        net: a network ``(N, C, H, W) -> (N, classes)``; it is moved to `device` and to channels_last.
        data: gives the normalisation and whether mirroring is allowed.
        moments: the optimizer's state to begin with.
        on_epoch: called with the number of epochs that are done, after each.
    """
    net.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = new_optimizer(net, recipe)
    if moments is not None:
        _set_moments(optimizer, net, moments)
    steps = recipe.steps or max(1, len(split) // recipe.batch) * recipe.epochs
    warmup_steps = max(1, round(recipe.warmup * steps))
    rng = np.random.default_rng(rng_seed)
    autocast = torch.autocast(device, dtype=torch.bfloat16, enabled=device != "cpu")
    seen = epochs = 0
    with torch.random.fork_rng(devices=[]):  # dropout draws from torch's generator
        torch.manual_seed(rng_seed)
        for step, (x, y, epoch_ends) in zip(range(steps), _endless(split, data, recipe, rng, device), strict=False):
            _set_lr(optimizer, recipe.lr * schedule(step, warmup_steps, steps))
            optimizer.zero_grad(set_to_none=True)
            with autocast:
                loss = F.cross_entropy(net(x), y, label_smoothing=recipe.label_smoothing)
            loss.backward()
            optimizer.step()
            seen += len(y)
            if (epoch_ends or step == steps - 1) and not math.isfinite(loss.item()):
                return Trained(seen, True, _moments(optimizer, net))
            if epoch_ends and on_epoch:
                epochs += 1
                on_epoch(epochs)
                net.train()
    return Trained(seen, False, _moments(optimizer, net))


def top1(net: nn.Module, split: Split, data: Dataset, *, batch: int = 250, device: str = "cpu") -> float:
    """Share of `split` that `net` classifies correctly, in [0, 1]."""
    net.to(device).eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for start in range(0, len(split), batch):
            x = normalise(torch.from_numpy(split.images[start : start + batch]), data, device)
            y = torch.from_numpy(split.labels[start : start + batch]).to(device)
            correct += (net(x).argmax(1) == y).sum()
    return correct.item() / len(split)


def batches(split: Split, data: Dataset, recipe: Recipe, *, rng: np.random.Generator, device: str):
    """One epoch of augmented, normalised batches ``(x, y)``: x (batch, C, H, W) float, y (batch,) int64."""
    order = rng.permutation(len(split))
    size = min(recipe.batch, len(split))
    for start in range(0, len(split) - size + 1, size):
        yield augmented(split, order[start : start + size], data, crop_px=recipe.crop_px, rng=rng, device=device)


def augmented(
    split: Split, picked: np.ndarray, data: Dataset, *, crop_px: int, rng: np.random.Generator, device: str
) -> tuple[Tensor, Tensor]:
    """The images `picked` of `split`, shifted and mirrored at random: x (n, C, H, W) float, y (n,) int64."""
    images = _shift_and_flip(split.images[picked], crop_px, data.flip, rng)
    return normalise(torch.from_numpy(images), data, device), torch.from_numpy(split.labels[picked]).to(device)


def _endless(
    split: Split, data: Dataset, recipe: Recipe, rng: np.random.Generator, device: str
) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """`batches` of epoch after epoch, each with whether it is an epoch's last."""
    in_epoch = max(1, len(split) // recipe.batch)
    while True:
        for i, (x, y) in enumerate(batches(split, data, recipe, rng=rng, device=device), 1):
            yield x, y, i == in_epoch


def _shift_and_flip(images: np.ndarray, crop_px: int, flip: bool, rng: np.random.Generator) -> np.ndarray:
    """Each image (H, W, C) shifted by up to crop_px with black borders, and mirrored half of the time.

    Both are one gather: a row index and a column index for each image.
    """
    n, height, width, _ = images.shape
    rows = np.arange(height) + rng.integers(0, 2 * crop_px + 1, (n, 1))
    columns = np.arange(width) + rng.integers(0, 2 * crop_px + 1, (n, 1))
    if flip:
        mirrored = rng.random(n) < 0.5
        columns[mirrored] = columns[mirrored, ::-1]
    padded = np.pad(images, ((0, 0), (crop_px, crop_px), (crop_px, crop_px), (0, 0)))
    return padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def normalise(images: Tensor, data: Dataset, device: str) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) float in channels_last, mean 0 and deviation 1 by channel."""
    x = images.to(device).float()
    mean = torch.tensor(data.mean, device=device) * 255
    std = torch.tensor(data.std, device=device) * 255
    return x.sub_(mean).div_(std.clamp(min=1.0)).permute(0, 3, 1, 2)


def schedule(step: int, warmup_steps: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up to 1, then cosine to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def new_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; weights of convolutions and linear layers decay, biases and batch norm do not."""
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


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
