"""`python -m search_spaces.show mobilenet_v3_small`: the blocks of a network, with what they cost.

    python -m search_spaces.show NAME [width=1.0] [resolution_px=224] [classes=1000] [groups=3]
    python -m search_spaces.show best.json
    python -m search_spaces.show --all [sort=network] [measure=true] [picture=zoo.png]

``--all`` is the whole zoo: what was published of each network and what we count, the latency of each on a Pixel 1 (by
the shipped table) and, measured as a whole, on this machine, and a picture of accuracy against both.

Latency is shown for each device that has a table with all of the network's units.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from nas_runtime.command import run_plain
from nas_runtime.kinds import Among, AnyPath
from nas_runtime.options import Options, read_plain
from search_spaces import text, zoo
from search_spaces.arch import Arch

__all__ = ["latencies_ms", "main", "network"]


def _columns() -> tuple[str, ...]:
    from latency_luts.zoo_overview import COLUMNS

    return COLUMNS


class NetworkOptions(Options):
    """Options of a network NAME of the zoo:"""

    width: float = Field(default=1.0, gt=0, description="width multiplier")
    resolution_px: int | None = Field(
        default=None, ge=1, le=10_000, description="height and width of its images; null: as published"
    )
    classes: int = Field(default=1000, ge=1, le=1_000_000, description="of its last layer")
    groups: int | None = Field(default=None, ge=1, le=100, description="of shufflenet_v1's convolutions; null: 3")


class ZooOptions(Options):
    """Options of --all:"""

    sort: Annotated[str, Among(_columns)] = Field(
        default="network", description="the column that networks are sorted by; network: family by family"
    )
    measure: bool = Field(default=True, description="whether each network is timed on this machine: its column host")
    picture: AnyPath = Field(default=Path("zoo.png"), description="a .png, .svg or .pdf file")


def network(arguments: list[str]) -> Arch:
    """The network that the command line names.

    Raises:
        ValueError: no network, an unknown one, or an option that is not known or not a number.
    """
    if not arguments:
        raise ValueError(f"name a network: {', '.join(zoo.names())}, or a JSON file of one")
    name, *rest = arguments
    options = read_plain(NetworkOptions, rest)
    if Path(name).is_dir() and name not in zoo.names():
        raise ValueError(f"{name} is a folder; give the network's file: {Path(name) / 'best.json'} in a run's folder")
    if name.endswith(".json"):
        if rest:
            given = " and ".join(f"{argument.partition('=')[0]}=" for argument in rest)
            raise ValueError(f"a network from a file is shown as it is; leave {given} out")
        return text.from_file(Path(name))
    return zoo.get(name, **dict(options))


def latencies_ms(arch: Arch) -> tuple[dict[str, list[float]], list[str]]:
    """{device: ms of each unit} for the Pixels and one's own devices whose table has them all, a line about each of
    these, and one with the latencies on all others.

    The parts add up to the network's latency: what running as one graph changes is spread over them in proportion.
    """
    import latency_luts as luts
    from latency_luts.store import PUBLISHED
    from latency_luts.unseen import described

    columns: dict[str, list[float]] = {}
    others = ", ".join(f"{device} {luts.load(device).latency_ms(arch):.3g}" for device in PUBLISHED)
    lines = [f"other tables, ms: {others}; python -m latency_luts.devices says what they are"]
    for device in (name for name in luts.names() if name not in PUBLISHED):
        try:
            model = luts.load(device)
            columns[device] = model.parts_ms(arch)
            lines.append(described(model, arch))
        except luts.TableError as e:
            lines.append(f"{device}: {e}")
    return columns, lines


def show_all(arguments: list[str]) -> None:
    """The whole zoo.

    Raises:
        ValueError: an option that is not known, or a value that is not allowed.
    """
    from latency_luts import zoo_overview
    from nas_runtime.console import new_console, on_terminal

    options = read_plain(ZooOptions, arguments)
    if options.sort == "host" and not options.measure:
        raise ValueError("sort=host needs measure=true")
    path = options.picture
    if path.suffix not in (".png", ".svg", ".pdf") or not path.absolute().parent.is_dir():
        raise ValueError(f"picture={path}; allowed: a .png, .svg or .pdf file in a folder that exists")
    console = new_console(width=None if on_terminal() else 140)
    if options.measure:
        console.print("timing every network on this machine, which takes a minute (measure=false leaves it out)")
    rows = zoo_overview.rows(measure=options.measure)
    console.print(zoo_overview.table(rows, sort=options.sort))
    console.print(zoo_overview.UNSEEN, soft_wrap=True)
    for row in rows:
        if row.entry.differs:
            console.print(f"* {row.name}: {row.entry.differs}", soft_wrap=True)
    zoo_overview.picture(rows, path)
    console.print(f"picture: {path}")


def main(arguments: list[str]) -> None:
    from nas_runtime.console import new_console, on_terminal

    if arguments[:1] == ["--all"]:
        show_all(arguments[1:])
        return
    arch = network(arguments)
    columns, lines = latencies_ms(arch)
    table = text.table(arch, columns)
    # wide enough for the whole table where the output is not a terminal
    console = new_console(width=None if on_terminal() else 200)
    console.print(table)
    for line in lines:
        console.print(line, soft_wrap=True)


if __name__ == "__main__":
    run_plain(main, NetworkOptions, ZooOptions)
