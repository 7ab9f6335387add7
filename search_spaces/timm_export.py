"""A network as a model of timm: a definition that timm builds, and its weights under timm's names.

What `timm_notation` can write, behind a stem of stride 2, with MobileNetV3's head, which has the last features behind
the pooling, or EfficientNet's, which has them before it. timm rounds expansions to multiples of 8, has one kind of
squeeze-and-excite in a network, and none in plain convolutions; what it cannot build is refused, with the reason.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_runtime.files import write_bytes, write_text
from search_spaces import timm_notation
from search_spaces.arch import Arch, Block, Classifier, ConvBN, Mobile, SepConv
from search_spaces.blocks import MixedMBConv

if TYPE_CHECKING:
    from torch import Tensor

    from search_spaces.torch_net import Net

__all__ = ["export", "weights", "why_not"]

_ACTS = ("relu", "relu6", "hard_swish", "swish")
_DIVISOR = 8  # of expansions, by timm
_STEM_KERNEL = 3
_LARGEST_STRIDE = 32  # of MobileNetV3's class; EfficientNet's takes it as an argument


def why_not(arch: Arch) -> str | None:
    """Why timm cannot build `arch`; None: it can."""
    try:
        _definition(arch)
    except ValueError as e:
        return str(e)
    return None


def export(
    net: "Net",
    folder: str | os.PathLike[str],
    name: str = "best_timm",
    *,
    mean: Sequence[float],
    std: Sequence[float],
    crop: float = 1.0,
) -> None:
    """Writes ``NAME.py``, whose ``build()`` gives `net` as a model of timm, and its weights, ``NAME.safetensors``.

    Args:
        mean, std: of each channel, of pixels in [0, 1]; the model's ``pretrained_cfg`` has them for timm's transforms.
        crop: the share of a picture's shorter side that an evaluation looks at.

    Raises:
        ValueError: timm cannot build it; see `why_not`.
        OSError: a file cannot be written.
    """
    from safetensors.torch import save

    made = _definition(net.arch)
    cfg = {
        "input_size": (net.arch.in_ch, net.arch.resolution_px, net.arch.resolution_px),
        "num_classes": net.arch.classes,
        "mean": tuple(map(float, mean)),
        "std": tuple(map(float, std)),
        "crop_pct": float(crop),
        "interpolation": "bicubic",
    }
    state = {key: value.detach().cpu().contiguous().clone() for key, value in weights(net).items()}
    write_bytes(Path(folder) / f"{name}.safetensors", save(state))
    write_text(Path(folder) / f"{name}.py", made.program(net.arch.name, name, cfg))


def weights(net: "Net") -> dict[str, "Tensor"]:
    """The weights of `net` by timm's names.

    Raises:
        ValueError: timm cannot build it.
    """
    import torch

    state = net.state_dict()
    found: dict[str, list[Tensor]] = {}
    for ours, theirs in _names(net.arch, _definition(net.arch)):
        for key, value in state.items():
            module, _, field = key.rpartition(".")
            if module == ours:
                found.setdefault(f"{theirs}.{field}", []).append(value)
    named: dict[str, Tensor] = {}
    for key, (first, *others) in found.items():
        place, _, groups = key.removesuffix(".weight").partition("/")
        if groups:  # timm's grouped convolutions are several, side by side
            named |= {f"{place}.{i}.weight": part for i, part in enumerate(first.chunk(int(groups)))}
        elif key == "conv_head.weight":
            named[key] = first.reshape(*first.shape[:2], 1, 1)  # MobileNetV3's is linear here
        else:
            named[key] = torch.cat([first, *others]) if others and first.ndim else first
    return named


@dataclass(frozen=True, kw_only=True)
class _Definition:
    """What timm builds a network from.

    Attributes:
        kind: timm's class.
        head: whether the last block of `body` is the class's own head.
        lines: of the stages, as `timm_notation` writes them.
        settings: of the class, as Python.
    """

    kind: str
    stem: ConvBN
    body: tuple[Block, ...]
    head: bool
    lines: tuple[str, ...]
    settings: Mapping[str, str]

    def program(self, called: str, name: str, cfg: Mapping[str, Any]) -> str:
        """The definition as a Python file. What comes from elsewhere, as `called` does, is in it as literals only."""
        module = {"EfficientNet": "efficientnet", "MobileNetV3": "mobilenetv3"}[self.kind]
        stages = "".join(f"    [{line!r}],\n" for line in self.lines)
        settings = "".join(f"        {key}={value},\n" for key, value in self.settings.items())
        changes = ""
        if self.stem.kernel != _STEM_KERNEL:
            shape = f"{self.stem.in_ch}, {self.stem.out_ch}, {self.stem.kernel}"
            changes = f"    net.conv_stem = create_conv2d({shape}, stride=2, padding={self.settings['pad_type']})\n"
        return _PROGRAM.format(
            called=ascii(called),
            name=name,
            weights=ascii(f"{name}.safetensors"),
            kind=self.kind,
            module=module,
            stages=stages,
            settings=settings,
            changes=changes,
            cfg=dict(cfg),
        )


_PROGRAM = '''"""A network for timm: ``from {name} import build; net = build()``."""

from functools import partial
from pathlib import Path

from safetensors.torch import load_file
from timm.layers import create_conv2d, get_act_layer
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.{module} import {kind}
from torch import nn

NAME = {called}
STAGES = [
{stages}]
CONFIG = {cfg}


def build(weights=True):
    """The network, in evaluation mode, with its weights, which lie beside this file."""
    net = {kind}(
        block_args=decode_arch_def(STAGES),
{settings}    )
{changes}    net.pretrained_cfg = net.default_cfg = CONFIG
    if weights:
        net.load_state_dict(load_file(Path(__file__).with_name({weights})))
    return net.eval()
'''


def _definition(arch: Arch) -> _Definition:
    """How timm builds `arch`.

    Raises:
        ValueError: it cannot.
    """
    stem, *body, last = arch.blocks
    if not isinstance(stem, ConvBN) or (stem.stride, stem.se_ch, stem.skip, stem.dilation) != (2, 0, "none", 1):
        raise ValueError("timm's models begin with a plain convolution of stride 2")
    if not isinstance(last, Classifier):
        raise ValueError(f"timm's models end with a linear classifier, not with a {type(last).__name__}")
    efficient = not last.hidden_ch
    head = efficient and any(
        replace(b, in_ch=1, out_ch=1) == _head(stem.act) for b in body[-1:] if isinstance(b, ConvBN)
    )
    _check(stem, body, last)
    inner = body[:-1] if head else body
    if not inner:
        raise ValueError("timm's models have blocks between stem and classifier")
    stride = 2
    for block in inner:
        stride *= getattr(block, "stride", 1)
    if stride > _LARGEST_STRIDE and not efficient:
        raise ValueError(f"timm's MobileNetV3 makes images smaller by {_LARGEST_STRIDE} at most, not by {stride}")
    lines = timm_notation.write(replace(arch, blocks=tuple(inner)), se_of="input" if efficient else "gated")
    settings = {
        "num_classes": str(arch.classes),
        "num_features": str(last.hidden_ch or (body[-1].out_ch if head else 0)),
        "in_chans": str(arch.in_ch),
        "stem_size": str(stem.out_ch),
        "fix_stem": "True",
        "pad_type": '"same"' if arch.padding == "tensorflow" else '""',
        "act_layer": f"get_act_layer({stem.act!r})",
        "norm_layer": f"partial(nn.BatchNorm2d, eps={arch.norm_eps!r}, momentum={arch.norm_momentum!r})",
        "se_layer": _squeeze(inner),
        "round_chs_fn": "int",
        "drop_rate": repr(last.dropout),
    }
    if stride > _LARGEST_STRIDE:
        settings["output_stride"] = str(stride)
    kind = "EfficientNet" if efficient else "MobileNetV3"
    return _Definition(kind=kind, stem=stem, body=tuple(body), head=head, lines=tuple(lines), settings=settings)


def _head(act: str) -> ConvBN:
    """EfficientNet's last features, but for their channels."""
    return ConvBN(in_ch=1, out_ch=1, kernel=1, act=act)


