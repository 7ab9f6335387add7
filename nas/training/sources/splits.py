"""Which pictures are for training, for selecting networks (holdout), and for the final figure (test).

Where a data set does not say it itself, pictures are drawn by the hashes of their names, in each class alike: always
the same ones, whatever order they come in; and by a share, none is moved when others come or go.
"""

import numpy as np

from nas.training.datasets import drawn_places
from nas.training.sources.index import Index
from nas.training.sources.wanted import DataError, Wanted, check_train_images
from nas_runtime.console import counted

__all__ = ["describe", "divided"]

_TENTH = 0.1


def divided(index: Index, wanted: Wanted) -> dict[str, np.ndarray]:
    """The places (n,) int64 of the pictures of each part, ``train``, ``holdout`` and ``test``, in the index's order.

    Those of the group ``train`` are cut, unless there are groups of the names of other parts. Pictures that cannot be
    read are in none.

    Raises:
        DataError: a part would be empty, or something is to be cut that is there.
    """
    group = {name: number for number, name in enumerate(index.about.groups)}
    for part, its in (("holdout", wanted.holdout), ("test", wanted.test)):
        if part in group and its is not None:
            raise DataError(f"dataset.{part}={its}: {wanted.name} has {part} images of its own; leave it out")
    readable = index.rows["readable"]
    found = {part: np.flatnonzero(readable & (index.rows["group"] == number)) for part, number in group.items()}
    for number, part in enumerate(("test", "holdout")):
        if part not in found:
            chosen = _drawn(index, found["train"], wanted, part, shift=32 * number)
            found[part], found["train"] = found["train"][chosen], found["train"][~chosen]
    if (n := wanted.train_images) is not None:
        check_train_images(n, len(found["train"]), wanted.name)
        found["train"] = found["train"][drawn_places(len(found["train"]), n, rng_seed=1)]
    return {part: found[part] for part in ("train", "holdout", "test")}


def _drawn(index: Index, places: np.ndarray, wanted: Wanted, part: str, *, shift: int) -> np.ndarray:
    """Which of the pictures at `places` are for `part`, which is cut from them.

    Args:
        shift: of the hashes: parts that are cut one after the other are drawn by other bits of them.
    """
    asked: float | int | None = getattr(wanted, part)
    n = _TENTH if asked is None else asked
    labels = index.rows["label"][places]
    draws = (index.rows["hash"][places] >> np.uint64(shift)).astype(np.uint32)
    images = np.bincount(labels, minlength=len(index.about.class_names))
    # of each class one stays for training, and another for the holdout, which is cut last
    most = np.maximum(images - (1 if part == "holdout" else 2), 0)
    if isinstance(n, int):
        chosen, quota = np.zeros(len(places), bool), _apportioned(n, images, most, f"dataset.{part}", wanted.name)
        wrong = np.flatnonzero(quota)
    else:
        chosen = draws < n * 2**32
        drawn = np.bincount(labels[chosen], minlength=len(images))
        quota = np.minimum(np.maximum(drawn, 1), most)
        wrong = np.flatnonzero(quota != drawn)
    for label in wrong:
        its = np.flatnonzero(labels == label)
        order = its[np.argsort(draws[its], kind="stable")]
        chosen[order] = np.arange(len(order)) < quota[label]
    if not chosen.any():
        has = counted(len(places), "image")
        raise DataError(
            f"{wanted.name} has {has} to cut the {part} from, and of no class as many as are needed: 2, or 3 for test "
            "and holdout"
        )
    return chosen


def _apportioned(n: int, images: np.ndarray, most: np.ndarray, option: str, name: str) -> np.ndarray:
    """How many of `n` pictures are of each class, which has so many `images` and may give so many at `most`: as many as
    are due, to the nearest.

    Raises:
        DataError: they are too many.
    """
    if not 0 < n <= most.sum():
        has = f"{name} has {counted(int(images.sum()), 'training image')}"
        raise DataError(
            f"{option}={n}: allowed are 1 to {most.sum()}, since {has} and some of each class stay, or a share below 1"
        )
    due = n * images / images.sum()
    quota = np.minimum(np.floor(due), most).astype(np.int64)
    while left := n - int(quota.sum()):
        room = np.flatnonzero(quota < most)
        quota[room[np.argsort(quota[room] - due[room], kind="stable")[:left]]] += 1
    return quota


def describe(index: Index, wanted: Wanted) -> str:
    """How the pictures came into parts, in words; empty if nothing was cut."""
    said = []
    for part in ("test", "holdout"):
        if part not in index.about.groups:
            asked: float | int | None = getattr(wanted, part)
            n = _TENTH if asked is None else asked
            amount = counted(n, "image") if isinstance(n, int) else f"{100 * n:g} %"
            said.append(f"{part} {amount}")
    return f"{' and '.join(said)} of the training images, in each class alike, drawn by their names" if said else ""
