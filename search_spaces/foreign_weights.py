"""Weights that others trained, for networks here: mapped by the order and the shapes of layers, not by their names.

timm, torchvision, lukemelas's efficientnet-pytorch and libraries like them name the same layers differently, but have
them in the same order: convolutions and linear layers one after the other, and batch norms likewise. A safetensors file
forgets the order; it comes back from the names (`_place`), where they are like those of a library that is known. How
such weights have to be run is said by `search_spaces.namings`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas_runtime.console import counted
from search_spaces import rewrite, text, torch_net, zoo
from search_spaces.arch import Arch
from search_spaces.checkpoints import Checkpoint
from search_spaces.namings import Source, source_of
from search_spaces.ops import Conv, Linear

__all__ = ["Fitted", "fit"]

_STATISTICS = ("weight", "bias", "running_mean", "running_var")
_AUXILIARY = re.compile(r"(aux\d?|AuxLogits)\.")  # other classifiers, which only trainings of GoogLeNet have
_OF_TRAININGS = {"stride", "dropout", "size_px"}  # fields of blocks that go by the images, and by the training
_MIXED = re.compile(r"(.+\.conv_pwl?)\.(\d+)")  # timm's grouped convolutions are several, side by side
_WIDTHS = (1.0, 0.75, 0.5, 0.35, 1.25, 1.3, 1.4)  # that weights were published for

# where a module stands among others of its parent, where that is not the order of the alphabet and of numbers
_AT_TOP = {"conv_stem": -1, "_conv_stem": -1, "stem": -1, "bn1": -1, "_bn0": -1, "conv5": 1}
_AT_TOP |= {"classifier": 2, "_fc": 2, "fc": 2, "head": 2}
_INSIDE = {"squeeze": -1, "conv_exp": 1, "_expand_conv": 1, "conv_dw": 2, "_depthwise_conv": 2, "se": 3}
_INSIDE |= {"se_module": 3, "_se_reduce": 3, "_se_expand": 4, "conv_expand": 1, "conv_pwl": 5, "_project_conv": 5}
_INSIDE |= {"downsample": 6}


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Weights of a file as those of a network here.

    Attributes:
        arch: the network, with the batch norms, the padding and the classes of the weights.
        weights: of ``torch_net.Net(arch)``; without a last layer where the file has none.
        source: how they have to be run, besides; None: they are this project's own.
        resolution_px: of their training; None: not known.
    """

    arch: Arch
    weights: Mapping[str, Tensor]
    source: Source | None
    resolution_px: int | None


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A layer of the file: a convolution, a linear layer or a norm."""

    name: str
    tensors: Mapping[str, Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensors["weight"].shape)

    @property
    def norm(self) -> bool:
        return "running_var" in self.tensors


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A layer of the network here; a norm may be that of several convolutions side by side.

    Attributes:
        names: of the modules.
        shape: of the weight, of all of them together.
        bias: whether there is one besides the weight.
        sizes: channels of each norm.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    norm: bool = False
    bias: bool = True
    sizes: tuple[int, ...] = ()


class _MismatchError(ValueError):
    """Weights of another network; `after`: so many layers fit."""

    def __init__(self, message: str, after: int) -> None:
        super().__init__(message)
        self.after = after


def fit(checkpoint: Checkpoint, arch: Arch) -> Fitted:
    """The weights of `checkpoint` for `arch`, of any number of classes.

    Raises:
        ValueError: they are of another network; names the first layer that does not fit, here and there, and the
            network of the zoo that the weights are of, if there is one.
    """
    slots = _slots(arch)
    if "arch" in checkpoint.about or f"{slots[0].names[0]}.weight" in checkpoint.tensors:
        return _own(checkpoint, arch)
    layers = _layers(checkpoint)
    start = _common_start(layers)
    plain = [layer.name[start:] for layer in layers]
    source = source_of((f"{name}." for name in plain), checkpoint.called, checkpoint.card)
    by_name = [layer for _, layer in sorted(zip(plain, layers, strict=True), key=lambda it: _place(it[0], plain))]
    orders = _orders(checkpoint, layers, by_name, known=source.known or all(map(_is_numbered, plain)))
    if convolutions := [layer for layer in orders[-1] if not layer.norm]:
        _check_channels(checkpoint, convolutions[0], slots[0])
    wrong: list[_MismatchError] = []
    for order in orders:
        try:
            weights, classes = _matched(slots, order)
        except _MismatchError as e:
            wrong.append(e)
        else:
            fitted = source.applied(rewrite.classes(arch, classes or arch.classes))
            return Fitted(arch=fitted, weights=weights, source=source, resolution_px=source.resolution_px)
    which = _network_of(by_name, slots) or _network_of(layers, slots)
    advice = f"they are of {which}" if which else "give the weights of this network, or the network of these weights"
    raise ValueError(f"{checkpoint.path} does not fit network {arch.name!r}: {max(wrong, key=_after)}; {advice}")


def _orders(
    checkpoint: Checkpoint, layers: list[_Layer], by_name: list[_Layer], *, known: bool
) -> tuple[list[_Layer], ...]:
    """The orders in which the layers may be computed, the likeliest first.

    Args:
        known: whether names tell the order.

    Raises:
        ValueError: nothing tells it: layers of equal shapes could change places, and nobody would notice.
    """
    if not checkpoint.in_order and not known:
        raise ValueError(
            f"{checkpoint.path}: its layers are named as no library does that is known here, and a safetensors file "
            "does not keep their order; give a .pth file, of torch.save(model.state_dict(), ...), which does"
        )
    return (*([layers] if checkpoint.in_order else []), *([by_name] if known else []))


def _is_numbered(name: str) -> bool:
    """Whether a module's name has numbers only, as in ``nn.Sequential``, which count its place."""
    return all(part.isdecimal() for part in name.split("."))


