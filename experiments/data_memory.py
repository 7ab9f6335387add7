"""Does memory grow with the number of images? `python -m experiments.data_memory path=DIR [images=13394,1300000]`

Makes folders of that many images, links to those in `path` (train/ and val/ of folders of classes), and opens each as
`image_folder` in a process of its own: to be trained on at 160 px, with batches of 64 by two workers, twice. The first
time the index is made, and pictures are decoded and kept if they are few enough; the second time they are known.
Memory is the most that the process and its workers have at one time, looked at ten times a second: anonymous and shared
pages, each counted once. Mapped files are left out: the system takes their pages back when it needs them. So is what
the C library's malloc does not give back of batches that are no longer there (MALLOC_MMAP_THRESHOLD_), which depends on
what was allocated before.

    python -m experiments.data_memory path=DIR [images=13394,1300000]

Prints a table, and writes experiments/results/data_memory.csv. The folders are made in TMPDIR, on the disk of `path`,
with names of their own, and removed again.
"""

import contextlib
import multiprocessing
import os
import random
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from experiments import options, provenance, tables

BATCHES, BATCH, PX, WORKERS = 100, 64, 160, 2


def main() -> None:
    given = options.read({"path": "", "images": (13394, 1300000)}, needed=["path"])
    rows = []
    for images in given["images"]:
        with (
            tempfile.TemporaryDirectory(prefix="data_memory_") as folder,
            tempfile.TemporaryDirectory(prefix="data_memory_") as cache,
        ):
            linked(Path(given["path"]), images, Path(folder))
            for when in ("first", "again"):
                memory, opening_s = measured(Path(folder), Path(cache))
                rows.append(
                    {
                        "images": f"{images:,}",
                        "opened": when,
                        "memory, MB": f"{memory / 1e6:.0f}",
                        "of the first": f"{100 * memory / 1e6 / float(rows[0]['memory, MB']) if rows else 100:.1f} %",
                        "opening, CPU s": f"{opening_s:.0f}",
                    }
                )
    origin = provenance.of("images 0, batches 0", packages=("torch", "numpy", "pillow"))
    tables.show("Memory of image_folder", rows, tables.RESULTS / "data_memory.csv", origin=origin)


def linked(source: Path, images: int, folder: Path) -> None:
    """Fills `folder` with so many links to the images in `source`, in the same parts and classes."""
    files = sorted(path for part in ("train", "val") for path in (source / part).glob("*/*") if path.is_file())
    random.Random(0).shuffle(files)
    for number, file in enumerate(islice(cycle(files), images)):
        link = folder / file.parent.relative_to(source) / f"{number // len(files):04}_{file.name}"
        if number < len(files):
            link.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, link)


def measured(folder: Path, cache: Path) -> tuple[int, float]:
    """The most memory of a process that uses the images in `folder`, in bytes, and the CPU seconds of opening them."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)  # bytes: larger blocks are given back at once
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=use, args=(folder, cache, sender))
    process.start()
    most = 0
    while process.is_alive():
        assert process.pid is not None
        most = max(most, sum(memory(pid) for pid in (process.pid, *descendants(process.pid))))
        time.sleep(0.1)
    if process.exitcode:
        raise OSError(f"using {folder} failed")
    return most, receiver.recv()


def use(folder: Path, cache: Path, sender) -> None:  # a multiprocessing.connection.Connection
    os.environ["XDG_CACHE_HOME"] = str(cache)
    from nas.training import sources
    from nas.training.augment import Augmentation
    from nas.training.feed import Feed

    start = time.process_time()
    data = sources.pictures("image_folder", path=folder, resolution_px=PX)
    sender.send(time.process_time() - start)
    augmentation = Augmentation(crop_area=0.25)
    with Feed(
        data.train, data, augmentation, batch=BATCH, micro_batch=BATCH, rng_seed=0, workers=WORKERS, device="cpu"
    ) as feed:
        for _ in islice(feed.epoch(0), BATCHES):
            pass


def memory(pid: int) -> int:
    """Anonymous and shared pages of a process in bytes, its part of those that it shares; 0 once it has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return 0


def descendants(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [each for child in map(int, children) for each in (child, *descendants(child))]
    return []


if __name__ == "__main__":
    options.run(main)
