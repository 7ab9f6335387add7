"""The published networks that stand beside what a search finds."""

from collections.abc import Mapping

from search_spaces import zoo
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

__all__ = ["REFERENCES", "references", "sizes"]

REFERENCES: Mapping[str, tuple[str, float]] = {
    "mobilenet_v3_small": ("mobilenet_v3_small", 1.0),
    "mnasnet_small": ("mnasnet_small", 1.0),
    "mobilenet_v2 0.35": ("mobilenet_v2", 0.35),
}
"""By the name that reports show: names in the zoo, and widths."""


def references(space: SearchSpace) -> dict[str, Arch]:
    """`REFERENCES` for images and classes like those of the networks of `space`."""
    return {name: zoo.get(network, width=width, **sizes(space)) for name, (network, width) in REFERENCES.items()}


def sizes(space: SearchSpace) -> dict[str, int]:
    """Resolution and classes of the networks of `space`."""
    arch = space.decode([0] * len(space.choices))
    return {"resolution_px": arch.resolution_px, "classes": arch.blocks[-1].out_ch}
