"""`Supernet`: weights that all networks of a space share, and a network's way through them.

Every position of the space (`search_spaces.layout`) has the weights of every operator that may stand there, each as
large as the largest network needs. A network takes the first channels of them; operators of different kinds of blocks
have weights of their own, and so do, with ``kernels="own"``, kernels of different sizes (else a small kernel is the
centre of the largest). Batch norm is computed from the batch itself while training; for evaluation each network's own
statistics are estimated anew (`Supernet.calibrate`).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.supernet.routes import Mean, Route, Step, Stretch, keyed, with_done
from search_spaces import torch_ops
from search_spaces.arch import Arch
from search_spaces.layout import Layout
from search_spaces.ops import Conv, Linear, Op

__all__ = ["Statistics", "Supernet"]

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and variance (C,) of what each batch norm of a route normalises, by the name of its convolution."""


class Supernet(nn.Module):
    """Shared weights of the networks of a space.

    Args:
        layout: of the space.
        in_ch, classes: of the data set.
        kernels: one of `nas.supernet.phases.KERNELS`.
        generator: source of the initial weights, which are distributed as those of `torch_net.build`; torch's global
            one if None.
        device: where the weights are; ``meta`` for their shapes alone.

    Raises:
        ValueError: an operator whose weights cannot be shared (grouped, but not depthwise convolutions).
    """

    def __init__(
        self,
        layout: Layout,
        *,
        in_ch: int,
        classes: int,
        kernels: str = "centre",
        generator: torch.Generator | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.layout, self.kernels = layout, kernels
        parameters: dict[str, Tensor] = {}
        for name, (shape, depthwise) in _shapes(layout, in_ch, classes, kernels).items():
            value = torch.empty(shape, device=device)
            if device != "meta":
                _initialise(value, name.rsplit("/", 1)[1], depthwise, generator)
            parameters[name] = value.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else value
        self.weights = nn.ParameterDict(parameters)

    def route(self, arch: Arch, small: Arch) -> Route:
        """The way of `arch`.

        Args:
            arch: a network of the space.
            small: the same network for the images of the data set (`Trainer.small`).

        Raises:
            ValueError: `arch` is not a network of the space.
        """
        positions, blocks = self.layout.positions(arch), small.blocks
        stretches = []
        for layer, group in groupby(range(len(blocks)), key=lambda i: positions[i][0]):
            numbers = list(group)
            steps: list[Step] = []
            source = ""
            for i in numbers:
                for op, key in keyed(blocks[i], positions[i], self.kernels):
                    inputs = tuple(source if name == "input" else f"blocks.{i}.{name}" for name in op.inputs)
                    steps.append(Step(f"blocks.{i}.{op.name}", inputs, op, key))
                source = steps[-1].name
            in_ch = blocks[numbers[0]].in_ch
            stretches.append(Stretch(layer, in_ch, numbers[-1], with_done(steps), small.norm_eps))
        return Route(small, tuple(stretches))

    def forward(self, x: Tensor, route: Route) -> Tensor:
        """``(N, in_ch, H, W) -> (N, classes)``; batch norm uses the batch's own statistics."""
        for stretch in route.stretches:
            x = self.stretch(x, stretch)
        return x

    def stretch(self, x: Tensor, stretch: Stretch) -> Tensor:
        """A stretch of `forward` alone, on what stands before it: ``(N, stretch.in_ch, H, W)``."""

        def convolve(step: Step, op: Conv, x: Tensor) -> Tensor:
            x = torch_ops.conv2d(x, op, *self._conv_weights(step.key, op))
            if not op.norm:
                return x
            weight, bias = self._norm_weights(step.key, op)
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=stretch.norm_eps)

        return self._run(x, stretch, convolve)

    @torch.no_grad()
    def calibrate(self, route: Route, batches: Iterable[Tensor]) -> Statistics:
        """Batch norm's statistics of a route: means over the images of `batches`, ``(N, in_ch, H, W)`` each."""
        statistics: dict[str, tuple[Tensor, Tensor]] = {}
        seen, now = 0, 0

        def convolve(step: Step, op: Conv, x: Tensor) -> Tensor:
            x = torch_ops.conv2d(x, op, *self._conv_weights(step.key, op))
            if not op.norm:
                return x
            weight, bias = self._norm_weights(step.key, op)
            if step.name not in statistics:
                statistics[step.name] = (torch.zeros_like(weight), torch.zeros_like(weight))
            share, eps = now / (seen + now), route.arch.norm_eps
            return F.batch_norm(x, *statistics[step.name], weight, bias, training=True, momentum=share, eps=eps)

        for x in batches:
            now = len(x)
            for stretch in route.stretches:
                x = self._run(x, stretch, convolve)
            seen += now
        return statistics

    @torch.no_grad()
    def folded(self, route: Route, statistics: Statistics) -> Callable[[Tensor], Tensor]:
        """The route's network for inference, ``(N, in_ch, H, W) -> (N, classes)``, with batch norm folded into its
        convolutions."""
        weights: dict[str, tuple[Tensor, Tensor | None]] = {}
        for step in route.steps:
            if isinstance(step.op, Conv):
                weight, bias = self._conv_weights(step.key, step.op)
                if step.op.norm:
                    mean, var = statistics[step.name]
                    gamma, beta = self._norm_weights(step.key, step.op)
                    scale = gamma * torch.rsqrt(var + route.arch.norm_eps)
                    shift = beta - mean * scale
                    weight, bias = weight * scale[:, None, None, None], shift if bias is None else bias * scale + shift
                weights[step.name] = weight.contiguous(memory_format=torch.channels_last), bias

        def convolve(step: Step, op: Conv, x: Tensor) -> Tensor:
            return torch_ops.conv2d(x, op, *weights[step.name])

        def forward(x: Tensor) -> Tensor:
            for stretch in route.stretches:
                x = self._run(x, stretch, convolve)
            return x

        return forward

    @torch.no_grad()
    def state_dict_of(self, route: Route, statistics: Statistics) -> dict[str, Tensor]:
        """The route's weights as the state of ``torch_net.build(route.arch)``."""
        state: dict[str, Tensor] = {}
        for step in route.steps:
            if isinstance(step.op, Conv):
                weight, bias = self._conv_weights(step.key, step.op)
                state[f"{step.name}.conv.weight"] = weight
                if bias is not None:
                    state[f"{step.name}.conv.bias"] = bias
                if step.op.norm:
                    norm = f"{step.name}.norm"
                    state[f"{norm}.weight"], state[f"{norm}.bias"] = self._norm_weights(step.key, step.op)
                    state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = statistics[step.name]
                    state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
            elif isinstance(step.op, Linear):
                weight, bias = self._linear_weights(step.key, step.op)
                state[f"{step.name}.linear.weight"], state[f"{step.name}.linear.bias"] = weight, bias
        return {name: value.detach().clone() for name, value in state.items()}

    def _run(self, x: Tensor, stretch: Stretch, convolve: Callable[[Step, Conv, Tensor], Tensor]) -> Tensor:
        values = {"": x}
        for step in stretch.steps:
            match step.op:
                case Conv() as op:
                    x = _act(convolve(step, op, values[step.inputs[0]]), op.act)
                case Linear() as op:
                    x = _act(F.linear(values[step.inputs[0]].flatten(1), *self._linear_weights(step.key, op)), op.act)
                case Mean(weights):
                    x = torch.stack([w * values[name] for w, name in zip(weights, step.inputs, strict=True)]).sum(0)
                case op:
                    x = _plain(op).train(self.training)(*(values[name] for name in step.inputs))
            for name in step.done:
                del values[name]
            values[step.name] = x
        return x

    def _conv_weights(self, key: str, op: Conv) -> tuple[Tensor, Tensor | None]:
        weight = self.weights[f"{key}/weight"]
        height, width = op.size
        top, left = (weight.shape[2] - height) // 2, (weight.shape[3] - width) // 2
        weight = weight[: op.out_ch, : op.in_ch // op.groups, top : top + height, left : left + width]
        return weight, self.weights[f"{key}/bias"][: op.out_ch] if op.bias or not op.norm else None

    def _norm_weights(self, key: str, op: Conv) -> tuple[Tensor, Tensor]:
        return self.weights[f"{key}/gamma"][: op.out_ch], self.weights[f"{key}/beta"][: op.out_ch]

    def _linear_weights(self, key: str, op: Linear) -> tuple[Tensor, Tensor]:
        return self.weights[f"{key}/weight"][: op.out_ch, : op.in_ch], self.weights[f"{key}/bias"][: op.out_ch]


def _shapes(layout: Layout, in_ch: int, classes: int, kernels: str) -> dict[str, tuple[tuple[int, ...], bool]]:
    """For every shared tensor its shape, the largest that some network of the space needs, and whether it belongs to a
    depthwise convolution."""
    shapes: dict[str, tuple[tuple[int, ...], bool]] = {}
    first, last = min(layout.blocks), max(layout.blocks)
    for position, blocks in sorted(layout.blocks.items()):
        for block in blocks:
            if position == first:
                block = replace(block, in_ch=in_ch)
            if position == last:
                block = replace(block, out_ch=classes)
            for op, key in keyed(block, position, kernels):
                for name, shape in _op_shapes(op).items():
                    before, _ = shapes.get(f"{key}/{name}", (shape, False))
                    shapes[f"{key}/{name}"] = tuple(map(max, before, shape)), isinstance(op, Conv) and op.depthwise
    return dict(sorted(shapes.items()))


def _op_shapes(op: Op) -> dict[str, tuple[int, ...]]:
    match op:
        case Conv():
            if op.groups > 1 and not op.depthwise:
                raise ValueError(f"weights of grouped convolutions ({op.name}, {op.groups} groups) cannot be shared")
            shapes: dict[str, tuple[int, ...]] = {"weight": (op.out_ch, op.in_ch // op.groups, *op.size)}
            if op.bias or not op.norm:
                shapes["bias"] = (op.out_ch,)
            if op.norm:
                shapes["gamma"] = shapes["beta"] = (op.out_ch,)
            return shapes
        case Linear():
            return {"weight": (op.out_ch, op.in_ch), "bias": (op.out_ch,)}
        case _:
            return {}


def _initialise(value: Tensor, kind: str, depthwise: bool, generator: torch.Generator | None) -> None:
    if kind == "gamma":
        value.fill_(1)
    elif kind != "weight":
        value.zero_()
    elif value.ndim == 4:
        fan_out = (1 if depthwise else value.shape[0]) * value.shape[2] * value.shape[3]
        value.normal_(std=math.sqrt(2 / fan_out), generator=generator)
    else:
        value.normal_(std=0.01, generator=generator)


@cache
def _plain(op: Op) -> nn.Module:
    """The module of an operator without weights."""
    return torch_ops.module_of(op)


@cache
def _activation(name: str) -> nn.Module | None:
    return torch_ops.activation(name)


def _act(x: Tensor, name: str) -> Tensor:
    module = _activation(name)
    return x if module is None else module(x)
