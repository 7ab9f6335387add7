"""`Teacher`: a trained network whose answers another one learns from, besides the labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nas.training import tensor_file
from nas.training.pictures import PictureSet
from search_spaces import text, torch_net
from search_spaces.arch import Arch

__all__ = ["Teacher"]


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network with its weights.

    Attributes:
        arch: for the pictures' size, channels and classes.
        mean, std: of each channel, of pixels in [0, 1], as the weights ask for; None: as the data has them.
    """

    arch: Arch
    weights: Mapping[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """All that its answers depend on, as plain data."""
        return {
            "network": text.to_dict(self.arch),
            "weights": tensor_file.sum_of(self.weights),
            "normalisation": [self.mean and list(self.mean), self.std and list(self.std)],
        }

    def on(self, device: str, data: PictureSet) -> Callable[[Tensor], Tensor]:
        """What gives its logits (n, classes) for images (n, C, H, W) that are normalised as `data` says."""
        net = torch_net.build(self.arch, weights=self.weights).eval().requires_grad_(False)
        net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        mean, std = self.mean or data.mean, self.std or data.std
        if (tuple(mean), tuple(std)) == (tuple(data.mean), tuple(data.std)):
            return net
        own, theirs = (
            [torch.tensor(values, device=device)[:, None, None] for values in pair]
            for pair in ((data.mean, data.std), (mean, std))
        )
        return lambda x: net((x * own[1] + own[0] - theirs[0]) / theirs[1])
