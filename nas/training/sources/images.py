"""How one picture, whatever its size and kind, becomes an image of a data set.

A picture is turned as its EXIF orientation says. What is transparent shows white. Grey of 16 bits is scaled to 8. Of
several frames or pages the first is taken; everything else is what Pillow converts it to.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nas.training.sources.wanted import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SHORTER",
    "decode",
    "decode_all",
    "is_picture",
    "look_at",
    "reads_heif",
    "shrunk",
    "shrunk_sides",
    "stretched",
]

# Pillow's names of the formats that are read. Those that start other programs (EPS) or only name a reader that is not
# there (HDF5) are not among them.
_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "AVIF", "HEIF", "JPEG2000", "PPM", "TGA", "QOI")
SHORTER = 1.5
"""Times what is asked for is the shorter side of a picture for trainings, which cut squares out of it, where it is made
smaller."""
_MOST_PIXELS = 2**27
"""Of one picture: 134 million, 0.4 GB when decoded."""
_MOST_BYTES = 2**28
"""Of the file of one picture."""
_NAMED = 10
"""Of the pictures that cannot be read, besides the first."""


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow reads."""
    from PIL import Image, features

    Image.init()
    needs = {name: features.check(of) for name, of in (("AVIF", "avif"), ("WEBP", "webp"), ("JPEG2000", "jpg_2000"))}
    needs["HEIF"] = reads_heif()
    return tuple(name for name in _FORMATS if name in Image.OPEN and needs.get(name, True))


def reads_heif() -> bool:
    """Whether phones' HEIC pictures are read: where the package pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    register_heif_opener()
    return True


@cache
def _suffixes() -> frozenset[str]:
    """Endings, in lower case and with the dot, of the names of files that are read as pictures."""
    from PIL import Image

    formats = _formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def is_picture(name: str) -> bool:
    """Whether a file of this name is read as a picture."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in _suffixes()


def decode_all(files: Sequence[Path], px: int) -> np.ndarray:
    """The pictures as colour images (N, px, px, 3) uint8. One at a time: no more memory than these take.

    Raises:
        DataError: names the first that cannot be read, and says how many others cannot: they are mended at once.
    """
    images = np.empty((len(files), px, px, 3), np.uint8)
    unread = []
    for i, file in enumerate(files):
        try:
            images[i] = decode(file, str(file), px)
        except DataError as e:
            unread.append((file.name, e))
    if unread:
        others = [name for name, _ in unread[1:]]
        named = ", ".join(others[:_NAMED]) + ", ..." * (len(others) > _NAMED)
        raise DataError(f"{unread[0][1]}" + (f"; nor are {len(others)} more: {named}" if others else ""))
    return images


def decode(file: Path | BinaryIO, name: str, px: int, *, resize_px: int | None = None) -> np.ndarray:
    """One picture as a colour image (px, px, 3) uint8: its shorter side is resized to `resize_px`, and the middle cut
    out.

    JPEGs are decoded in full: at a fraction of the size, as they could be, they would give slightly other pixels than
    programs give that show pictures to the finished network.

    Args:
        name: of the picture, for messages.
        resize_px: at least `px`; None: `px`.

    Raises:
        DataError: it cannot be read, or is too large.
    """
    return _read(file, name, lambda image: _square(_upright(image), px, resize_px or px))


def shrunk(file: Path | BinaryIO, name: str, px: int) -> np.ndarray:
    """One picture as a colour image (H, W, 3) uint8, whole, for trainings: one whose shorter side is more than twice
    `px` is resized to `SHORTER` times `px`.

    Large JPEGs are decoded at a half, a quarter or an eighth of their size, which takes a fraction of the time.

    Raises:
        DataError: as `decode`.
    """

    def change(image: "Image") -> "Image":
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (round(SHORTER * px), round(SHORTER * px)))  # to no less than this
        return _upright(image)

    image = _read(file, name, change)
    height, width = shrunk_sides(np.array(image.shape[:2]), px).tolist()
    return image if image.shape[:2] == (height, width) else _resized(image, height, width)


