"""What reading and augmenting photographs costs a training: `python -m experiments.data_throughput path=DIR`

Trains MobileNetV3-Small for the ten classes of Imagenette (its folder: path=), forward, backward and AdamW, on

    bare     one batch that is in memory, again and again
    kept     `nas.training.feed.Feed` from decoded pictures that the data set keeps, mapped into memory
    files    `Feed` from JPEG files, as it is where they are too many to be kept
    pillow   torch's DataLoader with transforms as one writes them with Pillow: decode, random resized crop, mirror,
             to float and normalise in the workers
    timm     timm's loader, in timm's Python (timm_path=), with timm's network; beside it that network on one batch

Crops are of 25 to 100 % of the area, bicubic. All take turns, of which each begins with updates that are not timed, so
that no batch counts that was made before. Images a second, medians of the turns, and the median ratio to bare of the
same turn.

    python -m experiments.data_throughput path=DIR [px=128,160] [turns=3] [threads=2] [workers=2] [timm_path=PYTHON]
"""

import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from experiments import options, provenance, tables
from nas.training import sources
from nas.training.augment import Augmentation
from nas.training.datasets import Preprocessing
from nas.training.feed import Feed
from nas.training.pictures import Pictures, PictureSet
from nas.training.sources.images import shrunk
from nas.training.train import new_net
from nas_runtime.memory import keep_freed_memory
from search_spaces import zoo

DEFAULTS = {
    "path": "",
    "px": (128, 160),
    "turns": 3,
    "updates": 12,
    "batch": 64,
    "threads": 2,
    "workers": 2,
    "timm_path": "",
}
UNTIMED = 6  # updates; more than the batches that workers make ahead
CROPS = Augmentation(crop_area=0.25)
Batch = tuple[Tensor, Tensor]
Turn = Callable[[], float]


def main() -> None:
    given = options.read(DEFAULTS, needed=["path"])
    torch.set_num_threads(given["threads"])
    keep_freed_memory()  # as all trainings here
    origin = provenance.of("order of pictures, crops and weights 0")
    rows = []
    for px in given["px"]:
        theirs = Timm(given, px) if given["timm_path"] else None
        rows += measured(given, px, theirs)
        if theirs:
            theirs.close()
            origin["theirs"] = theirs.versions
    tables.show("images a second", rows, tables.RESULTS / "data_throughput.csv", origin=origin)


def measured(given: dict, px: int, theirs: "Timm | None") -> list[dict[str, str]]:
    """A row for each way to get pictures."""
    data = sources.pictures("image_folder", path=given["path"], resolution_px=px)
    size = {name: given[name] for name in ("batch", "workers")}
    step, updates = trained(px), given["updates"]
    batch = next(fed(data.train, data, batch=given["batch"], workers=0))
    ways: dict[str, Turn] = {
        "bare": turn(step, itertools.repeat(batch), updates),
        "kept": turn(step, fed(data.train, data, **size), updates),
        "files": turn(step, fed(NotKept(data.train), data, **size), updates),
        "pillow": turn(step, pillow(data, **size), updates),
    }
    if theirs:
        ways |= {"timm, bare": lambda: theirs.turn("bare"), "timm": lambda: theirs.turn("loader")}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given["turns"]):
        for name, own in seconds.items():
            own.append(ways[name]())
    return [row(px, name, updates * given["batch"], seconds) for name in ways]


def row(px: int, name: str, images: int, seconds: dict[str, list[float]]) -> dict[str, str]:
    bare = seconds["timm, bare" if name.startswith("timm") else "bare"]
    ratios = [own / other for own, other in zip(bare, seconds[name], strict=True)]
    return {
        "px": str(px),
        "pictures from": name,
        "images a second": f"{images / statistics.median(seconds[name]):.0f}",
        "of bare": f"{statistics.median(ratios):.2f}",
        "least": f"{min(ratios):.2f}",
        "most": f"{max(ratios):.2f}",
    }


