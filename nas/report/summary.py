"""The end of a search, for people: a table of the winner beside the references, and advice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from nas.reward import Reward
from nas.trial import Trial
from nas_runtime.console import in_ms
from search_spaces import cost
from search_spaces.arch import Arch

__all__ = [
    "FINALISTS_HEAD",
    "NETWORKS_HEAD",
    "Finalist",
    "agreement",
    "best_of",
    "blocks_table",
    "by_block",
    "finalist_cells",
    "finalist_rows",
    "finalists_table",
    "network_cells",
    "result_table",
    "row",
]


def row(arch: Arch, top1: float, latency_ms: float, reward: float) -> dict[str, Any]:
    """The figures that ``result.json`` and the table show of a network."""
    return {
        "top1": top1,
        "latency_ms": latency_ms,
        "reward": reward,
        "madds": cost.madds(arch),
        "params": cost.params(arch),
    }


def result_table(rows: Mapping[str, Mapping[str, Any]], *, target_ms: float, accuracy: str, device: str) -> Table:
    """One line a network, the one with the best reward in bold; `accuracy` says what top-1 is of."""
    table = Table(title=f"{accuracy[0].upper()}{accuracy[1:]}; latency on {device}", title_justify="left")
    for name in NETWORKS_HEAD:
        table.add_column(name, justify="right" if name != "network" else "left", no_wrap=name == "network")
    best = best_of(rows)
    for name, cells in zip(rows, network_cells(rows, target_ms=target_ms), strict=True):
        table.add_row(*cells, style="bold" if name == best else "")
    return table


NETWORKS_HEAD = ("network", "top-1", "ms", "of target", "reward", "MAdds", "params")


def network_cells(rows: Mapping[str, Mapping[str, Any]], *, target_ms: float) -> list[tuple[str, ...]]:
    """The figures of each network (`row`) as the cells of a table with the columns `NETWORKS_HEAD`."""
    return [
        (
            name,
            f"{r['top1']:.1%}",
            in_ms(r["latency_ms"]),
            f"{r['latency_ms'] / target_ms:.2f}",
            f"{r['reward']:.4f}",
            f"{r['madds'] / 1e6:.1f} M",
            f"{r['params'] / 1e6:.2f} M",
        )
        for name, r in rows.items()
    ]


def best_of(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the network with the best reward; of equal ones the first."""
    return max(rows, key=lambda name: rows[name]["reward"])


def by_block(options: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of a network's choices: one row a block where they are named ``<block>.<choice>``, as
    ``block3.kernel`` or ``stage2.layer4.kernel``, else one row a choice."""
    blocks: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        block, dot, choice = name.rpartition(".")
        if not dot:
            return ["choice", "option"], [[k, str(v)] for k, v in options.items()]
        blocks.setdefault(block, {})[choice] = value
    columns = list(dict.fromkeys(choice for choices in blocks.values() for choice in choices))
    relative = any(
        isinstance(n, int) and n <= 0 for n in (choices.get("layers", 1) for choices in blocks.values())
    )  # to the skeleton's number of layers
    rows = [
        [
            block,
            *(
                f"{v:+d}" if c == "layers" and relative and isinstance(v, int) else str(v)
                for c in columns
                for v in [choices.get(c, "-")]
            ),
        ]
        for block, choices in blocks.items()
    ]
    return ["block", *columns], rows


def blocks_table(options: Mapping[str, Any]) -> Table:
    """The choices that make up a network."""
    columns, rows = by_block(options)
    table = Table(*columns, title="What was chosen", title_justify="left")
    for row_ in rows:
        table.add_row(*row_)
    return table


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A network that was among the best samples, and its top-1 after the final training; None if that diverged."""

    trial: Trial
    top1: float | None


def finalist_rows(finalists: Sequence[Finalist], reward: Reward) -> list[dict[str, Any]]:
    """The figures of the finalists, the best as a sample first."""
    return [
        {
            "sample": f.trial.sample,
            "sample_top1": f.trial.top1,
            "top1": f.top1,
            "latency_ms": f.trial.latency_ms,
            "sample_reward": f.trial.reward,
            "reward": None if f.top1 is None else reward(f.top1, f.trial.latency_ms),
        }
        for f in finalists
    ]


FINALISTS_HEAD = ("sample", "as a sample", "after the final training", "ms", "reward")


def finalist_cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """`finalist_rows` as the cells of a table with the columns `FINALISTS_HEAD`."""
    return [
        (
            str(row["sample"]),
            f"{row['sample_top1']:.1%}",
            "diverged" if row["top1"] is None else f"{row['top1']:.1%}",
            in_ms(row["latency_ms"]),
            "" if row["reward"] is None else f"{row['reward']:.4f}",
        )
        for row in rows
    ]


def finalists_table(finalists: Sequence[Finalist], reward: Reward) -> Table:
    table = Table(title="The finalists: top-1 on the holdout", title_justify="left")
    for name in FINALISTS_HEAD:
        table.add_column(name, justify="right")
    for cells in finalist_cells(finalist_rows(finalists, reward)):
        table.add_row(*cells)
    return table


def agreement(finalists: Sequence[Finalist]) -> str:
    """How far the evaluation of the samples and the final training agree on the finalists, in words."""
    both = [(f.trial.top1, f.top1) for f in finalists if f.top1 is not None]
    if len(both) < 2:
        return "fewer than two finalists were trained: nothing to compare"
    before, after = map(list, zip(*both, strict=True))
    pairs = [(i, j) for i in range(len(both)) for j in range(i)]
    same = sum((before[i] - before[j]) * (after[i] - after[j]) > 0 for i, j in pairs)
    return (
        f"as samples and after the final training {same} of {len(pairs)} pairs of finalists are in the same order; "
        f"their top-1 is {min(before):.1%} to {max(before):.1%} and {min(after):.1%} to {max(after):.1%}"
    )