def _check(stem: ConvBN, body: Sequence[Block], last: Classifier) -> None:
    """Refuses what timm's blocks do not have."""
    for block in body:
        if not isinstance(block, Mobile | MixedMBConv):
            raise ValueError(f"timm's builder has no {type(block).__name__}")
    for act in [stem.act, *(getattr(block, "act", "none") for block in body)]:
        if act not in _ACTS:
            raise ValueError(f"timm's notation of blocks has no activation {act!r}; it has {', '.join(_ACTS)}")
    if last.hidden_ch and last.act != stem.act:
        raise ValueError(f"timm's MobileNetV3 has one activation in stem and head, not {stem.act} and {last.act}")
    for block in body:
        if isinstance(block, ConvBN) and block.se_ch:
            raise ValueError("timm's plain convolutions have no squeeze-and-excite")
        if getattr(block, "skip", "none") == "pool":
            raise ValueError("timm has no pooled shortcut")
        if getattr(block, "stride", 1) > 2:
            raise ValueError(f"timm's blocks have strides 1 and 2, not {getattr(block, 'stride', 1)}")
        if getattr(block, "mid_ch", 0) % _DIVISOR:
            raise ValueError(
                f"timm rounds expansions to multiples of {_DIVISOR}; a block has {getattr(block, 'mid_ch', 0)} channels"
            )