def trained(px: int) -> Callable[[Tensor, Tensor], None]:
    """An update of MobileNetV3-Small."""
    net = new_net(zoo.get("mobilenet_v3_small", classes=10, resolution_px=px), rng_seed=0).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(x), y, label_smoothing=0.1).backward()
        optimizer.step()

    return step


def turn(step: Callable[[Tensor, Tensor], None], batches: Iterator[Batch], updates: int) -> Turn:
    """A function that makes so many updates and gives the seconds that they took."""

    def seconds() -> float:
        for x, y in itertools.islice(batches, UNTIMED):
            step(x, y)
        start = time.perf_counter()
        for x, y in itertools.islice(batches, updates):
            step(x, y)
        return time.perf_counter() - start

    return seconds


@dataclass(frozen=True)
class NotKept:
    """Pictures of files, decoded whenever they are read."""

    part: Pictures

    @property
    def labels(self) -> np.ndarray:
        return self.part.labels

    def __len__(self) -> int:
        return len(self.part)

    def read(self, place: int, px: int) -> np.ndarray:
        name = self.name(place)
        return shrunk(Path(name), name, px)

    def square(self, place: int, rule: Preprocessing) -> np.ndarray:
        return self.part.square(place, rule)

    def name(self, place: int) -> str:
        return self.part.name(place)


def fed(pictures: Pictures, data: PictureSet, *, batch: int, workers: int) -> Iterator[Batch]:
    """Batches of our `Feed`, without end."""
    settings = {"batch": batch, "micro_batch": batch, "rng_seed": 0, "device": "cpu"}
    with Feed(pictures, data, CROPS, workers=workers, **settings) as feed:
        for number in itertools.count():
            for micro_batches in feed.epoch(number):
                yield from micro_batches


class Plain(Dataset):
    """Files with the transforms of most training scripts."""

    def __init__(self, data: PictureSet) -> None:
        self.files = [data.train.name(place) for place in range(len(data.train))]
        self.labels, self.px = data.train.labels, data.resolution_px
        self.mean, self.std = (np.array(values, np.float32) for values in (data.mean, data.std))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        from PIL import Image

        image = Image.open(self.files[place]).convert("RGB")
        width, height = image.size
        for _ in range(10):
            area = np.random.uniform(0.25, 1) * width * height
            aspect = np.exp(np.random.uniform(-1, 1) * np.log(4 / 3))
            w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if w <= width and h <= height:
                break
        else:
            w = h = min(width, height)
        left, top = np.random.randint(width - w + 1), np.random.randint(height - h + 1)
        image = image.crop((left, top, left + w, top + h)).resize((self.px, self.px), Image.Resampling.BICUBIC)
        if np.random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy((np.asarray(image, np.float32) / 255 - self.mean) / self.std)
        return pixels.permute(2, 0, 1).contiguous(), int(self.labels[place])


def pillow(data: PictureSet, *, batch: int, workers: int) -> Iterator[Batch]:
    settings = {"persistent_workers": True, "multiprocessing_context": "forkserver"} if workers else {}
    loader = DataLoader(Plain(data), batch, shuffle=True, drop_last=True, num_workers=workers, **settings)
    while True:
        for x, y in loader:
            yield x.contiguous(memory_format=torch.channels_last), y


class Timm:
    """timm's loader and network in a process of their own (`experiments.timm_loader`)."""

    def __init__(self, given: dict, px: int) -> None:
        script = Path(__file__).with_name("timm_loader.py")
        words = [px, *(given[name] for name in ("batch", "threads", "workers", "updates")), UNTIMED]
        self._process = subprocess.Popen(
            [given["timm_path"], script, Path(given["path"]) / "train", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.versions = self._process.stdout.readline().strip()

    def turn(self, what: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(what, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()  # the end of its input is its end


if __name__ == "__main__":
    options.run(main)
