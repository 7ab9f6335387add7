"""How people call the parts of a data set: folders, archives and tables."""

from collections.abc import Iterable

__all__ = ["by_part"]

_NAMES = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}


def by_part(names: Iterable[str]) -> dict[str, str]:
    """Which of `names` is which part: ``train``, ``holdout``, ``test``, in this order, those that there are.

    What is called ``val`` or the like is the holdout where there are test images, else the test images.
    """
    there = set(names)
    found = {part: name for part, known in _NAMES.items() for name in known if name in there}
    if "val" in found:
        found["holdout" if "test" in found else "test"] = found.pop("val")
    return {part: found[part] for part in ("train", "holdout", "test") if part in found}
