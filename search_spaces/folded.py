"""Weights for graphs of runtimes, batch norm folded into the convolution before it: of a network, or random ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from search_spaces.arch import Arch
from search_spaces.ops import Conv, Linear

if TYPE_CHECKING:
    from search_spaces.torch_net import Net

__all__ = ["Arrays", "Stored", "Weights", "of", "random_weights", "stored_weights", "torch_weights"]


Arrays = Callable[[int, Conv | Linear], tuple[np.ndarray, np.ndarray]]
"""`Weights` that are at hand."""


class Weights(Protocol):
    """Gives weight and bias of an operator of block `i`.

    The weight is (out_ch, in_ch / groups, height, width), of a `Linear` (out_ch, in_ch); the bias (out_ch,).
    """

    def __call__(self, i: int, op: Conv | Linear, /) -> "tuple[np.ndarray | Stored, np.ndarray]": ...


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A constant that lies in a file beside the model."""

    shape: tuple[int, ...]
    dtype: str
    file: str
    offset: int


def of(arch: Arch, net: "Net | None") -> Arrays:
    """The weights of `net`, or random ones if it is None.

    Raises:
        ValueError: `net` was built for another architecture, or has norms that are no batch norms with statistics.
    """
    if net is None:
        return random_weights()
    if net.arch.blocks != arch.blocks:
        raise ValueError(f"the weights belong to {net.arch.name!r}, not to {arch.name!r}; build the net from this arch")
    return torch_weights(net)


def random_weights(rng_seed: int = 0, *, period: int | None = None) -> Arrays:
    """He-normal weights and small biases, so that activations stay of the order of 1 through a deep network.

    All are cut from one stretch of random numbers, each from another place: drawing them anew for every network would
    take longer than timing it.

    Args:
        period: the numbers repeat after so many, so that files of them are small once they are compressed.
    """

    def weights(i: int, op: Conv | Linear) -> tuple[np.ndarray, np.ndarray]:
        shape = _weight_shape(op)
        n, fan_in = int(np.prod(shape)), int(np.prod(shape[1:]))
        start = (1009 * i + 31 * len(op.name) + op.out_ch) % 65536
        values = np.resize(_normal(rng_seed, period), n) if period else _normal(rng_seed, start + n)[start:]
        weight = values.reshape(shape) * np.float32(np.sqrt(2 / fan_in))
        return weight, _normal(rng_seed, start + op.out_ch)[start:] * np.float32(0.1)

    return weights


def stored_weights(stored: Callable[[str, float, int], tuple[str, int]], dtype: str) -> Weights:
    """Random weights that lie in a file; only the biases are in the model."""

    def weights(i: int, op: Conv | Linear) -> tuple[Stored, np.ndarray]:
        shape = _weight_shape(op)
        n, fan_in = int(np.prod(shape)), int(np.prod(shape[1:]))
        file, offset = stored(dtype, float(np.sqrt(2 / fan_in)), n * np.dtype(dtype).itemsize)
        bias = _normal(0, op.out_ch) * np.float32(0.1)
        return Stored(shape=shape, dtype=dtype, file=file, offset=offset), bias

    return weights


def _normal(rng_seed: int, n: int) -> np.ndarray:
    """(n,) the first normal numbers of a stream."""
    return _stream(rng_seed, 1 << max(20, (n - 1).bit_length()))[:n]


@lru_cache(maxsize=2)
def _stream(rng_seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(rng_seed).standard_normal(n, dtype=np.float32)


def _weight_shape(op: Conv | Linear) -> tuple[int, ...]:
    if isinstance(op, Conv):
        return (op.out_ch, op.in_ch // op.groups, *op.size)
    return (op.out_ch, op.in_ch)


def torch_weights(net: "Net") -> Arrays:
    """The weights of `net` as it computes in evaluation.

    Raises:
        ValueError: a norm that is no batch norm with statistics of its own.
    """

    def array(value: Any) -> np.ndarray:
        return value.detach().cpu().float().numpy()

    def weights(i: int, op: Conv | Linear) -> tuple[np.ndarray, np.ndarray]:
        layer: Any = net.blocks[i].get_submodule(op.name)
        if isinstance(op, Linear):
            return array(layer.linear.weight), array(layer.linear.bias)
        weight, bias = array(layer.conv.weight), None if layer.conv.bias is None else array(layer.conv.bias)
        if layer.norm is None:
            return weight, np.zeros(op.out_ch, np.float32) if bias is None else bias
        factor, offset = _scale_and_shift(layer.norm, f"blocks.{i}.{op.name}.norm", array)
        return weight * factor[:, None, None, None], offset if bias is None else bias * factor + offset

    return weights


def _scale_and_shift(norm: Any, name: str, array: Callable[[Any], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm multiplies each channel by, and then adds, in evaluation.

    The epsilon is the layer's own; a layer without weights of its own (``affine=False``) has 1 and 0.
    """
    if getattr(norm, "running_var", None) is None or getattr(norm, "running_mean", None) is None:
        raise ValueError(
            f"{name} is a {type(norm).__name__} without running statistics, which no convolution can take in; "
            "export networks whose norms are BatchNorm2d with track_running_stats=True"
        )
    factor = 1 / np.sqrt(array(norm.running_var) + np.float32(norm.eps))
    if norm.weight is not None:
        factor *= array(norm.weight)
    offset = -array(norm.running_mean) * factor
    return factor, offset if norm.bias is None else offset + array(norm.bias)
