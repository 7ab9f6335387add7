"""`SharedWeights`: the accuracy of a network with weights that all networks of its space share.

Nothing is trained: the network takes its part of the weights, its batch norm's statistics are estimated on training
images, and it is measured on the holdout.
"""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.executor import Shared
from nas.training.trainer import Trainer
from nas.trial import Evaluation
from search_spaces.arch import Arch
from search_spaces.space import SearchSpace

if TYPE_CHECKING:
    from torch import Tensor

    from nas.supernet.module import Supernet
    from nas.training.datasets import Split

__all__ = ["SharedWeights"]

_built: dict[str, "Supernet"] = {}  # of this process: the evaluator itself comes anew with every task


@dataclass(frozen=True, kw_only=True)
class SharedWeights:
    """An evaluator: answers top-1 on the holdout with inherited weights.

    Attributes:
        key: of these weights; evaluators with equal keys have equal weights.
        weights: shared tensors by name, as in `Supernet.weights`.
        trainer: gives the data, how networks are fitted to its images, device and threads.
        kernels: see `nas.supernet.phases.KERNELS`.
        images: of the holdout; all if it has fewer.
        bn_images: of `train`, for batch norm's statistics.
    """

    key: str
    space: SearchSpace
    weights: Shared
    trainer: Trainer
    kernels: str
    images: int
    bn_images: int

    def evaluate(self, arch: Arch, rng_seed: int = 0) -> Evaluation:
        """Top-1 of `arch`, a network of the space. The same network always has the same answer.

        Raises:
            ValueError: it is not one of the space.
        """
        import torch

        from nas.training import on_gpu
        from nas.training.datasets import drawn, part

        start = time.perf_counter()
        torch.set_num_threads(self.trainer.threads)
        data, net = self.trainer.data, self._supernet()
        route = net.route(arch, self.trainer.small(arch))
        holdout = part(data.holdout, self.images)
        with torch.inference_mode(), on_gpu.many_shapes(self.trainer.device, data.resolution_px):
            forward = net.folded(route, net.calibrate(route, self._batches(drawn(data.train, self.bn_images))))
            answers = torch.cat([forward(x).argmax(1) for x in self._batches(holdout)])
        correct = int((answers.cpu().numpy() == holdout.labels).sum())
        return Evaluation(top1=correct / len(holdout), seconds=time.perf_counter() - start)

    def trained_on(self, arch: Arch, rng_seed: int) -> Evaluation:
        """Top-1 of `arch` after the training of `trainer`, which begins with its part of the weights.

        Raises:
            ValueError: it is not one of the space.
        """
        return self.trainer.evaluate(arch, rng_seed, state=self.inherited(arch))

    def inherited(self, arch: Arch) -> dict[str, "Tensor"]:
        """The weights of `arch` as the state of ``torch_net.build(trainer.small(arch))``, on the CPU."""
        import torch

        from nas.training import on_gpu
        from nas.training.datasets import drawn

        torch.set_num_threads(self.trainer.threads)
        data, net = self.trainer.data, self._supernet()
        route = net.route(arch, self.trainer.small(arch))
        with on_gpu.many_shapes(self.trainer.device, data.resolution_px):
            statistics = net.calibrate(route, self._batches(drawn(data.train, self.bn_images)))
        return {name: value.cpu() for name, value in net.state_dict_of(route, statistics).items()}

    def _batches(self, split: "Split"):
        import torch

        from nas.training import on_gpu
        from nas.training.train import normalise

        most = on_gpu.at_a_time(self.trainer.device, self.trainer.data.resolution_px)
        for images in np.array_split(split.images, -(-len(split) // most)):
            yield normalise(torch.from_numpy(images), self.trainer.data, self.trainer.device)

    def _supernet(self) -> "Supernet":
        if self.key not in _built:
            _built.clear()
            _built[self.key] = _build(self)
        return _built[self.key]


def _build(evaluator: SharedWeights) -> "Supernet":
    """The module around the shared arrays, which are not copied on the CPU."""
    import torch

    from nas.supernet.module import Supernet
    from search_spaces.layout import Layout

    data = evaluator.trainer.data
    net = Supernet(
        Layout(evaluator.space),
        in_ch=data.channels,
        classes=data.classes,
        kernels=evaluator.kernels,
        device="meta",
    )
    arrays: Mapping[str, np.ndarray] = evaluator.weights.get()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to them
        for name in list(net.weights):
            value = torch.from_numpy(arrays[name]).to(evaluator.trainer.device)
            net.weights[name] = torch.nn.Parameter(value, requires_grad=False)
    return net.eval()