def _squeeze(body: Sequence[Block]) -> str:
    """timm's squeeze-and-excite for `body`, as Python."""
    gated: list[Any] = [block for block in body if getattr(block, "se_ch", 0)]
    gates = {block.se_gate for block in gated} or {"sigmoid"}
    acts = {block.se_act for block in gated}
    own = all(block.se_act == block.act for block in gated)
    if len(gates) > 1 or (len(acts) > 1 and not own):
        raise ValueError("timm's models have one kind of squeeze-and-excite")
    force = "" if own else f", force_act_layer=get_act_layer({acts.pop()!r})"
    return f"partial(SqueezeExcite, gate_layer={gates.pop()!r}{force})"


def _names(arch: Arch, definition: _Definition) -> Iterator[tuple[str, str]]:
    """Names of modules here and in timm, in order."""
    last = len(arch.blocks) - 1
    yield from (("blocks.0.conv.conv", "conv_stem"), ("blocks.0.conv.norm", "bn1"))
    places = _places(definition.lines)
    for i, block in enumerate(definition.body, 1):
        if definition.head and i == last - 1:
            yield from ((f"blocks.{i}.conv.conv", "conv_head"), (f"blocks.{i}.conv.norm", "bn2"))
            continue
        stage, place = next(places)
        yield from _names_in(block, f"blocks.{i}", f"blocks.{stage}.{place}")
    if definition.kind == "MobileNetV3":
        yield f"blocks.{last}.hidden.linear", "conv_head"
    yield f"blocks.{last}.linear.linear", "classifier"


def _places(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Stage and place in it of each block: a line is a stage."""
    for stage, line in enumerate(lines):
        repeats = next(token for token in line.split("_") if token.startswith("r"))
        yield from ((stage, place) for place in range(int(repeats[1:])))


def _names_in(block: Block, ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Names of the modules of a block."""
    if isinstance(block, ConvBN):
        convs = [("conv", "conv", "bn1")]
    elif isinstance(block, SepConv):
        convs = [("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2")]
    else:
        convs = [("expand", "conv_pw", "bn1"), ("depthwise", "conv_dw", "bn2"), ("project", "conv_pwl", "bn3")]
    for op, conv, norm in convs:
        if isinstance(block, MixedMBConv):
            groups = {"expand": block.expand_groups, "project": block.project_groups}.get(op, 1)
            conv += f"/{groups}" if groups > 1 else ""
        if isinstance(block, MixedMBConv) and op == "depthwise" and len(block.kernels) > 1:
            yield from ((f"{ours}.depthwise{i}.conv", f"{theirs}.{conv}.{i}") for i in range(len(block.kernels)))
            yield from ((f"{ours}.depthwise{i}.norm", f"{theirs}.{norm}") for i in range(len(block.kernels)))
        else:
            yield from ((f"{ours}.{op}.conv", f"{theirs}.{conv}"), (f"{ours}.{op}.norm", f"{theirs}.{norm}"))
    if getattr(block, "se_ch", 0):
        yield f"{ours}.se_reduce.conv", f"{theirs}.se.conv_reduce"
        yield f"{ours}.se_expand.conv", f"{theirs}.se.conv_expand"
