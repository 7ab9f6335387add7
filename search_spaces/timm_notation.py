"""Blocks in the notation of timm's EfficientNet builders, like ``ir_r3_k5_s2_e3_c40_se0.25_nre``.

========  ==========================================================================================================
``cn``    convolution; ``ds`` depthwise-separable, ``ir`` inverted residual
``r3``    three times: the first with the stride, the others with stride 1
``k5``    kernel; ``k3.5.7`` several, each on its share of the channels (MixNet)
``a1.1``  groups of the expansion, here two; ``p1.1`` of the projection
``s2``    stride
``e3``    expansion, times the input channels
``c40``   output channels
``se..``  squeeze-and-excite as a share of channels; timm's builders differ in which, so that `read` has to be told
``nre``   activation: ``re`` ReLU, ``r6`` ReLU6, ``hs`` h-swish, ``sw`` swish
========  ==========================================================================================================

A block has an identity shortcut where its shapes allow one, unless ``noskip`` follows; a convolution has none, unless
``skip`` follows. ``pool`` is MnasNet's pooled shortcut, which timm does not know, and neither ``skip``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, Mobile, SepConv
from search_spaces.blocks import MixedMBConv

__all__ = ["read", "write"]

_KINDS: dict[type, str] = {ConvBN: "cn", SepConv: "ds", MBConv: "ir", MixedMBConv: "ir"}
_ACTS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "swish": "sw", "none": "id", "sigmoid": "sg"}
_TOKEN = re.compile(r"(?P<name>se|[a-z])(?P<value>\d[\d.]*)|n(?P<act>re|r6|hs|sw|id|sg)|(?P<skip>noskip|skip|pool)")
SHARES = ("gated", "input")


@dataclass
class _Group:
    """Equal blocks: all but the stride and the shortcut, and how they are written.

    `decided`: whether `skip` says something of a block already. It says nothing of a first block that cannot have one.
    """

    settings: str
    stride: int
    skip: str
    decided: bool
    repeats: int = 1


def write(arch: Arch) -> list[str]:
    """The blocks of `arch`, without the classifier, as timm does; ``se`` is a share of the *gated* channels.

    Raises:
        ValueError: a kind of block, or an activation, that the notation does not have.
    """
    groups: list[tuple[str, _Group]] = []
    for block in arch.blocks:
        if isinstance(block, Classifier):
            continue
        if not isinstance(block, Mobile | MixedMBConv) or (isinstance(block, MixedMBConv) and block.shuffle):
            raise ValueError(f"timm's notation has no {type(block).__name__} like block {arch.blocks.index(block)}")
        if block.dilation > 1 if isinstance(block, Mobile) else False:
            raise ValueError("timm's notation has no dilation")
        if isinstance(block, SepConv) and block.out_act != "none":
            raise ValueError("timm's notation has no activation after a projection")
        kind, settings, skip = _KINDS[type(block)], _settings(block), _skip(block)
        if groups and block.stride == 1:
            before_kind, group = groups[-1]
            same = (before_kind, group.settings) == (kind, settings)
            if same and (skip == group.skip if group.decided else skip != "pool"):
                group.skip, group.decided = skip, True
                group.repeats += 1
                continue
        decided = skip != "" or (block.stride == 1 and block.in_ch == block.out_ch)
        groups.append((kind, _Group(settings=settings, stride=block.stride, skip=skip, decided=decided)))
    lines = []
    for kind, group in groups:
        kernel, *others = group.settings.split("_")
        tokens = [kind, f"r{group.repeats}", kernel, f"s{group.stride}", *others, *filter(None, [group.skip])]
        lines.append("_".join(tokens))
    return lines


def read(
    lines: Iterable[str],
    *,
    in_ch: int,
    act: str = "relu",
    se_of: str = "input",
    se_act: str = "relu",
    se_gate: str = "sigmoid",
) -> tuple[Block, ...]:
    """The blocks of `lines`, as `write` or timm's model definitions have them.

    Args:
        in_ch: channels that the first block reads.
        act: activation of lines without ``n``.
        se_of: what ``se`` is a share of: the block's ``input`` (timm's MnasNet, EfficientNet, MixNet) or the ``gated``
            channels (`write`; timm's MobileNetV3, which also rounds to multiples of 8).
        se_act, se_gate: see `arch.ConvBN`.

    Raises:
        ValueError: a line that is not in this notation; the message says which part.
    """
    if se_of not in SHARES:
        raise ValueError(f"se_of={se_of!r}; allowed: {', '.join(SHARES)}")
    blocks: list[Block] = []
    for line in lines:
        kind, values = _parsed(line)
        for i in range(int(values.get("r", 1))):
            read_ch = blocks[-1].out_ch if blocks else in_ch
            stride = int(values.get("s", 1)) if i == 0 else 1
            made: dict[str, Any] = {"act": values.get("act", act), "se_act": se_act, "se_gate": se_gate}
            blocks.append(_block(kind, values, read_ch, stride, made, se_of))
    return tuple(blocks)


def _settings(block: ConvBN | SepConv | MBConv | MixedMBConv) -> str:
    kernels = block.kernels if isinstance(block, MixedMBConv) else (block.kernel,)
    line = "k" + ".".join(map(str, kernels))
    if isinstance(block, MixedMBConv):
        for letter, n in (("a", block.expand_groups), ("p", block.project_groups)):
            line += f"_{letter}" + ".".join("1" * n) if n > 1 else ""
    line += f"_e{block.mid_ch / block.in_ch:.6g}" if isinstance(block, MBConv | MixedMBConv) else ""
    line += f"_c{block.out_ch}" + (f"_se{block.se_ch / block.gated_ch:.6g}" if block.se_ch else "")
    if block.act not in _ACTS:
        raise ValueError(f"timm's notation has no activation {block.act!r}")
    return f"{line}_n{_ACTS[block.act]}"


def _skip(block: ConvBN | SepConv | MBConv | MixedMBConv) -> str:
    """What is written where the shortcut is not the one that the notation takes for granted."""
    if block.skip == "pool":
        return "pool"
    possible = block.stride == 1 and block.in_ch == block.out_ch
    if isinstance(block, ConvBN):
        return "skip" if block.skip == "identity" else ""
    return "noskip" if possible and block.skip == "none" else ""


def _parsed(line: str) -> tuple[str, dict[str, Any]]:
    kind, *tokens = line.strip().split("_")
    if kind not in _KINDS.values():
        allowed = ", ".join(dict.fromkeys(_KINDS.values()))
        raise ValueError(f"{line!r}: {kind!r} is no kind of block; allowed: {allowed}")
    values: dict[str, Any] = {}
    for token in tokens:
        match = _TOKEN.fullmatch(token)
        if match is None or (match["name"] and match["name"] not in ("r", "k", "a", "p", "s", "e", "c", "se")):
            raise ValueError(f"{line!r}: {token!r} is not known; allowed: r, k, a, p, s, e, c, se, n, noskip")
        if match["act"]:
            values["act"] = next(act for act, short in _ACTS.items() if short == match["act"])
        elif match["skip"]:
            values["skip"] = match["skip"]
        else:
            values[match["name"]] = match["value"]
    if missing := {"k", "c"} - values.keys():
        raise ValueError(f"{line!r} lacks {min(missing)}; kernel and output channels are needed")
    return kind, values


def _block(kind: str, values: dict[str, Any], in_ch: int, stride: int, made: dict[str, Any], se_of: str) -> Block:
    out_ch = int(values["c"])
    mid_ch = round(in_ch * float(values.get("e", 1)))
    gated = {"cn": out_ch, "ds": in_ch, "ir": mid_ch}[kind]
    share = float(values.get("se", 0))
    made |= {"in_ch": in_ch, "out_ch": out_ch, "stride": stride}
    made["se_ch"] = round(share * gated) if se_of == "gated" else int(share * in_ch)
    possible, said = stride == 1 and in_ch == out_ch, values.get("skip")
    identity = possible and (said == "skip" if kind == "cn" else said != "noskip")
    made["skip"] = "pool" if said == "pool" else "identity" if identity else "none"
    kernels = [int(kernel) for kernel in values["k"].split(".")]
    groups = {name: len(values.get(letter, "1").split(".")) for name, letter in (("expand", "a"), ("project", "p"))}
    if len(kernels) > 1 or max(groups.values()) > 1:
        return MixedMBConv(
            mid_ch=mid_ch,
            kernels=tuple(kernels),
            expand_groups=groups["expand"],
            project_groups=groups["project"],
            **made,
        )
    if kind == "ir":
        return MBConv(mid_ch=mid_ch, kernel=kernels[0], **made)
    return (ConvBN if kind == "cn" else SepConv)(kernel=kernels[0], **made)
