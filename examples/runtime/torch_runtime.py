"""Networks as torch runs them, operator after operator: a runtime that latency tables are measured with.

A table is of one runtime: give it a name of its own.

    python -m latency_luts.build device=host_torch runtime=torch
    python -m latency_luts.validate device=host_torch runtime=torch
    python -m latency_luts.build device=host_torch runtime=torch_runtime:Runtime      # in this folder
"""

from collections.abc import Callable

import torch

from search_spaces import torch_net
from search_spaces.arch import Arch


class Runtime:
    """The runtime, with one thread.

    Attributes:
        version: of torch; a table is of one version.
    """

    version = torch.__version__

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def prepare(self, arch: Arch, *, batch: int) -> Callable[[], object]:
        """A function that runs `arch` once, on a batch of black images, and returns when that is done."""
        net = torch_net.build(arch).eval()
        images = torch.zeros(batch, arch.in_ch, arch.resolution_px, arch.resolution_px)
        return torch.inference_mode()(lambda: net(images))
