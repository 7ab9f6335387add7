"""The fields that kinds of blocks have: what their values may be."""

from collections.abc import Collection
from functools import cache
from typing import Any

from nas_runtime.console import brief, shown
from search_spaces.ops import ACTIVATIONS, POOLS

__all__ = ["GATES", "MAX_CHANNELS", "MAX_SIZE_PX", "SKIPS", "check", "check_text"]

SKIPS = ("none", "identity", "pool")
GATES = ("sigmoid", "hard_sigmoid")
JOINS = ("concat", "add", "gate")

MAX_CHANNELS = 1_000_000
MAX_SIZE_PX = 65_536
"""Of a network's images, and of anything that is measured in their pixels."""
_MAX_STEP = 4096  # of kernels, strides and the like
_MAX_NAME = 200

_CHANNELS = ("in_ch", "mid_ch", "out_ch", "groups", "first_groups")
_RANGES = dict.fromkeys(_CHANNELS, (1, MAX_CHANNELS)) | dict.fromkeys(("se_ch", "hidden_ch"), (0, MAX_CHANNELS))
_RANGES |= dict.fromkeys(("kernel", "stride", "dilation", "factor"), (1, _MAX_STEP))
_RANGES |= {"size_px": (1, MAX_SIZE_PX), "hidden_layers": (0, 64)}
_OPTIONAL = {"kernel_w": (1, _MAX_STEP), "pad": (0, _MAX_STEP)}
_ALLOWED = {"act": ACTIVATIONS, "out_act": ACTIVATIONS, "se_act": ACTIVATIONS, "se_gate": GATES}
_ALLOWED |= {"skip": SKIPS, "kind": POOLS, "join": JOINS}


def check(block: Any) -> None:
    """Refuses values that no network can have, naming the block, the field and what is allowed.

    What has no effect, as the gate of a squeeze-and-excite that is not there, is set to its default: what computes the
    same is equal.
    """
    kind, fields = type(block).__name__, type(block).__dataclass_fields__
    for name, least, most, ending in _whole_numbers(type(block)):
        value = getattr(block, name)
        if not (type(value) is int and least <= value <= most) and not (value is None and ending):
            raise ValueError(
                f"{kind}: {name} is {value!r}; it must be a whole number of at least {least} and at most {most}{ending}"
            )
    for name, allowed in _words(type(block)):
        if (value := getattr(block, name)) not in allowed:
            raise ValueError(f"{kind}: {name} is {value!r}; allowed: {', '.join(allowed)}")
    for name in _flags(type(block)):
        if not isinstance(getattr(block, name), bool):
            raise ValueError(f"{kind}: {name} is {getattr(block, name)!r}; it must be true or false")
    if "kernel" in fields and getattr(block, "pad", None) is None and block.kernel % 2 == 0:
        raise ValueError(f"{kind}: kernel is {block.kernel}; it must be odd")
    if "se_ch" in fields and not block.se_ch:
        for name in {"se_gate", "se_act"} & fields.keys():
            object.__setattr__(block, name, fields[name].default)
    if "dropout" in fields:
        if isinstance(block.dropout, bool) or not isinstance(block.dropout, int | float) or not 0 <= block.dropout < 1:
            raise ValueError(f"{kind}: dropout is {block.dropout!r}; allowed: 0 <= dropout < 1")
        object.__setattr__(block, "dropout", float(block.dropout))
    skip = block.skip if "skip" in fields else "none"
    if skip != "none" and block.in_ch != block.out_ch:
        raise ValueError(
            f"{kind}: skip={skip!r} needs in_ch == out_ch, not {block.in_ch} and {block.out_ch}; use skip='none'"
        )
    if skip == "identity" and block.stride != 1:
        raise ValueError(f"{kind}: skip='identity' needs stride 1, not {block.stride}; use 'pool' or 'none'")


@cache
def _whole_numbers(kind: type) -> tuple[tuple[str, int, int, str], ...]:
    """Of its fields that are whole numbers the name, the least and the most, and what a message says where there may be
    none."""
    found = [(name, least, most, "") for name, (least, most) in _RANGES.items()]
    found += [(name, least, most, ", or nothing") for name, (least, most) in _OPTIONAL.items()]
    return tuple(each for each in found if each[0] in kind.__dataclass_fields__)


@cache
def _words(kind: type) -> tuple[tuple[str, Collection[str]], ...]:
    """Its fields that are one of several words, with these."""
    return tuple((name, allowed) for name, allowed in _ALLOWED.items() if name in kind.__dataclass_fields__)


@cache
def _flags(kind: type) -> tuple[str, ...]:
    """Its fields that are true or false."""
    return tuple(name for name in ("norm", "ceil", "shuffle", "expand") if name in kind.__dataclass_fields__)


def check_text(text: Any, of: str) -> None:
    """Refuses a name that is no text on one line; any language's letters are fine.

    Args:
        of: what it is, for the message: ``a choice's name``.
    """
    if not isinstance(text, str) or len(text) > _MAX_NAME or "\n" in text or "\t" in text or shown(text) != text:
        raise ValueError(
            f"{of} is {brief(repr(text))}; it must be a text of up to {_MAX_NAME} characters, no control ones"
        )
