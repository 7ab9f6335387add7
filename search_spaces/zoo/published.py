"""What a paper says about one of its networks."""

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.arch import Arch

__all__ = ["Entry"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published network.

    Attributes:
        arch: the network at width 1.0, 224 px, 1,000 classes.
        paper: authors' title and arXiv number.
        reference: the implementation whose parameter count ours equals.
        madds_m, params_m: millions, as published (papers round, and count differently).
        top1: ImageNet top-1, a fraction.
        pixel_ms: width multiplier to latency on Pixel 1, 2, 3, one large core, float, from table 3 of the
            MobileNetV3 paper, where it has the network.
    """

    arch: Arch
    paper: str
    reference: str
    madds_m: float
    params_m: float
    top1: float
    pixel_ms: Mapping[float, tuple[float, float, float]]
