"""What tests of deliveries have in common: a network whose outputs tell images apart, and its delivery."""

from dataclasses import replace

import torch
from rich.console import Console

from nas import delivery
from nas.training.pictures import PictureSet, of_arrays
from nas.training.train import normalise
from search_spaces import rewrite, torch_net, zoo

V3 = zoo.get("mobilenet_v3_small", width=0.35, resolution_px=32, classes=10)
USUAL = delivery.Delivery(input="uint8", batch=1, opset=18, quantize="none")


def deliver(folder, net, data, *, training=None, options=USUAL, **about):
    finished = delivery.Finished(
        net=net,
        data=data if isinstance(data, PictureSet) else of_arrays(data, "its pictures"),
        searched=V3,
        training=training or {},
        recipe="one glance",
        **about,
    )
    delivery.deliver(folder, finished, options, Console(quiet=True))


def calibrated(data, arch=V3):
    """A net for `data` whose outputs tell its images apart: statistics of the images, and large logits."""
    small = rewrite.small_image(rewrite.in_channels(rewrite.classes(arch, data.classes), data.channels), 28, min_px=2)
    net = torch_net.build(replace(small, resolution_px=data.resolution_px), generator=torch.Generator().manual_seed(0))
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, torch.nn.Linear):
            module.weight.data.mul_(30)
    with torch.no_grad():
        net.train()(normalise(torch.from_numpy(data.train.images[:64]), data, "cpu"))
    return net.eval()
