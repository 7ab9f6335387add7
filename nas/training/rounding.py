"""Networks that are rounded as 8-bit integers round them, while they learn: quantisation-aware training.

Jacob et al., 2017 (arXiv:1712.05877), in the form of `nas.delivery.quantize`: weights symmetrically by output
channel, to -127 to 127; inputs of convolutions and linear layers to 0 to 255, between the least and the largest value
of a batch. Gradients pass as if nothing were rounded, but where a value is cut off.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.torch_ops import ConvAct

__all__ = ["round_as_integers", "rounded_inputs", "rounded_weights"]


def round_as_integers(net: nn.Module) -> None:
    """Makes all convolutions and linear layers of a `search_spaces.torch_net.Net` compute with rounded inputs and
    weights, in place. Its weights keep their names, and stay as fine as they are."""
    for module in net.modules():
        if type(module) in _ROUNDED:
            module.__class__ = _ROUNDED[type(module)]


def rounded_weights(weight: Tensor) -> Tensor:
    """Of a layer (out, ...), each output channel by its largest value."""
    largest = weight.detach().flatten(1).abs().amax(1).clamp(min=torch.finfo(weight.dtype).tiny * 127)
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, largest / 127, zeros, 0, -127, 127)


def rounded_inputs(x: Tensor) -> Tensor:
    """Of a layer; 0 stays 0."""
    least, most = torch.aminmax(x.detach())
    least, most = least.clamp(max=0), most.clamp(min=0)
    scale = ((most - least) / 255).clamp(min=torch.finfo(x.dtype).tiny)
    zero = (-least / scale).round().clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


class _RoundedConvAct(ConvAct):
    def weights(self) -> Tensor:
        return rounded_weights(super().weights())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(rounded_inputs(x))


class _RoundedLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(rounded_inputs(input), rounded_weights(self.weight), self.bias)


_ROUNDED: dict[type[nn.Module], type[nn.Module]] = {ConvAct: _RoundedConvAct, nn.Linear: _RoundedLinear}
