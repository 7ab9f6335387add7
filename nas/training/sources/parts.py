"""How people call the parts of a data set: folders, archives and tables."""

from collections.abc import Iterable

from nas.training.sources.wanted import DataError

__all__ = ["by_part"]

_NAMES = {"train": ("train", "training"), "test": ("test", "testing"), "val": ("val", "valid", "validation")}


def by_part(names: Iterable[str], whose: object) -> dict[str, str]:
    """Which of `names`, in upper or lower case, is which part: ``train``, ``holdout``, ``test``, in this order, those
    that there are.

    What is called ``val`` or the like is the holdout where there are test images, else the test images.

    Args:
        whose: they are, for messages: a folder.

    Raises:
        DataError: two of them are the same part.
    """
    there = sorted(set(names))
    found: dict[str, str] = {}
    for part, known in _NAMES.items():
        its = [name for name in there if name.casefold() in known]
        if len(its) > 1:
            raise DataError(f"{whose} has {' and '.join(its)}, which are names of the same part; leave one of them")
        if its:
            found[part] = its[0]
    if "val" in found:
        found["holdout" if "test" in found else "test"] = found.pop("val")
    return {part: found[part] for part in ("train", "holdout", "test") if part in found}