def _check_channels(checkpoint: Checkpoint, first: _Layer, slot: _Slot) -> None:
    theirs, ours = first.shape, slot.shape
    if len(theirs) == 4 and theirs != ours and (theirs[0], *theirs[2:]) == (ours[0], *ours[2:]):
        these = counted(theirs[1], "channel")
        raise ValueError(
            f"{checkpoint.path}: {first.name} is for images of {these}, and the network is for {ours[1]}; give images "
            f"of {these}"
        )


def _after(mismatch: _MismatchError) -> int:
    return mismatch.after


def _own(checkpoint: Checkpoint, arch: Arch) -> Fitted:
    """Weights as `torch_net` names them."""
    weights, px, other = dict(checkpoint.tensors), None, None
    slots = _slots(arch)
    first = f"{slots[0].names[0]}.weight"
    if first in weights:
        _check_channels(checkpoint, _Layer(name=first, tensors={"weight": weights[first]}), slots[0])
    for slot in slots:
        weights |= {f"{name}.num_batches_tracked": torch.tensor(0) for name in slot.names if slot.norm}
    try:
        if "arch" in checkpoint.about:
            its = text.from_json(checkpoint.about["arch"])
            other = text.difference(its, arch, but=_OF_TRAININGS)
            arch = replace(arch, norm_eps=its.norm_eps, norm_momentum=its.norm_momentum, padding=its.padding)
            px = its.resolution_px
        last = weights.get(torch_net.last_layer(arch)[0])
        arch = rewrite.classes(arch, arch.classes if last is None else len(last))
        torch_net.check_weights(arch, weights)
    except ValueError as e:
        raise ValueError(f"{checkpoint.path}: {e}") from None
    if other:
        raise ValueError(
            f"{checkpoint.path} is of another network than {arch.name!r}: {other}; give network={checkpoint.path}"
        )
    return Fitted(arch=arch, weights=weights, source=None, resolution_px=px)


def _slots(arch: Arch) -> list[_Slot]:
    """The layers of `arch`, in order."""
    slots: list[_Slot] = []
    for i, block in enumerate(arch.blocks):
        for op in block.ops():
            module = f"blocks.{i}.{op.name}"
            if isinstance(op, Linear):
                slots.append(_Slot(names=(f"{module}.linear",), shape=(op.out_ch, op.in_ch)))
            elif isinstance(op, Conv):
                shape = (op.out_ch, op.in_ch // op.groups, *op.size)
                slots.append(_Slot(names=(f"{module}.conv",), shape=shape, bias=op.bias or not op.norm))
                if op.norm:
                    slots.append(_Slot(names=(f"{module}.norm",), shape=(op.out_ch,), norm=True, sizes=(op.out_ch,)))
    return _with_joint_norms(slots)


def _with_joint_norms(slots: list[_Slot]) -> list[_Slot]:
    """`slots` with one norm for the depthwise convolutions of several kernels (MixNet), as others have it."""
    joint: list[_Slot] = []
    for slot in slots:
        if slot.norm and (found := re.fullmatch(r"(blocks\.\d+\.depthwise)[1-9]\d*\.norm", slot.names[0])):
            first = next(i for i, other in enumerate(joint) if other.names[0] == f"{found[1]}0.norm")
            names, sizes = joint[first].names + slot.names, joint[first].sizes + slot.sizes
            joint[first] = _Slot(names=names, shape=(sum(sizes),), norm=True, sizes=sizes)
        else:
            joint.append(slot)
    return joint


def _layers(checkpoint: Checkpoint) -> list[_Layer]:
    """The layers in a file, in its order.

    Raises:
        ValueError: a layer of a kind that networks here do not have.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in checkpoint.tensors.items():
        if not _AUXILIARY.search(name):
            module, _, field = name.rpartition(".")
            parts.setdefault(module, {})[field] = value
    pieces: dict[str, dict[int, dict[str, Tensor]]] = {}
    for module, tensors in parts.items():
        weight = tensors.get("weight")
        norm = "running_var" in tensors
        known = weight is not None and (weight.ndim in (2, 4) or norm) and tensors.keys() <= set(_STATISTICS)
        if not known or (norm and len(tensors) < len(_STATISTICS)):
            shapes = ", ".join(f"{field} {tuple(value.shape)}" for field, value in tensors.items())
            raise ValueError(
                f"{checkpoint.path}: {module or 'a layer without a name'} ({shapes}) is no convolution, linear layer "
                "or batch norm; networks here have no others"
            )
        mixed = _MIXED.fullmatch(module)
        pieces.setdefault(mixed[1] if mixed else module, {})[int(mixed[2]) if mixed else 0] = tensors
    return [
        _Layer(name=name, tensors={field: torch.cat([its[i][field] for i in sorted(its)]) for field in its[min(its)]})
        for name, its in pieces.items()
    ]


def _common_start(layers: Sequence[_Layer]) -> int:
    """The length of what all names begin with, as ``module.``: whole words that say nothing of a layer's place."""
    words = [layer.name.split(".")[:-1] for layer in layers]
    shared = 0
    while all(len(one) > shared and one[shared] == words[0][shared] for one in words):
        shared += 1
    return sum(len(word) + 1 for word in words[0][:shared])


def _place(name: str, names: Sequence[str]) -> list[tuple[int, list[int | str]]]:
    """What sorts the module `name` where it is computed.

    Args:
        names: of all modules.
    """
    parts = name.split(".")
    place = []
    for depth, part in enumerate(parts):
        rank = (_INSIDE if depth else _AT_TOP).get(part, 0)
        if part == "conv_pw":  # the expansion where there is a linear one behind it, else the last of its block
            rank = 1 if ".".join([*parts[:depth], "conv_pwl"]) in names else 5
        pieces = re.split(r"(\d+)", part)
        place.append((rank, [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)]))
    return place


