"""timm's loader and MobileNetV3-Small, for `experiments.data_throughput`, in a Python that has timm.

    python timm_loader.py FOLDER PX BATCH THREADS WORKERS UPDATES UNTIMED

Prints its versions. Then each line of standard input, ``bare`` or ``loader``, is a turn, whose seconds are printed.
"""

import itertools
import sys
import time


def main() -> None:
    import timm  # type: ignore[import-not-found]  # a yardstick, not a dependency
    import torch
    from timm.data import create_dataset, create_loader  # type: ignore[import-not-found]
    from torch.nn import functional as F

    px, batch, threads, workers, updates, untimed = map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    net = timm.create_model("mobilenetv3_small_100", num_classes=10).train()
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    loader = create_loader(
        create_dataset("", root=sys.argv[1]),
        input_size=(3, px, px),
        batch_size=batch,
        is_training=True,
        scale=(0.25, 1.0),
        color_jitter=0.0,
        interpolation="bicubic",
        num_workers=workers,
        use_prefetcher=False,
        device=torch.device("cpu"),
    )
    loaded = (pair for _ in itertools.count() for pair in loader)
    print(f"timm {timm.__version__} with torch {torch.__version__}", flush=True)
    ways = {"bare": itertools.repeat(next(loaded)), "loader": loaded}

    def run(batches, updates: int) -> None:
        for x, y in itertools.islice(batches, updates):
            optimizer.zero_grad(set_to_none=True)
            x = x.contiguous(memory_format=torch.channels_last)
            F.cross_entropy(net(x), y, label_smoothing=0.1).backward()
            optimizer.step()

    for line in sys.stdin:
        batches = ways[line.strip()]
        run(batches, untimed)
        start = time.perf_counter()
        run(batches, updates)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
