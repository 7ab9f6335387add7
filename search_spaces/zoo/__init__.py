"""Published networks as `Arch` values, each beside its paper and the paper's own numbers.

>>> from search_spaces import zoo
>>> zoo.get("mobilenet_v3_small", width=0.75).resolution_px
224
"""

import difflib

from search_spaces import rewrite
from search_spaces.arch import Arch
from search_spaces.zoo import (
    efficientnet,
    fbnet,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    proxyless,
    single_path_nas,
)
from search_spaces.zoo.published import Entry, Latency

__all__ = ["Entry", "Latency", "entry", "find", "get", "names"]

_FAMILIES = (mobilenet_v1, mobilenet_v2, mobilenet_v3, mnasnet, proxyless, fbnet, single_path_nas, efficientnet)
_ENTRIES: dict[str, Entry] = {entry.arch.name: entry for family in _FAMILIES for entry in family.ENTRIES}


def names() -> tuple[str, ...]:
    """All networks, family by family."""
    return tuple(_ENTRIES)


def entry(name: str) -> Entry:
    """The network `name` at width 1.0 and 224 px, with its paper and published numbers.

    Raises:
        ValueError: no such network; the message lists them.
    """
    if name not in _ENTRIES:
        close = difflib.get_close_matches(str(name), _ENTRIES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"no network {name!r} in the zoo{hint} (there are: {', '.join(_ENTRIES)})")
    return _ENTRIES[name]


def get(name: str, *, width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> Arch:
    """The network `name` with a width multiplier, an input resolution and a number of classes.

    Raises:
        ValueError: no such network, ``width <= 0``, or a resolution or number of classes below 1.
    """
    published = entry(name)
    arch = rewrite.width_multiplier(published.arch, width, widen_features=published.widen_features)
    return rewrite.classes(rewrite.resolution(arch, resolution_px), classes)


def find(published: str, *, resolution_px: int = 224) -> Arch | None:
    """The network that others call `published`, like ``"MobileNetV3-Large 0.75"``; None if the zoo does not have it.

    Case, dashes, underscores and blanks make no difference. A number at the end is the width multiplier, 1.0 if there
    is none.
    """
    title, _, last = published.strip().rpartition(" ")
    try:
        width = float(last)
    except ValueError:
        title, width = published, 1.0
    for candidate in _ENTRIES.values():
        if _plain(title) in map(_plain, (candidate.arch.name, *candidate.also_called)):
            return get(candidate.arch.name, width=width, resolution_px=resolution_px)
    return None


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