def _matched(slots: Sequence[_Slot], layers: Sequence[_Layer]) -> tuple[dict[str, Tensor], int | None]:
    """The weights of `layers` by the names of `slots`, and of how many classes they are; None: of none.

    Raises:
        _MismatchError: a layer does not fit.
    """
    weights: dict[str, Tensor] = {}
    classes = None
    head = next(slot for slot in reversed(slots) if not slot.norm)
    for norm in (False, True):
        ours = [slot for slot in slots if slot.norm == norm]
        theirs = [layer for layer in layers if layer.norm == norm]
        for i, slot in enumerate(ours[: len(theirs)]):
            shape = slot.shape
            if slot is head:
                classes = theirs[i].shape[0]
                shape = (classes, *shape[1:])
            _check(slot, shape, theirs[i], i)
            weights |= _as_slot(slot, shape, theirs[i])
        if len(theirs) < len(ours) and ours[len(theirs)] is not head:
            missing = ours[len(theirs)]
            raise _MismatchError(f"it has nothing for {missing.names[0]} {missing.shape}", len(theirs))
        if len(theirs) > len(ours):
            more = theirs[len(ours)]
            raise _MismatchError(f"it has {more.name} {more.shape} besides, which the network lacks", len(ours))
    return weights, classes


def _check(slot: _Slot, shape: tuple[int, ...], layer: _Layer, i: int) -> None:
    """Refuses a layer of another shape; a linear layer and a convolution of one position are the same."""
    if _flat(layer.shape) != _flat(shape):
        raise _MismatchError(f"its {layer.name} is {layer.shape}, where {slot.names[0]} is {shape}", i)
    if "bias" in layer.tensors and not slot.bias:
        raise _MismatchError(f"its {layer.name} has a bias, where {slot.names[0]} has none", i)


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _as_slot(slot: _Slot, shape: tuple[int, ...], layer: _Layer) -> dict[str, Tensor]:
    """The tensors of a layer by their names here."""
    if slot.norm:
        parts = {field: layer.tensors[field].split(slot.sizes) for field in _STATISTICS}
        named = {f"{name}.{field}": parts[field][i] for i, name in enumerate(slot.names) for field in _STATISTICS}
        return named | {f"{name}.num_batches_tracked": torch.tensor(0) for name in slot.names}
    (name,) = slot.names
    made = {f"{name}.weight": layer.tensors["weight"].reshape(shape)}
    if slot.bias:
        made[f"{name}.bias"] = layer.tensors.get("bias", torch.zeros(shape[0]))
    return made


def _network_of(layers: Sequence[_Layer], but: Sequence[_Slot]) -> str | None:
    """The network of the zoo whose layers these are, with its width, other than that of `but`; None: of none."""
    theirs = [_flat(layer.shape) for layer in layers if not layer.norm]
    no = [_flat(slot.shape) for slot in but if not slot.norm][:-1]
    for width in _WIDTHS:
        for name in zoo.names():
            try:
                ours = [_flat(slot.shape) for slot in _slots(zoo.get(name, width=width)) if not slot.norm]
            except ValueError:  # a width that it does not have
                continue
            if ours[:-1] == theirs[: len(ours) - 1] and len(theirs) <= len(ours) and ours[:-1] != no:
                return name if width == 1 else f"{name} with width={width:g}"
    return None
