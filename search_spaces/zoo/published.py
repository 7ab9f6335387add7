"""What papers and project pages say about a network."""

from collections.abc import Callable
from dataclasses import dataclass

from search_spaces.arch import Arch

__all__ = ["TABLE3", "Entry", "Latency", "page", "table3"]

TABLE3 = "mobilenet_v3_paper_table3"


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A published latency of a network: one large core, batch 1, float32.

    Attributes:
        source_set: the set-up it was measured in. Latencies of two sets differ by the runtime's version at least: never
            compare them without a factor between the sets.
    """

    device: str
    width: float
    resolution_px: int
    ms: float
    source_set: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A published network.

    Attributes:
        arch: the network at width 1.0, its paper's resolution, 1,000 classes.
        paper: authors' title and arXiv number.
        reference: the implementation whose parameter count ours equals.
        madds_m, params_m: millions, as published (papers round, and count differently).
        top1: ImageNet top-1, a fraction.
        scaled: makes the network for a width multiplier (and options of its own), where `rewrite.width_multiplier` is
            not the family's rule.
        latencies: what was published of it and its variants in width and resolution.
        widen_features: whether width multipliers above 1 widen the last features, see `rewrite.width_multiplier`.
        differs: why our counts and the published ones are apart, where they are by more than rounding.
        also_called: names that others use for it, besides its own.
    """

    arch: Arch
    paper: str
    reference: str
    madds_m: float
    params_m: float
    top1: float
    scaled: Callable[..., Arch] | None = None
    latencies: tuple[Latency, ...] = ()
    widen_features: bool = True
    differs: str = ""
    also_called: tuple[str, ...] = ()


def table3(width: float, *pixel_ms: float) -> tuple[Latency, ...]:
    """A row of table 3 of the MobileNetV3 paper (arXiv:1905.02244): Pixel 1, 2, 3 at 224 px."""
    return tuple(
        Latency(device=f"pixel{i}", width=width, resolution_px=224, ms=ms, source_set=TABLE3)
        for i, ms in enumerate(pixel_ms, 1)
    )


def page(source_set: str, *rows: tuple[float, ...]) -> tuple[Latency, ...]:
    """Rows ``(width, resolution_px, ms on Pixel 1[, on Pixel 2, on Pixel 3])`` of a project's page."""
    return tuple(
        Latency(device=f"pixel{i}", width=width, resolution_px=int(px), ms=ms, source_set=source_set)
        for width, px, *pixel_ms in rows
        for i, ms in enumerate(pixel_ms, 1)
    )
