"""How much each channel of a network matters: which ones stay when it is narrowed."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.executor import Shared
from nas.trial import Evaluation
from netadapt.channels import Layer, layers, makes_channels
from netadapt.weights import TrainedNet
from search_spaces.arch import Arch
from search_spaces.ops import Linear
from search_spaces.torch_net import Net

if TYPE_CHECKING:
    from nas.training.datasets import Dataset
    from nas.training.trainer import Trainer

__all__ = ["Importance", "by_images", "by_weights"]

_BATCH = 32  # images whose loss has one gradient


@dataclass(frozen=True, kw_only=True)
class Importance:
    """`by_images` of a trained network, as a task of an executor: the evaluation carries the importances.

    Attributes:
        trainer: a shared `Trainer`.
        parent: a shared `TrainedNet`.
        images: training images that it takes.
    """

    trainer: Shared
    parent: Shared
    by: str
    images: int

    def __call__(self, arch: Arch) -> Evaluation:
        from netadapt.fine_tune import tensors_of

        start = time.perf_counter()
        trainer: Trainer = self.trainer.get()
        parent: TrainedNet = self.parent.get()
        torch.set_num_threads(trainer.threads)
        found = by_images(
            parent.arch, tensors_of(parent.weights), trainer.data, by=self.by, images=self.images, device=trainer.device
        )
        return Evaluation(top1=parent.top1, seconds=time.perf_counter() - start, state=found)


def by_weights(arch: Arch, weights: Mapping[str, Tensor], by: str) -> dict[Layer, Tensor]:
    """For each layer that makes channels of its own the importance (out_ch,) of these, by weights alone.

    ``l2``: the squared L2 norm of a channel's filter (NetAdapt, arXiv:1804.03230, section 3.3); ``bn_scale``: the
    absolute scale of its batch norm (arXiv:1708.06519), of layers without one the norm of the filter.
    """
    found = {}
    for layer, module in _makers(arch):
        weight = weights[f"{module}.weight"].float().flatten(1).square().sum(1)
        scale = weights.get(f"{_norm_of(module)}.weight") if by == "bn_scale" else None
        found[layer] = weight if by == "l2" else weight.sqrt() if scale is None else scale.float().abs()
    return found


def by_images(
    arch: Arch, weights: Mapping[str, Tensor], data: "Dataset", *, by: str, images: int, device: str = "cpu"
) -> dict[Layer, Tensor]:
    """The same by what channels do with training images, of which `images` are looked at in evaluation mode.

    ``taylor``: by how much the loss would change to first order if the channel were 0, squared, and summed over batches
    of 32 images (arXiv:1906.10771, by the scale and shift of the batch norm); ``activation``: the mean size of what
    comes out of its activation. Layers without a batch norm are gates themselves.
    """
    from nas.training.datasets import drawn
    from nas.training.train import normalise

    net = Net(arch)
    net.load_state_dict(dict(weights))
    net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    split, modules = drawn(data.train, images), dict(net.named_modules())
    wholes = {layer: modules[module.rpartition(".")[0]] for layer, module in _makers(arch)}
    gates = {layer: modules.get(_norm_of(module), modules[module]) for layer, module in _makers(arch)}
    found: dict[Layer, Tensor] = {}
    for start in range(0, len(split), _BATCH):
        x = normalise(torch.from_numpy(split.images[start : start + _BATCH]), data, device)
        y = torch.from_numpy(split.labels[start : start + _BATCH]).to(device)
        its = _taylor(net, gates, x, y) if by == "taylor" else _activation(net, wholes, x)
        found = {layer: its[layer].cpu() + found.get(layer, 0) for layer in gates}
    return found


def _taylor(net: Net, gates: Mapping[Layer, nn.Module], x: Tensor, y: Tensor) -> dict[Layer, Tensor]:
    net.zero_grad()
    F.cross_entropy(net(x), y).backward()
    changes = {}
    for layer, gate in gates.items():
        parts = [p.detach() * p.grad for p in gate.parameters() if p.grad is not None]
        changes[layer] = sum(part.flatten(1).sum(1) if part.ndim > 1 else part for part in parts)
    return {layer: change.square() for layer, change in changes.items()}


@torch.no_grad()
def _activation(net: Net, wholes: Mapping[Layer, nn.Module], x: Tensor) -> dict[Layer, Tensor]:
    found: dict[Layer, Tensor] = {}

    def remember(layer: Layer) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(module: nn.Module, given: object, out: Tensor) -> None:
            found[layer] = out.abs().reshape(*out.shape[:2], -1).mean(2).sum(0)

        return hook

    hooks = [whole.register_forward_hook(remember(layer)) for layer, whole in wholes.items()]
    net(x)
    for hook in hooks:
        hook.remove()
    return found


def _makers(arch: Arch) -> Iterator[tuple[Layer, str]]:
    """The layers that make channels of their own, and the names of their modules."""
    for (block, name), op in layers(arch).items():
        if makes_channels(op):
            yield (block, name), f"blocks.{block}.{name}.{'linear' if isinstance(op, Linear) else 'conv'}"


def _norm_of(module: str) -> str:
    return f"{module.rpartition('.')[0]}.norm"
