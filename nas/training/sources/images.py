"""Pictures in folders of classes, and how each becomes an image of the data set."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas.training.datasets import Split
from nas.training.sources.wanted import DataError

__all__ = ["IMAGE_SUFFIXES", "class_files", "decode_all"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def class_files(folder: Path) -> dict[str, list[Path]]:
    """The pictures in each folder of `folder`."""
    found = {
        child.name: sorted(p for p in child.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        for child in sorted(folder.iterdir())
        if child.is_dir()
    }
    if not any(found.values()):
        raise DataError(f"{folder} has no images in folders of classes")
    return found


def decode_all(items: Sequence[tuple[int, bytes, str]], resolution_px: int) -> Split:
    """Colour images, resized so that the shorter side is resolution_px, cropped to the centre."""
    from PIL import Image, UnidentifiedImageError

    images = np.empty((len(items), resolution_px, resolution_px, 3), np.uint8)
    for i, (_, raw, name) in enumerate(items):
        try:
            image = Image.open(io.BytesIO(raw)).convert("RGB")
        except (UnidentifiedImageError, OSError) as e:
            raise DataError(f"{name} is not a readable image ({e})") from None
        if image.size != (resolution_px, resolution_px):
            scale = resolution_px / min(image.size)
            image = image.resize([max(resolution_px, round(side * scale)) for side in image.size])  # type: ignore[arg-type]
            left, top = ((side - resolution_px) // 2 for side in image.size)
            image = image.crop((left, top, left + resolution_px, top + resolution_px))
        images[i] = np.asarray(image)
    return Split(images, np.array([label for label, _, _ in items], np.int64))
