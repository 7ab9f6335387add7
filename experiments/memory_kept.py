"""What is gained when a training keeps the memory of freed tensors? `python -m experiments.memory_kept`

Updates (forward, backward, AdamW) of networks on one batch of 64 images, in processes of their own that take turns: as
glibc has it, which gives large blocks back to the system and fetches them anew, and with
`nas_runtime.memory.keep_freed_memory`, as all trainings here have it. Images a second, medians of the turns, and the
most memory that such a process had.

    python -m experiments.memory_kept [px=64,128,160] [turns=3] [updates=8] [threads=2]
"""

import multiprocessing
import resource
import statistics
import time

from experiments import options, provenance, tables
from nas.training.train import new_net
from nas_runtime.memory import keep_freed_memory
from search_spaces import zoo

DEFAULTS = {"px": (64, 128, 160), "turns": 3, "updates": 8, "threads": 2}
NETWORKS = ("mobilenet_v3_small", "mobilenet_v2", "mnasnet_a1")
BATCH, UNTIMED = 64, 3


def main() -> None:
    given = options.read(DEFAULTS)
    rows = []
    for px in given["px"]:
        for name in NETWORKS:
            runs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for _ in range(given["turns"]):
                for kept, own in runs.items():
                    with multiprocessing.get_context("spawn").Pool(1) as process:
                        own.append(process.apply(measured, (name, px, kept, given["updates"], given["threads"])))
            rates = {kept: statistics.median(rate for rate, _ in own) for kept, own in runs.items()}
            most = {kept: max(mib for _, mib in own) for kept, own in runs.items()}
            rows.append(
                {
                    "px": str(px),
                    "network": name,
                    "images a second, given back": f"{rates[False]:.0f}",
                    "kept": f"{rates[True]:.0f}",
                    "times": f"{rates[True] / rates[False]:.2f}",
                    "MiB, given back": f"{most[False]:.0f}",
                    "MiB, kept": f"{most[True]:.0f}",
                }
            )
    tables.show("images a second", rows, tables.RESULTS / "memory_kept.csv", origin=provenance.of("weights 0"))


def measured(name: str, px: int, kept: bool, updates: int, threads: int) -> tuple[float, float]:
    """Images a second, and the most MiB that the process had."""
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    if kept:
        keep_freed_memory()
    net = new_net(zoo.get(name, classes=10, resolution_px=px), rng_seed=0).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    x = torch.randn(BATCH, 3, px, px).to(memory_format=torch.channels_last)
    y = torch.arange(BATCH) % 10

    def seconds(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        return time.perf_counter() - start

    seconds(UNTIMED)
    return BATCH * updates / seconds(updates), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    options.run(main)
