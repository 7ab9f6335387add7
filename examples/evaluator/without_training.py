"""Networks judged before any training: NASWOT's score (arXiv:2006.04647, section 3).

Each picture of a batch switches some of a network's activations on: a binary code. A network at its initialisation
whose codes of different pictures differ much can be taught to tell them apart. The score is log det K, where K counts
for two pictures the activations in which their codes agree. What differs from the paper: pictures are noise, so that no
data set is needed, and the score s becomes s / (s + 500), since an accuracy is expected, between 0 and 1; the order of
networks stays.

    python -m nas.search +target=pixel1_small evaluator=naswot
    python -m nas.search +target=pixel1_small evaluator=naswot evaluator.settings.pictures=64 samples=200
    python -m nas.search +target=pixel1_small evaluator=without_training:Naswot      # in this folder
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nas.controllers.contract import Whole, setting
from search_spaces import rewrite
from search_spaces.arch import Arch

if TYPE_CHECKING:
    import torch

_PX = 32  # of the pictures
_HALF = 500.0  # the score that becomes 0.5


@dataclass(frozen=True, kw_only=True)
class NaswotSettings:
    """Settings of the evaluator."""

    pictures: int = setting(32, Whole(2, 1024), "pictures of noise in the batch")

    def __post_init__(self) -> None:
        if not isinstance(self.pictures, int) or not 2 <= self.pictures <= 1024:
            raise ValueError(f"evaluator naswot: pictures={self.pictures!r}; it must be a whole number from 2 to 1024")


class Naswot:
    """The evaluator; see the module's text."""

    accuracy = "NASWOT's score s of the untrained network, as s / (s + 500)"

    def __init__(self, settings: NaswotSettings | None = None, *, rng_seed: int = 0) -> None:
        self._settings = settings or NaswotSettings()
        self._rng_seed = rng_seed

    def evaluate(self, arch: Arch) -> float:
        """The score of `arch` with random weights, in [0, 1]."""
        import torch  # here, since commands that only plan need not wait for it

        from search_spaces import torch_net

        n, px = self._settings.pictures, _PX
        generator = torch.Generator().manual_seed(self._rng_seed)
        small = rewrite.dropout(rewrite.small_image(arch, px, min_px=2), 0.0)
        net = torch_net.build(small, generator=generator)
        agree = np.zeros((n, n))

        def count(module: "torch.nn.Module", inputs: object, output: "torch.Tensor") -> None:
            on = (output.reshape(n, -1) > 0).double()
            agree[:] += (on @ on.T + (1 - on) @ (1 - on).T).numpy()

        for module in net.modules():
            if isinstance(module, torch.nn.ReLU | torch.nn.ReLU6 | torch.nn.Hardswish):
                module.register_forward_hook(count)
        with torch.inference_mode():
            net.train()(torch.randn(n, arch.in_ch, px, px, generator=generator))
        sign, score = np.linalg.slogdet(agree)
        return float(score / (score + _HALF)) if sign > 0 and score > 0 else 0.0
