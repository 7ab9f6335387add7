"""What a table can be used for: the search spaces and the networks of the zoo that have all their units in it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from latency_luts.interpolated import LEAST_UNITS
from latency_luts.key import parse
from latency_luts.table import MeasuredTable
from search_spaces import spaces, zoo
from search_spaces.arch import Classifier
from search_spaces.lower import Unit, lower
from search_spaces.space import SearchSpace

__all__ = ["Coverage", "coverage"]

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.25, 1.4, 1.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What has all its units in a table.

    Attributes:
        spaces: options of search spaces, like ``space=mnasnet space.base_width=1 space.resolution_px=224``.
        networks: of the zoo, like ``mobilenet_v2 0.75 at 224 px``.
        interpolates: whether the table has enough units to price others between them.
    """

    spaces: tuple[str, ...]
    networks: tuple[str, ...]
    interpolates: bool

    def lines(self, device: str) -> list[str]:
        """In words."""
        widths = f"of widths {', '.join(f'{width:g}' for width in WIDTHS)}"
        lines = [
            "covers all networks of: " + (", ".join(self.spaces) or f"no search space of this project {widths}"),
            "covers of the zoo: " + (", ".join(self.networks) or f"no network {widths}"),
        ]
        if self.interpolates:
            lines.append(
                f"prices others between its widths: python -m netadapt.run device={device} seed=NETWORK, or in Python "
                f"latency_luts.load({device!r}, model='interpolated')"
            )
        return lines


def coverage(table: MeasuredTable) -> Coverage:
    """What has all its units in `table`, at the resolutions and the largest number of classes that its units have."""
    units = {parse(name) for name in table.units}
    sizes_px = sorted({unit.in_shape[1] for unit in units if unit.in_shape[0] == 3})
    classes = max((unit.block.out_ch for unit in units if isinstance(unit.block, Classifier)), default=1000)
    return Coverage(
        spaces=tuple(_spaces(units, sizes_px, classes)),
        networks=tuple(_networks(units, sizes_px, classes)),
        interpolates=len(units) >= LEAST_UNITS,
    )


def _spaces(units: set[Unit], sizes_px: list[int], classes: int) -> Iterator[str]:
    for name in spaces.names():
        for width in WIDTHS:
            for size_px in sizes_px:
                try:
                    space = spaces.get(name, base_width=width, resolution_px=size_px, classes=classes)
                except ValueError:  # a size or width that the space does not have
                    continue
                if all(unit in units for unit in _units_of(space)):
                    yield _options(name, width, size_px, classes)


def _units_of(space: SearchSpace) -> Iterable[Unit]:
    """One after the other, so that the first missing one ends the search."""
    return (unit for layer in space.declared().variants() for units in layer.units for unit in units)


def _options(name: str, width: float, size_px: int, classes: int) -> str:
    words = f"space={name} space.base_width={width:g} space.resolution_px={size_px}"
    return words if classes == 1000 else f"{words} space.classes={classes}"


def _networks(units: set[Unit], sizes_px: list[int], classes: int) -> Iterator[str]:
    blocks = {unit.block for unit in units}
    for name in zoo.names():
        for width in WIDTHS:
            try:
                known = blocks.issuperset(zoo.get(name, width=width, classes=classes).blocks)
            except ValueError:  # a width that the network does not have
                continue
            if not known:
                continue
            its = [
                px
                for px in sizes_px
                if units.issuperset(lower(zoo.get(name, width=width, resolution_px=px, classes=classes)))
            ]
            if its:
                title = f"{name} {width:g}" if width != 1 else name
                yield f"{title} at {', '.join(map(str, its))} px"
