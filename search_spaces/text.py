"""Networks as text: a JSON codec, and a table for people."""

import dataclasses
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from nas_runtime.console import brief, counted
from nas_runtime.files import FileError, parse_json, read_text
from search_spaces import cost
from search_spaces.arch import BLOCKS, MAX_BLOCKS, Arch, Block, Classifier, ConvBN, check_resolution
from search_spaces.blocks import Branches, PlainConv
from search_spaces.lower import Unit, lower

__all__ = [
    "block_from_dict",
    "block_to_dict",
    "difference",
    "from_dict",
    "from_file",
    "from_json",
    "set_fields",
    "table",
    "to_dict",
    "to_json",
    "unit_row",
]

FORMAT = 1
_MAX_BYTES = 8 * 2**20  # of a file: three times what 10,000 blocks take
_MAX_MESSAGE = 400  # characters: a value in it may be as large as the file
_MAX_PARAMS = 2 * 10**9  # 8 GB of weights
_DEFAULTS = {name: Arch.__dataclass_fields__[name].default for name in ("norm_eps", "norm_momentum", "padding")}


def to_dict(arch: Arch) -> dict[str, Any]:
    """`arch` as plain values. Fields that have their default are left out."""
    return {
        "format": FORMAT,
        "name": arch.name,
        "resolution_px": arch.resolution_px,
        **{name: value for name, default in _DEFAULTS.items() if (value := getattr(arch, name)) != default},
        "blocks": [block_to_dict(block) for block in arch.blocks],
    }


def from_dict(data: Any) -> Arch:
    """Inverse of `to_dict`.

    Raises:
        ValueError: anything but what `to_dict` writes, or a network of more than 2,000,000,000 parameters; the message
            names the block and field.
    """
    if not isinstance(data, dict) or not {"name", "resolution_px", "blocks"} <= data.keys():
        raise ValueError("not a network: expected an object with format, name, resolution_px and blocks")
    if data.get("format") != FORMAT:
        raise ValueError(f"network format {data.get('format')!r} is not known; this version reads format {FORMAT}")
    if not isinstance(data["blocks"], list) or len(data["blocks"]) > MAX_BLOCKS:
        raise ValueError(f"not a network: blocks must be a list of at most {MAX_BLOCKS}")
    check_resolution(data["resolution_px"])
    try:
        blocks = tuple(_block(i, item) for i, item in enumerate(data["blocks"]))
    except RecursionError:
        raise ValueError("not a network: its blocks are nested too deeply") from None
    params = sum(cost.op_params(op) for block in blocks for op in block.ops())
    if params > _MAX_PARAMS:
        raise ValueError(f"the network has {params:,} parameters; the most that is read is {_MAX_PARAMS:,}")
    return Arch(
        name=data["name"],
        resolution_px=data["resolution_px"],
        blocks=blocks,
        **{name: data.get(name, default) for name, default in _DEFAULTS.items()},
    )


def to_json(arch: Arch) -> str:
    return json.dumps(to_dict(arch), indent=1) + "\n"


def from_json(text: str) -> Arch:
    """Inverse of `to_json`.

    Raises:
        ValueError: not JSON, not a network, or too large.
    """
    if len(text) > _MAX_BYTES:
        raise ValueError(f"not a network: longer than {_MAX_BYTES:,} characters, the most that is read")
    try:
        data = parse_json(text)
    except ValueError as e:
        raise ValueError(f"not a network: not JSON ({e})") from None
    return from_dict(data)


def from_file(path: str | os.PathLike[str]) -> Arch:
    """The network of a JSON file, such as the ``best.json`` of a run.

    Raises:
        ValueError: the file cannot be read, or holds no network; the message begins with its path.
    """
    try:
        return from_json(read_text(Path(path), most_bytes=_MAX_BYTES))
    except FileNotFoundError as e:
        raise ValueError(f"{path} cannot be read: {e.strerror}") from None
    except FileError:
        raise
    except ValueError as e:
        raise ValueError(f"{path}: {e}") from None


