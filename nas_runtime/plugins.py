"""What others have made, on the command line: ``controller=my_package:Mine`` and ``controller=annealing``.

A controller, space, evaluator or data set is chosen from a group of files in conf/. One that comes from elsewhere has
no file there: it becomes a node of its group when it is asked for, with the settings that all of its group have, and
those that it declares itself (`nas_runtime.declared`). From then on it is like a file: ``controller.settings.lr=1``,
sweeps, and configs of one's own work.
"""

from collections.abc import Mapping
from typing import Any

from nas_runtime.declared import defaults
from nas_runtime.registry import DOTTED, Registry, is_dotted

__all__ = ["names", "offer", "offered", "own"]

_TARGETS = "${oc.select:target.base_width,1.0}"
_NODES: Mapping[str, Mapping[str, Any]] = {
    "controller": {},
    "space": {"base_width": _TARGETS, "resolution_px": 224, "classes": None},
    "dataset": {
        "path": None,
        "download": False,
        **dict.fromkeys(("train_images", "holdout", "test", "resolution_px", "crop")),
    },
    "evaluator": {"search": {"samples": 1000, "batch": 10, "executor": "ray"}},
}
_WITH_SETTINGS = ("controller", "evaluator")


def names(group: str) -> tuple[str, ...]:
    """What installed packages declare for a group of conf/. Imports nothing of theirs."""
    return _declared(group).names() if group in _NODES else ()


def own(group: str) -> str:
    """What to say behind the names that a group has: how one's own is written, if the group may have any."""
    return f"; your own: {DOTTED}" if group in _NODES else ""


def offer(group: str, name: str) -> bool:
    """Lets Hydra find `name` in a group of conf/, if it comes from elsewhere; gives whether it does.

    Raises:
        ValueError: it cannot be imported, or declares its settings wrongly.
    """
    from hydra.core.config_store import ConfigStore

    if group not in _NODES or not (is_dotted(name) or name in names(group)):
        return False
    thing, node = _declared(group).get(name), {"name": name, **_NODES[group]}
    if group in _WITH_SETTINGS:
        node["settings"] = defaults(thing, f"{group} {name}")
    ConfigStore.instance().store(group=group, name=name, node=node)
    return True


def offered(group: str) -> set[str]:
    """What this process has asked for before, which is no name that others know."""
    from hydra.core.config_store import ConfigStore

    return {file.removesuffix(".yaml") for file in ConfigStore.instance().repo.get(group, {})}


def _declared(group: str) -> Registry:
    """The registry of what others have made for a group of conf/; what is shipped has files there."""
    return Registry(group, f"platform_aware_nas.{group}s", {})
