"""Blocks in the notation of timm's EfficientNet builders, like ``ir_r3_k5_s2_e3_c40_se0.25_nre``.

========  ==========================================================================================================
``cn``    convolution; ``ds`` depthwise-separable, ``ir`` inverted residual; ``dsa`` depthwise-separable with the
          activation after the projection too, and never a shortcut
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

Refused is what timm's definitions have besides, and blocks here do not: fused blocks (``er``), MobileNetV4's (``uir``,
``mqa``, ``mha``), Tucker convolutions (``tu``), experts (``cc``), space to depth (``d``), group sizes (``gs``), kernels
beside the depthwise one (``a3``) and mish (``nmi``). The padding of timm's ``tf_`` models, which differs where a stride
meets an even size, is not in the notation.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from search_spaces.arch import Arch, Block, Classifier, ConvBN, MBConv, Mobile, SepConv
from search_spaces.blocks import MixedMBConv
from search_spaces.rewrite import make_divisible

__all__ = ["read", "write"]

SHARES = ("gated", "input")
_KINDS = ("cn", "ds", "dsa", "ir")
_ACTS = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "swish": "sw", "none": "id", "sigmoid": "sg"}
_WHOLE, _SHARE, _ONES = r"\d{1,6}", r"\d{1,6}(\.\d{1,20})?", r"1(\.1){0,99}"
_NUMBERS = {"r": _WHOLE, "k": rf"{_WHOLE}(\.{_WHOLE}){{0,99}}", "a": _ONES, "p": _ONES, "s": _WHOLE, "e": _SHARE}
_NUMBERS |= {"c": _WHOLE, "se": _SHARE}
_TOKEN = re.compile(r"(?P<name>[a-z]+)(?P<value>\d.*)")
_MOST_REPEATS = 1000
_UNSUPPORTED = {
    "er": "a fused inverted residual",
    "tu": "a Tucker convolution",
    "uir": "MobileNetV4's block",
    "mqa": "attention",
    "mha": "attention",
    "cc": "experts",
    "d": "space to depth",
    "fc": "an input width of its own",
    "gs": "a group size",
    "a": "an expansion with a kernel of its own",
    "p": "a projection with a kernel of its own",
    "nmi": "mish",
}


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


def write(arch: Arch, *, se_of: str = "gated") -> list[str]:
    """The blocks of `arch`, without the classifier, as timm writes them.

    Args:
        se_of: what ``se`` is a share of: the ``gated`` channels or the block's ``input``.

    Raises:
        ValueError: a kind of block, or an activation, that the notation does not have.
    """
    groups: list[tuple[str, _Group]] = []
    for block in arch.blocks:
        if isinstance(block, Classifier):
            continue
        if not isinstance(block, Mobile | MixedMBConv) or (isinstance(block, MixedMBConv) and block.shuffle):
            raise ValueError(f"timm's notation has no {type(block).__name__} like block {arch.blocks.index(block)}")
        if isinstance(block, Mobile) and block.dilation > 1:
            raise ValueError("timm's notation has no dilation")
        kind, settings, skip = _kind(block), _settings(block, se_of), _skip(block)
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
    se_act: str | None = "relu",
    se_gate: str = "sigmoid",
    se_divisor: int = 1,
    divisor: int = 1,
) -> tuple[Block, ...]:
    """The blocks of `lines`, as `write` or timm's model definitions have them.

    =============================  =====================================================================================
    `write`                        ``se_of="gated"``
    timm's MnasNet, FBNet-C        ``divisor=8``
    timm's EfficientNet            ``divisor=8, act="swish", se_act=None``
    timm's MixNet                  ``divisor=8, se_act=None``
    timm's MobileNetV3             ``divisor=8, act="hard_swish", se_of="gated", se_divisor=8, se_gate="hard_sigmoid"``
    =============================  =====================================================================================

    Args:
        in_ch: channels that the first block reads.
        act: activation of lines without ``n``.
        se_of: what ``se`` is a share of: the block's ``input`` channels or the ``gated`` ones.
        se_act: inside squeeze-and-excite; None: the block's own activation.
        se_gate: see `arch.ConvBN`.
        se_divisor: the squeeze's channels are rounded to multiples of it, by `rewrite.make_divisible`; 1: to the
            nearest number.
        divisor: so are the channels of expansions and outputs.

    Raises:
        ValueError: a line that is not in this notation; the message says which part.
    """
    if se_of not in SHARES:
        raise ValueError(f"se_of={se_of!r}; allowed: {', '.join(SHARES)}")
    if isinstance(lines, str):
        raise ValueError(f"lines={lines!r}: give a list of lines, one for each group of blocks")
    reader = _Reader(act=act, se_of=se_of, se_act=se_act, se_gate=se_gate, se_divisor=se_divisor, divisor=divisor)
    blocks: list[Block] = []
    for line in lines:
        kind, values = _parsed(line)
        for i in range(int(values.get("r", 1))):
            read_ch = blocks[-1].out_ch if blocks else in_ch
            try:
                blocks.append(reader.block(kind, values, read_ch, int(values.get("s", 1)) if i == 0 else 1))
            except ValueError as e:
                raise ValueError(f"{line!r}: {e}") from None
    return tuple(blocks)


def _settings(block: ConvBN | SepConv | MBConv | MixedMBConv, se_of: str) -> str:
    kernels = block.kernels if isinstance(block, MixedMBConv) else (block.kernel,)
    line = "k" + ".".join(map(str, kernels))
    if isinstance(block, MixedMBConv):
        for letter, n in (("a", block.expand_groups), ("p", block.project_groups)):
            line += f"_{letter}" + ".".join("1" * n) if n > 1 else ""
    line += f"_e{_ratio(block.mid_ch, block.in_ch)}" if isinstance(block, MBConv | MixedMBConv) else ""
    whole = block.gated_ch if se_of == "gated" else block.in_ch
    line += f"_c{block.out_ch}" + (f"_se{_ratio(block.se_ch, whole)}" if block.se_ch else "")
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


def _kind(block: ConvBN | SepConv | MBConv | MixedMBConv) -> str:
    if not isinstance(block, SepConv):
        return "cn" if isinstance(block, ConvBN) else "ir"
    if block.out_act == "none":
        return "ds"
    if block.out_act != block.act or block.skip != "none":
        raise ValueError(
            "timm's notation has no activation after a projection that has a shortcut, or another one than before it"
        )
    return "dsa"


def _parsed(line: str) -> tuple[str, dict[str, str]]:
    """The kind of the blocks of `line` and its values by name: ``act`` and ``skip`` besides the letters."""
    if not isinstance(line, str):
        raise ValueError(f"{line!r} is no line of text; give the lines of all stages in one list")
    kind, *tokens = line.strip().split("_")
    if kind not in _KINDS:
        why = f" ({_UNSUPPORTED[kind]}) is not supported" if kind in _UNSUPPORTED else " is no kind of block"
        raise ValueError(f"{line!r}: {kind!r}{why}; allowed: {', '.join(_KINDS)}")
    values: dict[str, str] = {}
    for token in tokens:
        name, value = _named(line, token)
        if name in values:
            raise ValueError(f"{line!r}: {name} stands twice")
        values[name] = value
    if missing := {"k", "c"} - values.keys():
        raise ValueError(f"{line!r} lacks {min(missing)}; kernel and output channels are needed")
    if not 1 <= int(values.get("r", 1)) <= _MOST_REPEATS:
        raise ValueError(f"{line!r}: r{values['r']}; allowed: r1 to r{_MOST_REPEATS}")
    if kind != "ir" and ("." in values["k"] or "." in values.get("a", "") or "." in values.get("p", "")):
        raise ValueError(f"{line!r}: several kernels or groups are supported for ir only")
    return kind, values


def _named(line: str, token: str) -> tuple[str, str]:
    """Name and value of a part of `line`."""
    if token in ("noskip", "skip", "pool"):
        return "skip", token
    acts = {f"n{short}": act for act, short in _ACTS.items()}
    if token in acts:
        return "act", acts[token]
    match = _TOKEN.fullmatch(token)
    name, value = (match["name"], match["value"]) if match else (token, "")
    if name in _NUMBERS and re.fullmatch(_NUMBERS[name], value, re.ASCII):
        return name, value
    if name in _UNSUPPORTED:
        raise ValueError(f"{line!r}: {token!r} ({_UNSUPPORTED[name]}) is not supported")
    known = f"allowed: {', '.join(_NUMBERS)} with a number, {', '.join(acts)}, noskip, skip, pool"
    raise ValueError(f"{line!r}: {token!r} is not known; {known}")


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """How a builder makes blocks of lines; see `read`."""

    act: str
    se_of: str
    se_act: str | None
    se_gate: str
    se_divisor: int
    divisor: int

    def block(self, kind: str, values: dict[str, str], in_ch: int, stride: int) -> Block:
        out_ch = _rounded(int(values["c"]), self.divisor)
        expansion = float(values.get("e", 1)) if kind == "ir" else 1.0
        if not expansion:
            raise ValueError("e0 leaves no channels; allowed: above 0")
        mid_ch = _rounded(in_ch * expansion, self.divisor) if kind == "ir" else in_ch
        act = values.get("act", self.act)
        made: dict[str, Any] = {
            "in_ch": in_ch,
            "out_ch": out_ch,
            "stride": stride,
            "act": act,
            "se_ch": self._se_ch(
                values, out_ch if kind == "cn" else mid_ch, in_ch if kind == "cn" else mid_ch / expansion
            ),
            "se_act": act if self.se_act is None else self.se_act,
            "se_gate": self.se_gate,
            "skip": _read_skip(kind, values.get("skip"), stride == 1 and in_ch == out_ch),
        }
        kernel, *more = (int(kernel) for kernel in values["k"].split("."))
        groups = {name: len(values.get(key, "1").split(".")) for name, key in (("expand", "a"), ("project", "p"))}
        if more or max(groups.values()) > 1:
            counts = {f"{name}_groups": n for name, n in groups.items()}
            return MixedMBConv(mid_ch=mid_ch, kernels=(kernel, *more), **counts, **made)
        if kind == "ir":
            return MBConv(mid_ch=mid_ch, kernel=kernel, **made)
        if kind == "cn":
            return ConvBN(kernel=kernel, **made)
        return SepConv(kernel=kernel, out_act=act if kind == "dsa" else "none", **made)

    def _se_ch(self, values: dict[str, str], gated_ch: int, input_ch: float) -> int:
        share = float(values.get("se", 0))
        se_ch = _rounded(share * (gated_ch if self.se_of == "gated" else input_ch), self.se_divisor)
        if share and not se_ch:
            raise ValueError(f"se{values['se']} leaves squeeze-and-excite no channels; leave se out, or give more")
        return se_ch if share else 0


def _read_skip(kind: str, said: str | None, possible: bool) -> str:
    """The shortcut of a block; `possible`: whether its shapes allow an identity."""
    if kind == "dsa":
        return "none"
    if said == "pool":
        return "pool"
    wanted = said == "skip" if kind == "cn" else said != "noskip"
    return "identity" if possible and wanted else "none"


def _rounded(value: float, divisor: int) -> int:
    return round(value) if divisor == 1 else make_divisible(value, divisor)


def _ratio(part: int, whole: int) -> str:
    """``part / whole`` in as many digits as it takes to get `part` back."""
    short = f"{part / whole:.6g}"
    return short if round(float(short) * whole) == part and "e" not in short else f"{part / whole:.17f}"
