"""What augmentations of photographs cost, by library: `python -m experiments.augmentation_speed path=DIR`

CPU milliseconds a picture, one thread, medians of the turns that all take: of this project's augmentation (torch
resizes, Pillow colours), of kornia (on a batch of 64 float images; random resized crops, of pictures of all sizes, one
by one), of kornia_rs, and of Pillow or numpy alone. Of Imagenette, whose folder is path=; kornia and kornia_rs must be
installed.

    python -m experiments.augmentation_speed path=DIR [px=128,224] [turns=7] [images=64]
"""

import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from experiments import options, provenance, tables
from nas.training.augment import Augmentation
from nas.training.crops import erased, random_crop
from nas.training.datasets import Preprocessing
from nas.training.mixing import mixed
from nas.training.rand_augment import changed

DEFAULTS = {"path": "", "px": (128, 224), "turns": 7, "images": 64}
COLUMNS = ("ours", "kornia", "kornia_rs", "Pillow or numpy")
GREY = (127, 127, 127)
Work = Callable[[], object]


def main() -> None:
    given = options.read(DEFAULTS, needed=["path"])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of libraries that are only looked at
    every = sorted(Path(given["path"]).glob("train/*/*.JPEG"))
    jpegs = [file.read_bytes() for file in every[:: len(every) // given["images"]][: given["images"]]]
    rows = []
    for px in given["px"]:
        works = dict(compared(Pictures.of(jpegs, px)))
        for name, ms in measured(works, given["turns"], len(jpegs)).items():
            rows.append({"px": str(px), "operation": name, **{column: ms.get(column, "") for column in COLUMNS}})
    origin = provenance.of("0", packages=("kornia", "kornia_rs", "pillow"))
    path = tables.RESULTS / "augmentation_speed.csv"
    tables.show("CPU milliseconds a picture", rows, path, origin=origin)


def measured(works: dict[str, dict[str, Work]], turns: int, images: int) -> dict[str, dict[str, str]]:
    """CPU milliseconds a picture of each operation, by library."""
    seconds = {name: {library: [] for library in libraries} for name, libraries in works.items()}
    for _ in range(turns):
        for name, libraries in works.items():
            for library, work in libraries.items():
                start = time.process_time()
                work()
                seconds[name][library].append(time.process_time() - start)
    return {
        name: {library: f"{1000 * statistics.median(own) / images:.3f}" for library, own in libraries.items()}
        for name, libraries in seconds.items()
    }


@dataclass(frozen=True)
class Pictures:
    """The pictures in the forms that libraries take, and as `nas.training.pictures.Pictures`.

    Attributes:
        whole: (H, W, 3) uint8 each, as decoded.
        squares: (px, px, 3) uint8 each.
        batch: the squares, (n, 3, px, px) float in [0, 1].
    """

    jpegs: list[bytes]
    whole: list[np.ndarray]
    squares: list[np.ndarray]
    batch: torch.Tensor

    @staticmethod
    def of(jpegs: list[bytes], px: int) -> "Pictures":
        whole = [np.array(decoded(jpeg)) for jpeg in jpegs]
        squares = [np.array(Image.fromarray(picture).resize((px, px))) for picture in whole]
        batch = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float().div(255).contiguous()
        return Pictures(jpegs, whole, squares, batch)

    @property
    def labels(self) -> np.ndarray:
        return np.arange(len(self.jpegs)) % 10

    def __len__(self) -> int:
        return len(self.jpegs)

    def read(self, place: int, px: int) -> np.ndarray:
        return self.whole[place]

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        return self.squares[place]

    def name(self, place: int) -> str:
        return str(place)


def decoded(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def compared(of: Pictures) -> Iterator[tuple[str, dict[str, Work]]]:
    """Operations, and how each library does them to all pictures."""
    yield from of_files(of)
    yield from of_squares(of)
    yield from of_batches(of)


def of_files(of: Pictures) -> Iterator[tuple[str, dict[str, Work]]]:
    import kornia.augmentation as kornia  # type: ignore[import-not-found]  # looked at, not a dependency
    import kornia_rs  # type: ignore[import-not-found]

    px, rng, resize = of.batch.shape[2], np.random.default_rng(0), kornia_rs.imgproc.resize
    crop = kornia.RandomResizedCrop((px, px), scale=(0.25, 1), resample="bicubic")
    floats = [torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(255) for picture in of.whole]
    ours = Augmentation(crop_area=0.25)
    yield (
        "decode a JPEG",
        {
            "kornia_rs": lambda: [kornia_rs.io.ImageDecoder().decode(jpeg) for jpeg in of.jpegs],
            "Pillow or numpy": lambda: [decoded(jpeg) for jpeg in of.jpegs],
        },
    )
    yield (
        "random resized crop",
        {
            "ours": lambda: [random_crop(of, place, px, ours, rng) for place in range(len(of))],
            "kornia": lambda: [crop(image) for image in floats],
            "kornia_rs": lambda: [resize(np.ascontiguousarray(w[8:-8, 8:-8]), (px, px), "bicubic") for w in of.whole],
            "Pillow or numpy": lambda: [Image.fromarray(w[8:-8, 8:-8]).resize((px, px)) for w in of.whole],
        },
    )


def of_squares(of: Pictures) -> Iterator[tuple[str, dict[str, Work]]]:
    import kornia.augmentation as kornia  # type: ignore[import-not-found]
    import kornia_rs  # type: ignore[import-not-found]

    rng = np.random.default_rng(0)
    jitter = kornia_rs.augmentations.ColorJitter(0.4, 0.4, 0.4, 0.0)
    images = [kornia_rs.image.Image.from_numpy(square) for square in of.squares]

    def each(work: Callable[[np.ndarray], object]) -> Work:
        return lambda: [work(square) for square in of.squares]

    def batched(work: Callable[[torch.Tensor], object]) -> Work:
        return lambda: work(of.batch)

    yield (
        "mirror",
        {
            "ours": each(lambda square: torch.from_numpy(square).flip(1).numpy()),
            "kornia": batched(kornia.RandomHorizontalFlip(p=1.0)),
            "Pillow or numpy": each(lambda square: np.ascontiguousarray(square[:, ::-1])),
        },
    )
    yield (
        "colours",
        {
            "ours": each(lambda square: changed(square, Augmentation(colour=0.4), GREY, rng)),
            "kornia": batched(kornia.ColorJitter(0.4, 0.4, 0.4, 0.0, p=1.0)),
            "kornia_rs": lambda: [jitter(image) for image in images],
        },
    )
    yield (
        "RandAugment(2, 9)",
        {
            "ours": each(lambda square: changed(square, Augmentation(randaugment=2), GREY, rng)),
            "kornia": batched(kornia.auto.RandAugment(n=2, m=9)),
        },
    )
    yield (
        "erase",
        {
            "ours": each(lambda square: erased(square, GREY, rng)),
            "kornia": batched(kornia.RandomErasing(p=1.0)),
        },
    )


def of_batches(of: Pictures) -> Iterator[tuple[str, dict[str, Work]]]:
    import kornia.augmentation as kornia  # type: ignore[import-not-found]

    rng, labels = np.random.default_rng(0), torch.from_numpy(of.labels)
    mixup, cutmix = Augmentation(mixup=0.2), Augmentation(cutmix=1.0)
    their_mixup, their_cutmix = kornia.RandomMixUpV2(p=1.0), kornia.RandomCutMixV2(p=1.0)
    yield (
        "mixup",
        {
            "ours": lambda: mixed(of.batch.clone(), labels, 10, mixup, rng),
            "kornia": lambda: their_mixup(of.batch, labels),
        },
    )
    yield (
        "cutmix",
        {
            "ours": lambda: mixed(of.batch.clone(), labels, 10, cutmix, rng),
            "kornia": lambda: their_cutmix(of.batch, labels),
        },
    )


if __name__ == "__main__":
    options.run(main)
