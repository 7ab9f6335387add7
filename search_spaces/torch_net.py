"""`Arch` -> `torch.nn.Module`.

Parameters are named after the block's place and the operator: ``blocks.3.expand.conv.weight``,
``blocks.3.expand.norm.running_mean``, ``blocks.17.linear.bias``.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas_runtime.files import write_bytes
from search_spaces import text
from search_spaces.arch import Arch, Block
from search_spaces.ops import Conv, Linear
from search_spaces.torch_ops import ConvAct, module_of

__all__ = ["WEIGHTS", "BlockModule", "Net", "answer", "build", "check_weights", "last_layer", "load", "read", "save"]

WEIGHTS = "best.safetensors"
"""The file of a run directory that holds its trained network."""


def build(
    arch: Arch, *, generator: torch.Generator | None = None, weights: Mapping[str, Tensor] | None = None
) -> "Net":
    """A freshly initialised network that computes `arch`: ``(N, in_ch, H, W) -> (N, classes)``.

    Initialisation is the MobileNet reference code's: convolutions He-normal by fan-out, batch norm 1 and 0, linear
    layers normal with deviation 0.01.

    Args:
        generator: source of the initial weights; torch's global one if None.
        weights: to begin with instead, by name; what they lack, as the last layer for other classes, is drawn.

    Raises:
        ValueError: `weights` has what the network lacks, or of another shape; names the first.
    """
    with torch.random.fork_rng(devices=[]):  # torch's modules initialise themselves first, from the global generator
        net = Net(arch)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1] // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out), generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=generator)
            nn.init.zeros_(module.bias)
    if weights is not None:
        state = net.state_dict() | dict(weights)
        check_weights(arch, state)
        net.load_state_dict(state)
    return net


def last_layer(arch: Arch) -> tuple[str, ...]:
    """The names of the weights that give the classes: those of the last layer."""
    op = next(op for op in reversed(arch.blocks[-1].ops()) if isinstance(op, Conv | Linear))
    module = f"blocks.{len(arch.blocks) - 1}.{op.name}.{'linear' if isinstance(op, Linear) else 'conv'}"
    return f"{module}.weight", f"{module}.bias"


def save(net: "Net", path: str | os.PathLike[str], *, about: Mapping[str, str] | None = None) -> None:
    """Writes `net` to a safetensors file, with its network as JSON; `load` reads both. It is complete or not there.

    Args:
        about: what else the file says of itself, by name; ``arch`` is taken.

    Raises:
        ValueError: batch norms with another epsilon than the network's, which the file could not say.
    """
    from safetensors.torch import save as safetensors_of

    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.eps != net.arch.norm_eps:
            raise ValueError(
                f"{name} has eps {module.eps:g}, but network {net.arch.name!r} has norm_eps {net.arch.norm_eps:g}; "
                "build the net from replace(arch, norm_eps=...)"
            )
    state = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    write_bytes(Path(path), safetensors_of(state, metadata={**(about or {}), "arch": text.to_json(net.arch)}))


def load(path: str | os.PathLike[str]) -> "Net":
    """The trained network of a run directory, or of a file that `save` wrote: on the CPU, in evaluation mode.

    Raises:
        ValueError: no such file, not such a file, or weights that are not those of its network.
    """
    return read(path)[0]


def read(path: str | os.PathLike[str]) -> tuple["Net", dict[str, str]]:
    """What `load` gives, and what the file says of itself."""
    from safetensors import SafetensorError, safe_open

    file = Path(path) / WEIGHTS if Path(path).is_dir() else Path(path)
    try:
        with safe_open(file, framework="pt") as opened:
            about = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file; give the folder of a finished run, or its {WEIGHTS}") from None
    except (OSError, SafetensorError) as e:
        raise ValueError(f"{file} cannot be read: {e}") from None
    if "arch" not in about:
        raise ValueError(f"{file} does not say what network its weights are of; give a file of torch_net.save")
    try:
        arch = text.from_json(about["arch"])
        check_weights(arch, state)
    except ValueError as e:
        raise ValueError(f"{file}: {e}") from None
    with torch.random.fork_rng(devices=[]):  # new modules draw from torch's generator, which is the caller's
        net = Net(arch)
    net.load_state_dict(state)
    return net.eval(), about


def answer(net: "Net", inputs: np.ndarray) -> np.ndarray:
    """What `net` gives for `inputs` (N, C, H, W) in evaluation: (N, ...). It stays in its mode."""
    trains, like = net.training, next(net.parameters())
    with torch.inference_mode():
        outputs = net.eval()(torch.from_numpy(inputs).to(like.device, like.dtype)).float().cpu().numpy()
    net.train(trains)
    return outputs


def check_weights(arch: Arch, weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError, with the first difference, if `weights` are not those of `arch`."""
    with torch.device("meta"):
        wanted = Net(arch).state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise ValueError(
                f"the weights lack {name}, which network {arch.name!r} has; give the weights of this network"
            )
        if weights[name].shape != value.shape:
            raise ValueError(
                f"{name} is {tuple(weights[name].shape)} in the weights, but {tuple(value.shape)} in network "
                f"{arch.name!r}; give the weights of this network"
            )
    if more := [name for name in weights if name not in wanted]:
        raise ValueError(
            f"the weights have {more[0]}, which network {arch.name!r} lacks; give the weights of this network"
        )


class Net(nn.Module):
    """`arch` as a module; `blocks[i]` computes ``arch.blocks[i]``."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        self.blocks = nn.Sequential(*(BlockModule(block) for block in arch.blocks))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = arch.norm_eps, arch.norm_momentum
            elif isinstance(module, ConvAct) and arch.padding == "tensorflow":
                module.pad_as_tensorflow()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_ch, H, W) -> (N, classes)``."""
        return self.blocks(x)


class BlockModule(nn.Module):
    """One block: its operators, run in order."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self._steps: list[tuple[str, tuple[str, ...]]] = []
        for op in block.ops():
            self.add_module(op.name, module_of(op))
            self._steps.append((op.name, op.inputs))

    def forward(self, x: Tensor) -> Tensor:
        values = {"input": x}
        for name, inputs in self._steps:
            x = self._modules[name](*(values[i] for i in inputs))  # type: ignore[misc]
            values[name] = x
        return x
