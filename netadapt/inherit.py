"""Weights for a narrower network, taken from the wider one that it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netadapt.blocks import aligned
from netadapt.channels import Layer, layer_groups, layers, makes_channels
from netadapt.importance import by_weights
from netadapt.weights import BY_IMAGES, INHERIT
from search_spaces import torch_net
from search_spaces.arch import Arch, Mobile
from search_spaces.ops import Conv

__all__ = ["inherit"]


def inherit(
    parent: Arch, child: Arch, weights: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]] = (), *,
    by: str = "l2", importance: Mapping[Layer, Tensor] | None = None, rng_seed: int = 0,
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:  # fmt: skip
    """The weights of `child`: those of `parent` without the channels, blocks and rims of kernels that it does not have
    (see `netadapt.blocks.aligned`).

    Everything follows: depthwise kernels, batch norm and its statistics, squeeze-and-excite. Where the child has more
    channels than the parent, the new ones are initialised at random, as in a new network.

    Args:
        parent, child: networks of the same blocks, or with fewer in the child, of different widths.
        weights: of the parent, as `torch_net.Net.state_dict`.
        others: what goes with the parent's parameters by name, like an optimizer's moments; new ones are zero.
        by: which channels stay, in their order: those that matter most, over all layers that write them (see
            `netadapt.importance`; by default those with the largest filters); ``truncate``: the first ones.
        importance: of each layer's channels, where `by` goes by images; None: by the parent's weights.

    Returns:
        the child's weights, and its `others`.

    Raises:
        ValueError: the networks do not have the same blocks, `weights` do not fit `parent`, or there is no importance.
    """
    if by not in INHERIT:
        raise ValueError(f"weights cannot be inherited by {by!r}; allowed: {', '.join(INHERIT)}")
    if parent.norm_eps != child.norm_eps:
        raise ValueError(
            f"networks {parent.name!r} and {child.name!r} have batch norms of other epsilons: {parent.norm_eps:g} and "
            f"{child.norm_eps:g}; give the child its parent's norm_eps"
        )
    torch_net.check_weights(parent, weights)
    places = aligned(parent, child)
    parent, renamed = _of_the_childs_blocks(parent, child, places)
    weights, *others = (_renamed(values, renamed, parent) for values in (weights, *others))
    if importance is not None:
        importance = {(i, name): value for (j, name), value in importance.items() for i in _where(places, j)}
    ends = layer_groups(parent)
    if ends != layer_groups(child):
        raise ValueError(f"networks {parent.name!r} and {child.name!r} do not have the same blocks")
    if by == "truncate":
        importance = None
    elif by not in BY_IMAGES:
        importance = by_weights(parent, weights, by)
    elif importance is None:
        raise ValueError(f"by={by} goes by images: give importance=netadapt.importance.by_images(...)")
    kept = _kept(parent, child, ends, importance)
    new = torch_net.build(child, generator=torch.Generator().manual_seed(rng_seed)).state_dict()
    depthwise = {layer for layer, op in layers(parent).items() if not makes_channels(op)}
    inherited = {name: _narrowed(name, weights[name], value, ends, kept, depthwise) for name, value in new.items()}
    follow = [
        {
            name: _narrowed(name, value, torch.zeros_like(new[name]), ends, kept, depthwise)
            for name, value in other.items()
        }
        for other in others
    ]
    return inherited, follow


def _of_the_childs_blocks(parent: Arch, child: Arch, places: Sequence[int]) -> tuple[Arch, dict[int, int]]:
    """The parent with only the blocks at `places`, and with the child's kernels; and where its blocks were."""
    blocks = [parent.blocks[place] for place in places]
    blocks = [
        replace(block, kernel=other.kernel) if isinstance(block, Mobile) and isinstance(other, Mobile) else block
        for block, other in zip(blocks, child.blocks, strict=True)
    ]
    return replace(parent, blocks=tuple(blocks)), {place: i for i, place in enumerate(places)}


def _where(places: Sequence[int], place: int) -> list[int]:
    return [i for i, other in enumerate(places) if other == place]


def _renamed(values: Mapping[str, Tensor], renamed: Mapping[int, int], parent: Arch) -> dict[str, Tensor]:
    """What `values` have of blocks that stay, under their new numbers; of kernels that are smaller the middle."""
    its = layers(parent)
    found = {}
    for name, value in values.items():
        start, number, op, *rest = name.split(".")
        if int(number) not in renamed:
            continue
        i = renamed[int(number)]
        conv = its.get((i, op))
        if value.ndim == 4 and isinstance(conv, Conv):
            down, right = ((have - want) // 2 for have, want in zip(value.shape[2:], conv.size, strict=True))
            value = value[:, :, down : value.shape[2] - down, right : value.shape[3] - right]
        found[".".join((start, str(i), op, *rest))] = value
    return found


def _kept(
    parent: Arch, child: Arch, ends: Mapping[Layer, tuple[Layer, Layer]], importance: Mapping[Layer, Tensor] | None
) -> dict[Layer, Tensor]:
    """For each group of channels (its representative) the places in the parent of the child's channels: the most
    important ones; without importances the first."""
    scores: dict[Layer, Tensor] = {}
    channels = {ends[layer][1]: op.out_ch for layer, op in layers(parent).items() if makes_channels(op)}
    wanted: dict[Layer, int] = {}
    for (i, name), op in layers(child).items():
        read, write = ends[i, name]
        wanted[read], wanted[write] = op.in_ch, op.out_ch
        if not makes_channels(op) or name == "se_expand":
            continue  # they keep channels that others make
        if importance is not None:
            scores[write] = scores.get(write, 0) + importance[i, name]
    kept = {}
    for group, n in wanted.items():
        if group not in channels:  # the image
            kept[group] = torch.arange(n)
        elif group not in scores or n >= channels[group]:
            kept[group] = torch.arange(min(n, channels[group]))
        else:
            order = torch.argsort(scores[group], descending=True, stable=True)
            kept[group] = order[:n].sort().values
    return kept


def _narrowed(
    name: str,
    value: Tensor,
    new: Tensor,
    ends: Mapping[Layer, tuple[Layer, Layer]],
    kept: Mapping[Layer, Tensor],
    depthwise: set[Layer],
) -> Tensor:
    """`new` with what stays of the parent's tensor `value`: rows are written channels, columns are read ones."""
    if value.ndim == 0:
        return value.clone()
    _, number, op, *_ = name.split(".")
    layer = (int(number), op)
    read, write = ends[layer]
    rows = kept[write]
    picked = value.index_select(0, rows)
    new = new.clone()
    if value.ndim == 1 or layer in depthwise:  # a depthwise kernel has one column, which is no channel
        new[: len(rows)] = picked
    else:
        columns = kept[read]
        new[: len(rows), : len(columns)] = picked.index_select(1, columns)
    return new
