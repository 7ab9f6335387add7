"""Optimizers, and their state by the names of the weights that it belongs to."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.training.recipe import Recipe

__all__ = ["RMSPropTF", "new_optimizer", "set_state", "state_of"]

_MANY: Any = torch  # has functions of many tensors at once, which type checkers do not know
_EPSILON = {"adamw": 1e-8, "rmsprop": 1e-3}


class RMSPropTF(torch.optim.Optimizer):
    """RMSProp as TensorFlow's ``RMSPropOptimizer`` computes it, with which MnasNet and MobileNetV3 were trained.

    For a gradient g of a weight w, L2 decay included::

        s <- decay * s + (1 - decay) * g^2        s is 1 in the beginning
        m <- momentum * m + lr * g / sqrt(s + epsilon)
        w <- w - m

    ``torch.optim.RMSprop`` differs in three ways: epsilon stands outside of the root, s begins with 0, and the learning
    rate multiplies m, so that a change of it changes steps that are already under way.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float, decay: float = 0.9, momentum: float = 0.9, epsilon: float = 1e-3
    ) -> None:
        defaults = {"lr": lr, "decay": decay, "momentum": momentum, "epsilon": epsilon, "weight_decay": 0.0}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            for p in weights:
                if not self.state[p]:
                    self.state[p] = {"squares": torch.ones_like(p), "momentum": torch.zeros_like(p)}
            squares, momenta = ([self.state[p][name] for p in weights] for name in ("squares", "momentum"))
            gradients = [p.grad for p in weights]
            if group["weight_decay"]:
                gradients = _MANY._foreach_add(gradients, weights, alpha=group["weight_decay"])
            _MANY._foreach_mul_(squares, group["decay"])
            _MANY._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
            roots = _MANY._foreach_add(squares, group["epsilon"])
            _MANY._foreach_sqrt_(roots)
            _MANY._foreach_mul_(momenta, group["momentum"])
            _MANY._foreach_addcdiv_(momenta, gradients, roots, group["lr"])
            _MANY._foreach_sub_(weights, momenta)


def new_optimizer(net: nn.Module, recipe: Recipe, *, lr_on: str | None = None) -> torch.optim.Optimizer:
    """The optimizer of `recipe`; weights of convolutions and linear layers decay, biases and batch norms only where the
    recipe says so.

    Args:
        lr_on: a GPU that keeps the learning rate, in one tensor for all groups, for updates that are CUDA graphs; only
            with adamw.
    """
    decayed = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    decay_of_others = recipe.weight_decay if recipe.decayed == "all" else 0.0
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": decay_of_others},
    ]
    epsilon = recipe.epsilon if recipe.epsilon is not None else _EPSILON.get(recipe.optimizer, 0.0)
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(
                groups, lr=recipe.peak_lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True
            )
        case "rmsprop":
            return RMSPropTF(
                groups,
                lr=recipe.peak_lr,
                decay=recipe.squares_decay,
                momentum=recipe.momentum,
                epsilon=epsilon,
            )
    if lr_on is None:
        return torch.optim.AdamW(groups, lr=recipe.peak_lr, eps=epsilon, fused=True)
    lr = torch.tensor(recipe.peak_lr, device=lr_on)
    groups = [{**group, "lr": lr} for group in groups]
    return torch.optim.AdamW(groups, lr=lr, eps=epsilon, fused=True, capturable=True)


def state_of(optimizer: torch.optim.Optimizer, net: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state: ``what/weight`` to a tensor of the weight's shape, or of none."""
    found: dict[str, Tensor] = {}
    for name, p in net.named_parameters():
        for what, value in optimizer.state.get(p, {}).items():
            if value is not None:
                found[f"{what}/{name}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return found


def set_state(optimizer: torch.optim.Optimizer, net: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Gives `optimizer` the state that `state_of` gave."""
    weights = dict(net.named_parameters())
    for key, value in state.items():
        what, _, name = key.partition("/")
        p = weights[name]
        like = value.shape == p.shape  # in p's memory format, which fused updates take for granted
        optimizer.state[p][what] = torch.empty_like(p).copy_(value) if like else value.to(p.device)
