"""The search spaces by name."""

from dataclasses import replace

from nas_runtime.console import brief
from nas_runtime.declared import call
from nas_runtime.registry import Registry
from search_spaces.space import SearchSpace

__all__ = ["SPACES", "get", "names"]

SPACES = Registry(
    "search space",
    "platform_aware_nas.spaces",
    {
        "mnasnet": "search_spaces.mnasnet:mnasnet",
        "mobilenet_v3": "search_spaces.mobilenet_v3:mobilenet_v3",
        "accel_nasbench": "search_spaces.accel_nasbench:accel_nasbench",
    },
)
"""Functions that make spaces, by name: ``make(base_width=1.0, resolution_px=224, classes=1000) -> SearchSpace``, which
refuse values that they cannot have with a ValueError. `nas.testing.check_space` says whether a space keeps what is
promised of spaces.
"""


def names() -> tuple[str, ...]:
    """Those that are shipped, and those that installed packages declare."""
    return SPACES.names()


def get(name: str, *, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space `name`; the arguments are those of its function (see `mnasnet.mnasnet`).

    Args:
        name: one of `names`, or ``package.module:function``. The space is called so, whatever its function calls it:
            records then say how to have it again.

    Raises:
        ValueError: no such space, or a value that the space refuses.
    """
    make, what = SPACES.get(name), f"search space {name}"
    space = call(make, what, base_width=base_width, resolution_px=resolution_px, classes=classes)
    if not isinstance(space, SearchSpace):
        raise ValueError(f"{what} gave {brief(repr(space))}; it must give a SearchSpace")
    return space if space.name == name else replace(space, name=name)
