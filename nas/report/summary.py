"""The end of a search, for people: a table of the winner beside the references, and advice."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from nas.reward import Reward
from nas.trial import Trial
from search_spaces import cost
from search_spaces.arch import Arch

__all__ = ["advice", "blocks_table", "by_block", "result_table", "row"]

FAR_BELOW_TARGET = 0.7


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
    """One line a network: top-1 (`accuracy` says of what), latency, share of the target, reward, cost."""
    table = Table(title=f"{accuracy[0].upper()}{accuracy[1:]}; latency on {device}", title_justify="left")
    table.add_column("network", no_wrap=True)
    for name in ("top-1", "ms", "of target", "reward", "MAdds", "params"):
        table.add_column(name, justify="right")
    best = max(rows, key=lambda name: rows[name]["reward"])
    for name, r in rows.items():
        table.add_row(
            name,
            f"{r['top1']:.1%}",
            f"{r['latency_ms']:.1f}",
            f"{r['latency_ms'] / target_ms:.2f}",
            f"{r['reward']:.4f}",
            f"{r['madds'] / 1e6:.1f} M",
            f"{r['params'] / 1e6:.2f} M",
            style="bold" if name == best else "",
        )
    return table


def by_block(options: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of a network's choices: one row a block where they are named ``block<n>.<choice>``, else one row
    a choice."""
    blocks: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        block, dot, choice = name.partition(".")
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


def advice(winner: Trial, trials: Sequence[Trial], reward: Reward) -> list[str]:
    """What a person should know before believing the result."""
    lines, target_ms = [], reward.target_ms
    if winner.latency_ms < FAR_BELOW_TARGET * target_ms:
        remedy = "a harder data set, or a wider space (space.base_width=...)"
        if reward.name == "soft":
            remedy = f"reward=absolute, a smaller |w| (now {reward.w:g}), or {remedy}"
        lines.append(
            f"The winner needs only {winner.latency_ms / target_ms:.0%} of the target: on this data the reward pays "
            f"more for speed than for accuracy. Remedies: {remedy}."
        )
    if winner.latency_ms > 1.1 * target_ms:
        remedy = "more samples, or a smaller space.base_width"
        if reward.name == "soft":
            remedy = f"reward=absolute, a larger |w| (now {reward.w:g}), or {remedy}"
        lines.append(f"The winner is {winner.latency_ms / target_ms - 1:.0%} over the target. Remedies: {remedy}.")
    failed = sum(trial.status == "failed" for trial in trials)
    diverged = sum(trial.status == "diverged" for trial in trials)
    if failed:
        lines.append(f"{failed} of {len(trials)} evaluations failed; the journal says why.")
    if diverged > len(trials) / 10:
        lines.append(f"{diverged} of {len(trials)} trainings diverged; try a lower evaluator.lr.")
    return lines
