"""Operators as torch modules."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.ops import (
    Act,
    Add,
    Concat,
    Conv,
    Dropout,
    Expand,
    Flatten,
    GlobalPool,
    Linear,
    Op,
    Pool,
    Scale,
    Shuffle,
    Slice,
    Upsample,
)

__all__ = ["ConvAct", "activation", "conv2d", "module_of"]


class ConvAct(nn.Module):
    """Convolution, batch norm or bias, activation."""

    def __init__(self, op: Conv) -> None:
        super().__init__()
        self.op = op
        self.conv = nn.Conv2d(
            op.in_ch,
            op.out_ch,
            op.size,
            stride=op.stride,
            padding=op.padding,
            dilation=op.dilation,
            groups=op.groups,
            bias=op.bias or not op.norm,
        )
        self.norm = nn.BatchNorm2d(op.out_ch) if op.norm else None
        self.act = activation(op.act)
        self._zeros: Conv | None = None

    def weights(self) -> Tensor:
        """Those of the convolution, as it computes with them."""
        return self.conv.weight

    def pad_as_tensorflow(self) -> None:
        """Puts the zeros of a convolution with a stride where TensorFlow has them (`Conv.zeros`)."""
        if self.op.stride > 1 and self.op.pad is None:
            self._zeros, self.op = self.op, replace(self.op, pad=0)

    def forward(self, x: Tensor) -> Tensor:
        if self._zeros is not None:
            _, *shape = x.shape
            top, left, bottom, right = self._zeros.zeros((shape[0], shape[1], shape[2]), "tensorflow")
            x = F.pad(x, (left, right, top, bottom))
        x = conv2d(x, self.op, self.weights(), self.conv.bias)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)


def conv2d(x: Tensor, op: Conv, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution `op` of x (N, in_ch, H, W); on a GPU without cuDNN dense ones are matrix products.

    cuDNN takes tens of milliseconds to set up what it has not met: a new combination of channels, kernel, stride and
    size. A search over networks for small images meets thousands of them and goes without it
    (`nas.training.on_gpu.many_shapes`); a matrix product is launched at once, whatever its shape.
    """
    if x.is_cuda and not torch.backends.cudnn.enabled and op.groups == op.dilation == 1:
        return _by_product(x, weight, bias, op.stride, op.padding)
    return F.conv2d(x, weight, bias, op.stride, op.padding, op.dilation, op.groups)


def _by_product(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]) -> Tensor:
    x = x.permute(0, 2, 3, 1)
    if any(padding):
        x = F.pad(x, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    if weight.shape[2:] != (1, 1):  # (N, H', W', in_ch, kernel height, kernel width)
        x = x.unfold(1, weight.shape[2], stride).unfold(2, weight.shape[3], stride).flatten(3)
    elif stride != 1:
        x = x[:, ::stride, ::stride]
    return F.linear(x, weight.flatten(1), bias).permute(0, 3, 1, 2)


class _LinearAct(nn.Module):
    def __init__(self, op: Linear) -> None:
        super().__init__()
        self.linear = nn.Linear(op.in_ch, op.out_ch)
        self.act = activation(op.act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x.flatten(1))
        return x if self.act is None else self.act(x)


class _GlobalPool(nn.Module):
    """Mean over positions, written as sum / count: the backward pass of `Tensor.mean` writes out a full gradient in
    contiguous layout, and the gradients before it in a channels_last network follow."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3), keepdim=not self.flat) / (x.shape[2] * x.shape[3])


class _Add(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class _Scale(nn.Module):
    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate


class _Concat(nn.Module):
    def forward(self, *x: Tensor) -> Tensor:
        return torch.cat(x, dim=1)


class _Upsample(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)


class _Expand(nn.Module):
    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        return x.expand(-1, -1, *like.shape[2:])


class _Flatten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, 1, 1)


class _Slice(nn.Module):
    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.stop]


class _AvgPool(nn.Module):
    def __init__(self, op: Pool) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding, self.ceil = op.kernel, op.stride, op.padding, op.ceil

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.kernel, self.stride, self.padding, ceil_mode=self.ceil, count_include_pad=False)


def module_of(op: Op) -> nn.Module:
    """The freshly initialised module of one operator."""
    match op:
        case Conv():
            return ConvAct(op)
        case Linear():
            return _LinearAct(op)
        case Pool(kind="max"):
            return nn.MaxPool2d(op.kernel, op.stride, op.padding, ceil_mode=op.ceil)
        case Pool():
            return _AvgPool(op)
        case GlobalPool():
            return _GlobalPool(op.flat)
        case Add():
            return _Add()
        case Act():
            return activation(op.act, inplace=False) or nn.Identity()
        case Concat():
            return _Concat()
        case Slice():
            return _Slice(op.start, op.stop)
        case Shuffle():
            return nn.ChannelShuffle(op.groups)
        case Upsample():
            return _Upsample(op.factor)
        case Expand():
            return _Expand()
        case Flatten():
            return _Flatten()
        case Scale():
            return _Scale()
        case Dropout():
            return nn.Dropout(op.rate)


def activation(name: str, *, inplace: bool = True) -> nn.Module | None:
    """The module of one of `ops.ACTIVATIONS`; in place where its input is never needed again."""
    match name:
        case "none":
            return None
        case "relu":
            return nn.ReLU(inplace)
        case "relu6":
            return nn.ReLU6(inplace)
        case "hard_swish":
            return nn.Hardswish(inplace)
        case "swish":
            return nn.SiLU(inplace)
        case "sigmoid":
            return nn.Sigmoid()
        case "hard_sigmoid":
            return nn.Hardsigmoid(inplace)
        case _:
            raise ValueError(f"no torch module for activation {name!r}")
