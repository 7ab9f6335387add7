"""The key of a unit in a latency table: its block's settings and its input size, readable and reversible.

    MBConv(in_ch=24,mid_ch=72,out_ch=40,kernel=5,stride=2,se_ch=6)@56x56

Settings that have their default are left out, so that a new setting with a default leaves old keys valid.
"""

import json
import re
from collections.abc import Iterable
from functools import lru_cache

from nas_runtime.files import parse_json
from search_spaces import lower
from search_spaces.arch import Block
from search_spaces.lower import Unit
from search_spaces.text import block_from_dict, block_to_dict, set_fields

__all__ = ["key", "nearest", "parse"]

_KEY = re.compile(r"(\w+)\((.*)\)@(\d+)x(\d+)")


def key(unit: Unit) -> str:
    """The key of `unit`."""
    return _key(unit.block, unit.in_shape[1], unit.in_shape[2])


@lru_cache(maxsize=65536)
def _key(block: Block, height: int, width: int) -> str:
    values = set_fields(block)
    fields = ",".join(f"{name}={value}" for name, value in values.items())
    if any(isinstance(value, tuple) for value in values.values()):  # blocks within a block, or several kernels
        fields = json.dumps({k: v for k, v in block_to_dict(block).items() if k != "block"}, separators=(",", ":"))
    return f"{type(block).__name__}({fields})@{height}x{width}"


@lru_cache(maxsize=65536)
def parse(text: str) -> Unit:
    """The unit of a key; the inverse of `key`.

    Raises:
        ValueError: not a key.
    """
    match = _KEY.fullmatch(text)
    if not match:
        raise ValueError(f"not a unit key: {text[:200]!r}; expected like MBConv(in_ch=24,...)@56x56")
    kind, fields, height, width = match.groups()
    try:
        if fields.startswith("{"):
            values = parse_json(fields)
        else:
            pairs = [field.partition("=") for field in fields.split(",")]
            values = {name: _value(value) for name, _, value in pairs}
        block = block_from_dict({"block": kind} | values)
        return lower.unit(block, int(height), int(width))
    except (ValueError, TypeError) as e:
        raise ValueError(f"not a unit key: {text[:200]!r}: {e}") from None


def nearest(name: str, known: Iterable[str], n: int = 2) -> list[str]:
    """Up to `n` of the keys `known` that differ from `name` in the fewest settings, of the same kind of block."""
    mine = _settings(name)
    apart = sorted(
        (len(mine ^ _settings(other)), other) for other in known if other.split("(")[0] == name.split("(")[0]
    )
    return [other for _, other in apart[:n]]


def _settings(name: str) -> set[str]:
    return set(re.split(r"[(,)@]", name))


def _value(text: str) -> int | float | str:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
