"""Networks as text: a JSON codec, and a table for people."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from search_spaces import cost
from search_spaces.arch import BLOCKS, Arch, Block, Classifier, ConvBN, MBConv, SepConv
from search_spaces.lower import Unit, lower

__all__ = [
    "block_from_dict",
    "from_dict",
    "from_json",
    "set_fields",
    "table",
    "timm_strings",
    "to_dict",
    "to_json",
    "unit_row",
]

FORMAT = 1


def to_dict(arch: Arch) -> dict[str, Any]:
    """`arch` as plain values. Fields that have their default are left out."""
    return {
        "format": FORMAT,
        "name": arch.name,
        "resolution_px": arch.resolution_px,
        "blocks": [{"block": type(block).__name__, **set_fields(block)} for block in arch.blocks],
    }


def from_dict(data: Any) -> Arch:
    """Inverse of `to_dict`.

    Raises:
        ValueError: anything but what `to_dict` writes; the message names the block and field.
    """
    if not isinstance(data, dict) or not {"name", "resolution_px", "blocks"} <= data.keys():
        raise ValueError("not a network: expected an object with format, name, resolution_px and blocks")
    if data.get("format") != FORMAT:
        raise ValueError(f"network format {data.get('format')!r} is not known; this version reads format {FORMAT}")
    if not isinstance(data["blocks"], list):
        raise ValueError("not a network: blocks must be a list")
    if not isinstance(data["resolution_px"], int):
        raise ValueError(f"resolution_px is {data['resolution_px']!r}; it must be a whole number")
    blocks = tuple(_block(i, item) for i, item in enumerate(data["blocks"]))
    return Arch(name=str(data["name"]), resolution_px=data["resolution_px"], blocks=blocks)


def to_json(arch: Arch) -> str:
    return json.dumps(to_dict(arch), indent=1) + "\n"


def from_json(text: str) -> Arch:
    """Inverse of `to_json`.

    Raises:
        ValueError: not JSON, or not a network.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"not a network: not JSON ({e})") from None
    return from_dict(data)


def set_fields(block: Block) -> dict[str, Any]:
    """The fields of `block` that differ from their default, in order."""
    return {f.name: v for f in dataclasses.fields(block) if (v := getattr(block, f.name)) != f.default}


def block_from_dict(item: Any) -> Block:
    """A block from ``{"block": its kind, field: value, ...}``.

    Raises:
        ValueError: an unknown kind or field, a missing field, or a value that the block refuses.
    """
    kind = item.get("block") if isinstance(item, dict) else None
    if kind not in BLOCKS:
        raise ValueError(f"block kind {kind!r} is not known; allowed: {', '.join(BLOCKS)}")
    known = {f.name: f for f in dataclasses.fields(BLOCKS[kind])}
    given = {k: v for k, v in item.items() if k != "block"}
    if unknown := given.keys() - known.keys():
        raise ValueError(f"{kind} has no {min(unknown)!r}; allowed: {', '.join(known)}")
    required = {name for name, f in known.items() if f.default is dataclasses.MISSING}
    if missing := required - given.keys():
        raise ValueError(f"{kind} needs {min(missing)!r}")
    return BLOCKS[kind](**given)


def _block(i: int, item: Any) -> Block:
    try:
        return block_from_dict(item)
    except (ValueError, TypeError) as e:
        raise ValueError(f"block {i}: {e}") from None


def timm_strings(arch: Arch) -> list[str]:
    """Blocks in the notation of timm's EfficientNet builders, like ``ir_r2_k5_s1_e3_c40_se0.25``; equal ones as one.

    ``cn`` is a convolution, ``ds`` a depthwise-separable one, ``ir`` an inverted residual; ``r`` repeats, ``k`` kernel,
    ``s`` stride, ``e`` expansion as a ratio of the input channels, ``c`` output channels, ``se`` squeeze-and-excite as
    a share of the gated channels, ``n`` activation. The classifier is left out, as timm does.
    """
    kinds = {ConvBN: "cn", SepConv: "ds", MBConv: "ir"}
    acts = {"relu": "re", "relu6": "r6", "hard_swish": "hs", "swish": "sw", "none": "id", "sigmoid": "sg"}
    found: list[tuple[str, int]] = []
    for block in arch.blocks:
        if isinstance(block, Classifier):
            continue
        line = f"k{block.kernel}_s{block.stride}"
        line += f"_e{block.mid_ch / block.in_ch:.6g}" if isinstance(block, MBConv) else ""
        line += f"_c{block.out_ch}" + (f"_se{block.se_ch / block.gated_ch:.4g}" if block.se_ch else "")
        line += f"_n{acts.get(block.act, block.act)}"
        line += "_noskip" if block.skip == "none" and block.stride == 1 and block.in_ch == block.out_ch else ""
        kind = kinds[type(block)]
        if found and found[-1][0] == f"{kind}|{line}":
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((f"{kind}|{line}", 1))
    return [f"{kind}_r{n}_{line}" for (kind, _, line), n in ((text.partition("|"), n) for text, n in found)]


def table(arch: Arch, latencies_ms: Mapping[str, Sequence[float]] | None = None) -> Table:
    """A table of the blocks of `arch`: shapes, settings, multiply-adds, parameters, and ms by device.

    Args:
        latencies_ms: device name to one value for each unit.
    """
    latencies_ms = latencies_ms or {}
    units = lower(arch)
    out = Table(title=f"{arch.name} at {arch.resolution_px} px", title_justify="left", show_footer=True)
    last_row = len(units)
    left = ("#", "input", "block")
    right = ("k", "exp", "out", "SE", "act", "s", "skip")
    for name in left:
        out.add_column(name, footer="total" if name == "input" else "", no_wrap=True)
    for name in right:
        out.add_column(name, justify="left" if name in ("act", "skip") else "right", no_wrap=True)
    out.add_column("MAdds", justify="right", footer=f"{cost.madds(arch):,}", no_wrap=True)
    out.add_column("params", justify="right", footer=f"{cost.params(arch):,}", no_wrap=True)
    for device, values in latencies_ms.items():
        out.add_column(f"{device} ms", justify="right", footer=f"{sum(values):.2f}", no_wrap=True)
    for i in range(last_row):
        ms = [f"{values[i]:.3f}" for values in latencies_ms.values()]
        out.add_row(str(i), *unit_row(units[i]), *ms)
    return out


def unit_row(unit: Unit) -> list[str]:
    """The cells of `unit` in `table`, from its input shape to its parameters."""
    block = unit.block
    channels, height, width = unit.in_shape
    dash = "-"
    hidden = {MBConv: "mid_ch", Classifier: "hidden_ch"}.get(type(block))
    act = {"hard_swish": "HS", "relu": "RE", "relu6": "R6", "swish": "SW"}.get(block.act, block.act)
    conv = None if isinstance(block, Classifier) else block
    return [
        f"{height}x{width}x{channels}",
        "Conv" if isinstance(block, ConvBN) else type(block).__name__,
        str(conv.kernel) if conv else dash,
        str(getattr(block, hidden) or dash) if hidden else dash,
        str(block.out_ch),
        str(conv.se_ch or dash) if conv else dash,
        act if conv or getattr(block, "hidden_ch", 0) else dash,
        str(conv.stride) if conv else dash,
        {"none": dash}.get(conv.skip, conv.skip) if conv else dash,
        f"{cost.unit_madds(unit):,}",
        f"{cost.unit_params(unit):,}",
    ]
