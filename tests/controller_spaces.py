"""Spaces that controllers are tested on."""

from search_spaces import zoo
from search_spaces.space import Choice, SearchSpace


def small_space(*sizes: int) -> SearchSpace:
    choices = tuple(Choice(f"c{i}", tuple(range(n))) for i, n in enumerate(sizes))
    return SearchSpace(name="small", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))


def conditional_space() -> SearchSpace:
    """The kernel matters only where there is a layer."""
    choices = (
        Choice("layers", (0, 1)),
        Choice("kernel", (3, 5, 7), when=("layers", (1,))),
        Choice("se", (False, True)),
    )
    return SearchSpace(name="conditional", choices=choices, decode=lambda indices: zoo.get("mnasnet_small"))