def block_to_dict(block: Block) -> dict[str, Any]:
    """``{"block": its kind, field: value, ...}``; fields that have their default are left out."""
    fields = set_fields(block)
    if isinstance(block, Branches):
        fields["branches"] = [[block_to_dict(inner) for inner in branch] for branch in block.branches]
    return {"block": type(block).__name__, **fields}


def difference(its: Arch, ours: Arch, *, but: Collection[str] = ()) -> str | None:
    """Where the blocks of two networks first differ, in words; None: they do not, except for classes.

    Args:
        but: fields of blocks that may differ.
    """
    for i, (theirs, block) in enumerate(zip(its.blocks, ours.blocks, strict=False)):
        if type(theirs) is not type(block):
            return f"its block {i} is a {type(theirs).__name__}, not a {type(block).__name__}"
        passed_over = {*but, *(["out_ch"] if block is ours.blocks[-1] else [])}
        for name in (f.name for f in dataclasses.fields(block) if f.name not in passed_over):
            if (a := getattr(theirs, name)) != (b := getattr(block, name)):
                return f"its block {i} ({type(block).__name__}) has {name} {brief(str(a))}, not {brief(str(b))}"
    if len(its.blocks) != len(ours.blocks):
        return f"it has {counted(len(its.blocks), 'block')}, not {len(ours.blocks)}"
    return None


def set_fields(block: Block) -> dict[str, Any]:
    """The fields of `block` that differ from their default, in order."""
    return {f.name: v for f in dataclasses.fields(block) if (v := getattr(block, f.name)) != f.default}


def block_from_dict(item: Any) -> Block:
    """A block from ``{"block": its kind, field: value, ...}``, as `block_to_dict` writes it.

    Raises:
        ValueError: an unknown kind or field, a missing field, or a value that the block refuses.
    """
    kind = item.get("block") if isinstance(item, dict) else None
    if not isinstance(kind, str) or kind not in BLOCKS:
        raise ValueError(f"block kind {kind!r} is not known; allowed: {', '.join(BLOCKS)}")
    known = {f.name: f for f in dataclasses.fields(BLOCKS[kind])}
    given = {k: v for k, v in item.items() if k != "block"}
    if unknown := given.keys() - known.keys():
        raise ValueError(f"{kind} has no {min(unknown)!r}; allowed: {', '.join(known)}")
    required = {name for name, f in known.items() if f.default is dataclasses.MISSING}
    if missing := required - given.keys():
        raise ValueError(f"{kind} needs {min(missing)!r}")
    if kind == "Branches":
        if not isinstance(given["branches"], list) or not all(isinstance(b, list) for b in given["branches"]):
            raise ValueError("Branches: branches must be a list of lists of blocks")
        given["branches"] = tuple(tuple(map(block_from_dict, branch)) for branch in given["branches"])
    return BLOCKS[kind](**given)


def _block(i: int, item: Any) -> Block:
    try:
        return block_from_dict(item)
    except (ValueError, TypeError) as e:
        raise ValueError(f"block {i}: {str(e)[:_MAX_MESSAGE]}") from None


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
    acts = {"hard_swish": "HS", "relu": "RE", "relu6": "R6", "swish": "SW"}
    head = isinstance(block, Classifier)
    act = "" if head and not block.hidden_ch else getattr(block, "act", "")
    kernels = getattr(block, "kernels", (getattr(block, "kernel", dash),))
    return [
        f"{height}x{width}x{channels}",
        "Conv" if isinstance(block, ConvBN | PlainConv) else type(block).__name__,
        ".".join(map(str, kernels)) + (f"x{block.kernel_w}" if isinstance(block, PlainConv) and block.kernel_w else ""),
        str(getattr(block, "mid_ch", 0) or getattr(block, "hidden_ch", 0) or dash),
        str(block.out_ch),
        str(getattr(block, "se_ch", 0) or dash),
        acts.get(act, act) or dash,
        str(getattr(block, "stride", dash)),
        {"none": dash}.get(skip := getattr(block, "skip", "none"), skip),
        f"{cost.unit_madds(unit):,}",
        f"{cost.unit_params(unit):,}",
    ]
