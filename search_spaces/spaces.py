"""The search spaces by name."""

from nas_runtime.console import did_you_mean
from search_spaces.accel_nasbench import accel_nasbench
from search_spaces.mnasnet import mnasnet
from search_spaces.mobilenet_v3 import mobilenet_v3
from search_spaces.space import SearchSpace

__all__ = ["get", "names"]

_SPACES = {"mnasnet": mnasnet, "mobilenet_v3": mobilenet_v3, "accel_nasbench": accel_nasbench}


def names() -> tuple[str, ...]:
    return tuple(_SPACES)


def get(name: str, *, base_width: float = 1.0, resolution_px: int = 224, classes: int = 1000) -> SearchSpace:
    """The space `name`; the arguments are those of its function (see `mnasnet.mnasnet`).

    Raises:
        ValueError: no such space, or a value that the space refuses.
    """
    if not isinstance(name, str) or name not in _SPACES:
        hint = did_you_mean(str(name), _SPACES)
        raise ValueError(f"no search space {name!r}{hint}; there are: {', '.join(_SPACES)}")
    return _SPACES[name](base_width=base_width, resolution_px=resolution_px, classes=classes)
