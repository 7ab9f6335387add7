"""Published networks as `Arch` values, each beside its paper and the paper's own numbers.

>>> from search_spaces import zoo
>>> zoo.get("mobilenet_v3_small", width=0.75).resolution_px
224
"""

import re

from nas_runtime.console import brief, did_you_mean
from search_spaces import rewrite
from search_spaces.arch import Arch, Classifier, Mobile
from search_spaces.zoo import (
    classics,
    efficientnet,
    fbnet,
    inception,
    mixnet,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    proxyless,
    resnet,
    rexnet,
    shufflenet,
    single_path_nas,
)
from search_spaces.zoo.published import Entry, Latency

__all__ = ["Entry", "Latency", "entry", "family", "find", "get", "names"]

_FAMILIES = (
    *(mobilenet_v1, mobilenet_v2, mobilenet_v3, mnasnet, proxyless, fbnet, single_path_nas, efficientnet, mixnet),
    *(rexnet, shufflenet, resnet, inception, classics),
)
_ENTRIES: dict[str, Entry] = {entry.arch.name: entry for family in _FAMILIES for entry in family.ENTRIES}
_FAMILY = {entry.arch.name: family.__name__.rpartition(".")[2] for family in _FAMILIES for entry in family.ENTRIES}


def names(*, mobile: bool = False) -> tuple[str, ...]:
    """All networks, family by family, or only the `mobile` ones: of the blocks that search spaces are made of."""
    if not mobile:
        return tuple(_ENTRIES)
    blocks = {name: entry.arch.blocks for name, entry in _ENTRIES.items()}
    return tuple(name for name in _ENTRIES if all(isinstance(block, Mobile | Classifier) for block in blocks[name]))


def entry(name: str) -> Entry:
    """The network `name` at width 1.0 and its paper's resolution, with the paper and published numbers.

    Raises:
        ValueError: no such network; the message lists them.
    """
    if not isinstance(name, str) or name not in _ENTRIES:
        hint = did_you_mean(str(name), _ENTRIES)
        raise ValueError(f"no network {brief(name)!r} in the zoo{hint} (there are: {', '.join(_ENTRIES)})")
    return _ENTRIES[name]


def family(name: str) -> str:
    """Which family the network called `name` is of: the zoo's file that it stands in, like ``"mobilenet_v3"`` for
    ``"mobilenet_v3_small 0.75"``; for other networks the first word of `name`.
    """
    first = (name.split() or [""])[0]
    return _FAMILY.get(first, first)


def get(
    name: str, *, width: float = 1.0, resolution_px: int | None = None, classes: int = 1000, groups: int | None = None
) -> Arch:
    """The network `name` with a width multiplier, an input resolution and a number of classes.

    Args:
        resolution_px: the paper's if None: 224, and 299 for Inception V3.
        groups: of ShuffleNet's convolutions; 3 if None.

    Raises:
        ValueError: no such network, a width or a number of groups that it does not have, or a resolution or number of
            classes below 1.
    """
    published = entry(name)
    if groups is not None and name != "shufflenet_v1":
        raise ValueError(f"groups={groups} is for shufflenet_v1; leave it out for {name}")
    if groups is not None and type(groups) is not int:
        raise ValueError(f"groups={groups!r}: it must be a whole number")
    rewrite.check_width(width)
    if published.scaled:
        arch = published.scaled(width, **({} if groups is None else {"groups": groups}))
    else:
        arch = rewrite.width_multiplier(published.arch, width, widen_features=published.widen_features)
    return rewrite.classes(
        rewrite.resolution(arch, arch.resolution_px if resolution_px is None else resolution_px), classes
    )


def find(published: str, *, resolution_px: int = 224) -> Arch | None:
    """The network that others call `published`, like ``"MobileNetV3-Large 0.75"``; None if the zoo does not have it, or
    not at that width.

    Case, dashes, underscores and blanks make no difference. A number at the end is the width multiplier, 1.0 if there
    is none; after ``g`` it is the number of groups.
    """
    match = re.fullmatch(r"(?P<title>.+?)(?: (?P<width>\d+(?:\.\d+)?)x?)?(?: g(?P<groups>\d+))?", published.strip())
    if match is None:
        return None
    for candidate in _ENTRIES.values():
        for title, width in ((published, None), (match["title"], match["width"])):
            if _plain(title) in map(_plain, (candidate.arch.name, *candidate.also_called)):
                groups = int(match["groups"]) if match["groups"] else None
                try:
                    return get(candidate.arch.name, width=float(width or 1), resolution_px=resolution_px, groups=groups)
                except ValueError:
                    return None
    return None


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