def shrunk_sides(sides: np.ndarray, px: int) -> np.ndarray:
    """Those of pictures with `sides` (2, ...) after `shrunk`."""
    shorter = sides.min(0)
    scale = np.where(shorter > 2 * px, SHORTER * px / shorter, 1.0)
    return np.rint(sides * scale).astype(np.int64)


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint8, by torch: a quarter of Pillow's time, and within 1 of what it gives."""
    import torch
    from torch.nn import functional as F

    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def look_at(file: Path | BinaryIO, name: str, *, thorough: bool = False) -> tuple[int, int]:
    """Width and height of a picture as they stand in its file, which is not decoded if its end is where it should be.

    Args:
        thorough: decode it in any case.

    Raises:
        DataError: as `decode`; what is wrong amid a file is found by decoding only.
    """

    def change(image: "Image") -> "Image":
        size[:] = image.size
        if thorough or not _ends_well(image):
            _upright(image)
        return Image.new("RGB", (1, 1))

    from PIL import Image

    size: list[int] = []
    _read(file, name, change)
    return size[0], size[1]


def _ends_well(image: "Image") -> bool:
    """Whether the file of `image`, just opened, ends as complete files of its kind do."""
    end = b"\xff\xd9"
    ending = {"JPEG": end, "MPO": end, "PNG": b"IEND\xaeB`\x82", "GIF": b";"}.get(image.format or "")
    file: BinaryIO | None = getattr(image, "fp", None)
    if ending is None or file is None:
        return False
    here = file.tell()
    file.seek(-len(ending), os.SEEK_END)
    found = file.read()
    file.seek(here)
    return found == ending


def stretched(file: Path | BinaryIO, name: str, px: int) -> np.ndarray:
    """One picture as a colour image (px, px, 3) uint8: both sides are resized, each by itself.

    Raises:
        DataError: as `decode`.
    """
    return _read(file, name, lambda image: _upright(image).resize((px, px)))


def _read(file: Path | BinaryIO, name: str, change: "Callable[[Image], Image]") -> np.ndarray:
    """The picture in `file`, changed, on white: (H, W, 3) uint8."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata, and of sizes: these are checked here
        try:
            if isinstance(file, Path) and file.stat().st_size > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES / 2**20:.0f} MiB, the most that is read of one image")
            with Image.open(file, formats=_formats()) as image:
                if image.width * image.height <= _MOST_PIXELS:
                    return np.asarray(_on_white(change(image)))
                reason = f"{image.width} x {image.height} pixels are more than the {_MOST_PIXELS:,} that are read"
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as e:
            # far too large, or, where warnings are errors, another thread has just set the filters back
            pixels = int("".join(filter(str.isdigit, str(e).partition(")")[0])))
            reason = f"{pixels:,} pixels are more than the {_MOST_PIXELS:,} that are read"
        except Exception as e:  # a damaged file can raise anything
            reason = str(e).replace(repr(file), "unknown format") or type(e).__name__
    raise DataError(f"{name} is not a readable image ({reason})")


def _upright(image: "Image") -> "Image":
    """`image` as its EXIF orientation says, in RGB, or RGBA if parts of it are transparent."""
    from PIL import ImageOps

    ImageOps.exif_transpose(image, in_place=True)
    return _eight_bits(image).convert("RGBA" if image.has_transparency_data else "RGB")


def _on_white(image: "Image") -> "Image":
    from PIL import Image

    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _eight_bits(image: "Image") -> "Image":
    """`image`, if it is grey of more than 8 bits, scaled to 8 by what its kind can hold, not by what it does hold.

    That is 65,535 for integers and 1 for floats; a file of larger values does not say what is white in it.

    Raises:
        ValueError: it has other values.
    """
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    white = 1.0 if image.mode == "F" else 65535.0
    values = np.asarray(image).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= white:  # nor NaN
        raise ValueError(f"its values are {low:g} to {high:g}, allowed are 0 to {white:g}; convert it to 8 bits")
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))


def _square(image: "Image", px: int, resize_px: int) -> "Image":
    """The middle `px` on both sides of `image`, after its shorter side is resized to `resize_px`.

    Only what is cut out is resized, so that a very long picture takes no more memory than a square one.
    """
    if image.size == (px, px) == (resize_px, resize_px):
        return image
    scale = resize_px / min(image.size)
    (left, right), (upper, lower) = (_middle(side, max(resize_px, round(side * scale)), px) for side in image.size)
    return image.resize((px, px), box=(left, upper, right, lower))


def _middle(side: int, resized: int, px: int) -> tuple[float, float]:
    """Where, on a side of `side` pixels, the part begins and ends that becomes the middle `px` when the side is
    resized to `resized`."""
    start = (resized - px) // 2
    return start * side / resized, min(side, (start + px) * side / resized)
