"""What weights of others cannot say themselves: who trained them, by their names, and so how they have to be run.

=====================  ========  =========  ===========  ====================================
naming                 epsilon   momentum   padding      mean and deviation
=====================  ========  =========  ===========  ====================================
timm                   1e-5      0.1        symmetric    ImageNet's
timm's ``tf_`` models  1e-3      0.1        tensorflow   0.5 (MobileNet, Lite) or ImageNet's
efficientnet-pytorch   1e-3      0.01       tensorflow   127/255, 128/255 (Lite) or ImageNet's
torchvision            1e-5      0.1        symmetric    ImageNet's
its MobileNetV3        1e-3      0.01       symmetric    ImageNet's
its MnasNet            1e-5      0.0003     symmetric    ImageNet's
its GoogLeNet          1e-3      0.1        symmetric    ImageNet's
its Inception V3       1e-3      0.1        symmetric    ImageNet's
=====================  ========  =========  ===========  ====================================

Weights of timm's ``tf_`` models, which come from TensorFlow, are named like its own. They are told apart by the
``architecture`` in a ``config.json`` beside the file, as the Hugging Face hub has it, the ``arch`` in a checkpoint of
timm's training, or ``tf_`` in the name of the file or of its folder. Mean, deviation, crop and licence are those of
``config.json`` where it has them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.arch import Arch

__all__ = ["IMAGENET", "Source", "source_of"]

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5,) * 3, (0.5,) * 3)
_LITE = ((127 / 255,) * 3, (128 / 255,) * 3)

_TIMM = "timm"


@dataclass(frozen=True, kw_only=True)
class Source:
    """How weights have to be run.

    Attributes:
        name: of the library, in words.
        eps, momentum: of batch norm.
        padding: see `Arch`.
        mean, std: of each channel, of pixels in [0, 1].
        resolution_px: of their training; None: not known.
        crop: the share of a picture's shorter side that their evaluation looks at.
        licence: None: not known.
        known: whether names like these say where layers stand.
    """

    name: str
    known: bool = True
    eps: float = 1e-5
    momentum: float = 0.1
    padding: str = "symmetric"
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    resolution_px: int | None = None
    crop: float = 0.875
    licence: str | None = None

    def applied(self, arch: Arch) -> Arch:
        """`arch` with batch norms and padding as the weights need them.

        MobileNetV1 has ReLU in its paper and here, but ReLU6 in TensorFlow and timm.
        """
        blocks = arch.blocks
        if self.name.startswith(_TIMM) and all(getattr(block, "out_act", "") == "relu" for block in blocks[1:-1]):
            body = (replace(block, act="relu6", out_act="relu6") for block in blocks[1:-1])  # type: ignore[call-arg]
            blocks = (replace(blocks[0], act="relu6"), *body, blocks[-1])  # type: ignore[call-arg]
        return replace(arch, blocks=blocks, norm_eps=self.eps, norm_momentum=self.momentum, padding=self.padding)

    def describe(self) -> str:
        """What is taken for granted, on one line."""
        mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (self.mean, self.std))
        return (
            f"named as {self.name} does it, so read with batch norm's epsilon {self.eps:g}, {self.padding} padding, "
            f"pixels minus {mean} and divided by {std}"
        )


_COUNTS_ZEROS = "whose average pooling counts padded zeros, as networks here do not: outputs differ by about 2 %"
# the beginning of a tensor's name that tells it
_NAMINGS = (
    (r"_conv_stem\.", Source(name="efficientnet-pytorch", eps=1e-3, momentum=0.01, padding="tensorflow")),
    (r"conv_stem\.", Source(name=_TIMM)),
    (r"features\.\d+\.block\.", Source(name="torchvision's MobileNetV3", eps=1e-3, momentum=0.01)),
    (r"layers\.8\.0\.layers\.", Source(name="torchvision's MnasNet", momentum=1 - 0.9997)),
    (r"inception3a\.", Source(name="torchvision's GoogLeNet", eps=1e-3)),
    (r"Mixed_5b\.", Source(name=f"torchvision's Inception V3 ({_COUNTS_ZEROS})", eps=1e-3)),
    (r"features\.|layer1\.|stage2\.", Source(name="torchvision or timm")),
)
_OTHER = Source(name="none of the libraries that are known here", known=False)
_TENSORFLOW = "tf_"


def source_of(names: Iterable[str], called: str = "", card: Mapping[str, Any] | None = None) -> Source:
    """Who trained weights of these names.

    Args:
        called: what they say the network is called.
        card: timm's ``pretrained_cfg`` of them, if there is one.
    """
    names = list(names)
    source = _OTHER
    for marks, candidate in _NAMINGS:
        if any(re.match(marks, name) for name in names):
            source = candidate
            break
    if source.name == _TIMM and called.startswith(_TENSORFLOW):
        source = replace(source, name=f"{_TIMM} ({called}, from TensorFlow)", eps=1e-3, padding="tensorflow")
        if re.search("mobilenet|lite", called):
            source = replace(source, mean=_HALF[0], std=_HALF[1])
    if source.name == "efficientnet-pytorch" and not any("_se_reduce" in name for name in names):
        source = replace(source, mean=_LITE[0], std=_LITE[1])
    return _as_on_card(source, card or {})


def _as_on_card(source: Source, card: Mapping[str, Any]) -> Source:
    """`source` with what timm's ``pretrained_cfg`` says of weights; values of another form are passed over."""
    mean, std, size = (_numbers(card.get(key), 3) for key in ("mean", "std", "input_size"))
    (crop,), licence = _numbers([card.get("crop_pct")], 1) or (0.0,), card.get("license")
    return replace(
        source,
        mean=mean or source.mean,
        std=std if std and min(std) > 0 else source.std,
        resolution_px=int(size[-1]) if size and size[-1] >= 1 else None,
        crop=crop if 0 < crop <= 1 else source.crop,
        licence=licence if isinstance(licence, str) and licence else None,
    )


def _numbers(values: Any, n: int) -> tuple[float, ...] | None:
    right = isinstance(values, list) and len(values) == n and all(type(value) in (int, float) for value in values)
    return tuple(map(float, values)) if right else None
