"""``image_folder``: one's own pictures, in a folder a class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.training.datasets import Dataset, Split, cut_holdout, make
from nas.training.sources.cache import cached
from nas.training.sources.images import class_files, decode_all
from nas.training.sources.wanted import DataError, DataFacts, Wanted, holdout_of

__all__ = ["load", "look"]

_DEFAULT_PX = 64

Files = Mapping[str, Mapping[str, Sequence[Path]]]  # of a part, of a class


def look(wanted: Wanted) -> DataFacts:
    files = _files(wanted.given_path())
    train, test = (sum(map(len, files[part].values())) for part in ("train", "test"))
    held = holdout_of(wanted, train, default=max(1, train // 10))
    return DataFacts(
        name=wanted.name,
        resolution_px=wanted.resolution_px or _DEFAULT_PX,
        channels=3,
        class_names=tuple(sorted(files["train"])),
        train_images=train - held,
        holdout_images=held,
        test_images=test,
        resize="shorter_side",
    )


def load(wanted: Wanted) -> Dataset:
    """Images in ``train/<class>/`` and ``test/<class>/`` (or ``val/``), of any size.

    Each image is resized once, shorter side to `resolution_px`, and cropped to its centre. The holdout is a tenth of
    the training images unless given.
    """
    folder, px = wanted.given_path(), wanted.resolution_px or _DEFAULT_PX
    files = _files(folder)
    classes = sorted(files["train"])

    def read() -> dict[str, Split]:
        return {
            part: decode_all([(classes.index(c), p.read_bytes(), str(p)) for c in sorted(f) for p in f[c]], px)
            for part, f in files.items()
        }

    splits = cached(folder, f"image_folder-{px}px", read)
    n = holdout_of(wanted, len(splits["train"]), default=max(1, len(splits["train"]) // 10))
    train, holdout = cut_holdout(splits["train"], n, rng_seed=0)
    return make(
        wanted.name,
        train=train,
        holdout=holdout,
        test=splits["test"],
        classes=len(classes),
        class_names=classes,
        resize="shorter_side",
    )


def _files(folder: Path) -> Files:
    test = next((folder / name for name in ("test", "val") if (folder / name).is_dir()), None)
    if not (folder / "train").is_dir() or test is None:
        raise DataError(f"{folder} must have train/ and test/ (or val/) with one folder of images a class")
    files = {"train": class_files(folder / "train"), "test": class_files(test)}
    if extra := set(files["test"]) - set(files["train"]):
        raise DataError(f"{test} has the class {min(extra)!r}, which {folder / 'train'} lacks")
    return files
