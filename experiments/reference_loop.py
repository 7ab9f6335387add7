"""A training as timm's train.py does it, of timm's own pieces: for `experiments.training_reference`, which runs it by a
Python that has timm.

    PYTHON experiments/reference_loop.py TRAIN TEST JSON

TRAIN and TEST are folders of classes; JSON holds the setting. It imports nothing of this project. Prints the top-1 and
images a second, as JSON.
"""

import json
import runpy
import sys
import time
from typing import Any

import torch


def main(train: str, test: str, setting: dict[str, Any]) -> None:
    from safetensors.torch import load_file
    from timm import create_model  # type: ignore[import-not-found]
    from timm.loss import LabelSmoothingCrossEntropy  # type: ignore[import-not-found]
    from timm.optim import create_optimizer_v2  # type: ignore[import-not-found]
    from timm.scheduler import create_scheduler_v2  # type: ignore[import-not-found]
    from timm.utils import random_seed  # type: ignore[import-not-found]

    torch.set_num_threads(setting["threads"])
    random_seed(setting["rng_seed"], 0)
    if setting["initial"]:
        net = runpy.run_path(setting["initial"])["build"]()
        net.load_state_dict(load_file(setting["initial"].replace(".py", ".safetensors")))
    else:
        net = create_model("mobilenetv3_small_100", num_classes=setting["classes"], drop_rate=setting["dropout"])
    net = net.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(net, **setting["optimizer"])
    batches, pictures = loader(train, setting, training=True), loader(test, setting, training=False)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=setting["epochs"] - setting["warmup_epochs"],
        warmup_epochs=setting["warmup_epochs"],
        warmup_lr=0.0,
        warmup_prefix=True,
        step_on_epochs=False,
        updates_per_epoch=len(batches),
    )
    loss_of, updates, seconds = LabelSmoothingCrossEntropy(setting["label_smoothing"]), 0, 0.0
    scheduler.step_update(0)
    for epoch in range(setting["epochs"]):
        net.train()
        start = time.perf_counter()
        for x, y in batches:
            loss_of(net(x.contiguous(memory_format=torch.channels_last)), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            updates += 1
            scheduler.step_update(num_updates=updates)
        seconds += time.perf_counter() - start
        scheduler.step(epoch + 1)
    images = updates * setting["batch"]
    print(json.dumps({"top1": top1(net, pictures), "images_per_s": images / seconds, "updates": updates}))


def loader(folder: str, setting: dict[str, Any], *, training: bool) -> Any:
    from timm.data import create_dataset, create_loader  # type: ignore[import-not-found]

    augmented = {"scale": (setting["crop_area"], 1.0), "ratio": (3 / 4, 4 / 3), "color_jitter": None}
    return create_loader(
        create_dataset("", root=folder, split="", search_split=False),
        input_size=(3, setting["px"], setting["px"]),
        batch_size=setting["batch"],
        is_training=training,
        interpolation="bicubic",
        mean=setting["mean"],
        std=setting["std"],
        num_workers=setting["readers"],
        crop_pct=setting["crop"],
        use_prefetcher=False,
        device=torch.device("cpu"),
        **(augmented if training else {}),
    )


@torch.inference_mode()
def top1(net: torch.nn.Module, batches: Any) -> float:
    net.eval()
    correct = seen = 0
    for x, y in batches:
        correct += int((net(x.contiguous(memory_format=torch.channels_last)).argmax(1) == y).sum())
        seen += len(y)
    return correct / seen


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
